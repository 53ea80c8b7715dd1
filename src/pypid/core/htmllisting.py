"""A project's page in HTML, read: links with their attributes, `<base>`, and what its `<meta>` say (PEP 503, 592, 629, 658, 792)."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pypid.core.errors import BadListing
from pypid.core.listing import Listing, collected, file_of, must_be_known, status_of
from pypid.core.names import ProjectName

MOST_LINKS = 500_000
"""Links of one page; the largest project of the public index has some ten thousand."""


class _Page(HTMLParser):
    """Collects what matters; a page is fed in pieces."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.version: str | None = None
        self.status: dict[str, str] = {}
        self.links: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            said = dict(reversed(attrs))  # of an attribute that is there twice the first counts (HTML)
            if said.get("href"):
                self.links.append(said)
                if len(self.links) > MOST_LINKS:
                    raise BadListing(f"it has more than {MOST_LINKS} links.")
        elif tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")
        elif tag == "meta":
            self._meta(dict(attrs))

    def _meta(self, said: dict[str, str | None]) -> None:
        content = said.get("content") or ""
        match said.get("name"):
            case "pypi:repository-version":
                self.version = content
            case "pypi:project-status":
                self.status["status"] = content
            case "pypi:project-status-reason":
                self.status["reason"] = content
            case _:
                pass


class HtmlReader:
    """Reads a page piece by piece, so that nobody is held up by a large one: `feed` some, let others run, `feed` more, `finish`."""

    def __init__(self, name: ProjectName, url: str) -> None:
        self._page = _Page()
        self._name = name
        self._url = url

    def feed(self, text: str) -> None:
        """More of the page. Raises `BadListing`."""
        self._page.feed(text)

    def finish(self) -> Listing:
        """The listing. Raises `BadListing` for what is no index page."""
        self._page.close()
        must_be_known(self._page.version)
        base = urljoin(self._url, self._page.base) if self._page.base else self._url
        files = (file_of(entry_of(link), self._name, base) for link in self._page.links)
        return collected(files, *status_of(self._page.status))


def read_html(text: str, name: ProjectName, url: str) -> Listing:
    """The listing in an HTML page that came from `url`. Raises `BadListing`."""
    reader = HtmlReader(name, url)
    reader.feed(text)
    return reader.finish()


def entry_of(link: dict[str, str | None]) -> dict[str, Any]:
    """A link as an entry of the JSON API has it."""
    href = (link["href"] or "").strip()
    entry: dict[str, Any] = {"url": href}
    fragment = urlsplit(href).fragment if "#" in href else ""
    algorithm, equals, value = unquote(fragment).partition("&")[0].partition("=")
    if equals:
        entry["hashes"] = {algorithm: value}
    if "data-requires-python" in link:
        entry["requires-python"] = link["data-requires-python"]
    if "data-yanked" in link:
        entry["yanked"] = link["data-yanked"] or True
    for key in ("data-core-metadata", "data-dist-info-metadata"):
        algorithm, equals, value = (link.get(key) or "").partition("=")
        if equals and "core-metadata" not in entry:
            entry["core-metadata"] = {algorithm: value}
    if (link.get("data-gpg-sig") or "").lower() == "true":
        entry["gpg-sig"] = True
    if (link.get("data-size") or "").isdigit():
        entry["size"] = int(link["data-size"] or 0)
    if link.get("data-upload-time"):
        entry["upload-time"] = link["data-upload-time"]
    if link.get("data-provenance"):
        entry["provenance"] = link["data-provenance"]
    return entry
