"""A project's page in HTML, read: links with their attributes, `<base>` and `<meta>` (PEP 503, 592,
629, 658, 792).
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder, lookup
from collections.abc import Sequence
from functools import lru_cache
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin

from attrs import evolve

from pypid.core.errors import BadListing, BadName
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.simple_api.fast_links import ESCAPED, LINE_END, Usual, file_of_usual, usual_links
from pypid.core.simple_api.parse import (
    FEW,
    LARGEST_SIZE,
    LONGEST_TEXT,
    Gathered,
    ParsedListing,
    Slices,
    at_once,
    file_of,
    must_be_known,
    status_of,
)

MOST_LINKS = 500_000
"""Links of one page; the largest project of the public index has some ten thousand."""
PIECE = 1 << 15
"""Bytes that are parsed without a stop: a millisecond of what indexes write, and ten of anything
else.
"""
LONGEST_TAG = 1 << 17
"""Characters of one tag, comment or script. `HTMLParser` looks at an unfinished one again with
every piece.
"""
_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)
_USUAL = re.compile(rf'\s*+<a((?:\s++[a-z-]++="{ESCAPED}")++){LINE_END}', re.ASCII).match
"""A link as tools write it, and `HTMLParser` takes it in the same way: with any attributes, and any
URL.
"""
_ATTRIBUTES = re.compile(r'([a-z-]+)="([^"]*)"', re.ASCII).findall
_SHA256 = re.compile(r"sha256=[0-9a-f]{64}\Z").match
LONGEST_LINK = 1 << 13
"""Characters of a link that may be of that kind; a longer one is none."""
_NUMBER = re.compile(r"[0-9]{1,16}\Z", re.ASCII).match
_HEADINGS = frozenset({"title", "h1"})
_BEFORE_NAME = ("links for", "index of", "listing for")
"""What stands before the name of a project, or the path of its page, in a heading of an index."""
LONGEST_HEADING, MOST_HEADINGS = 1000, 4


class _Page(HTMLParser):
    """Collects what matters. It is given pieces by `take`, and `end`; `close` takes minutes over
    unfinished tags.
    """

    rawdata: str
    """What waits for its end (an attribute of HTMLParser that its documentation does not name)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.version: str | None = None
        self.is_index = False
        """Whether it says that it is a page of an index, without its version."""
        self.status: dict[str, str] = {}
        self.links: list[dict[str, str | None] | Usual] = []
        """Those that nobody has taken yet: to keep them all is to make the garbage collector slow.
        """
        self.count = 0
        self.headings: list[str] = []
        """The texts of the first title and headings."""
        self._in_heading = False
        self.tags: set[str] = set()
        self._rest = ""
        """Perhaps the beginning of a usual link, whose end has not come yet."""

    def take(self, text: str) -> None:
        """Read some more. Usual links go past the parser, which takes a hundred times as long."""
        text = self._rest + text
        self._rest = ""
        position = 0
        while (
            not self.rawdata and self.cdata_elem is None
        ):  # it is in the middle of nothing, and in no script
            position = self._usual_links(text, position)
            while (found := _USUAL(text, position)) is not None:
                self._link(
                    [
                        (name, _plain(said) if "&" in said else said)
                        for name, said in _ATTRIBUTES(found[1])
                    ]
                )
                position = found.end()
                if found[2]:
                    self.tags.add("br")
                position = self._usual_links(text, position)
            start = text.find("<a", position + 1)
            if start < 0:
                if len(text) - position < LONGEST_LINK:
                    self._rest = text[position:]
                    return
                break
            self.feed(text[position:start])
            position = start
        self.feed(text[position:])

    def _usual_links(self, text: str, position: int) -> int:
        """Take those at `position`; where the next thing stands."""
        links: list[Usual] = []
        position = usual_links(text, position, links)
        if links:
            self.links += links
            self.count += len(links)
            if any(link[-1] for link in links):
                self.tags.add("br")
        return position

    def end(self) -> None:
        """No more comes."""
        self.feed(self._rest)
        self._rest = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._link(attrs)
        elif (
            tag == "base" and self.base is None and not self.count
        ):  # HTML wants it before all links
            self.base = dict(reversed(attrs)).get("href")
        elif tag == "meta":
            self._meta(dict(reversed(attrs)))
        elif len(tag) < 12:
            self.tags.add(tag)
            if tag in _HEADINGS:
                self._in_heading = len(self.headings) < MOST_HEADINGS
                self.headings += [""] * self._in_heading

    def handle_endtag(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._in_heading = False
        if tag in ("html", "body"):
            self.tags.add(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] += data[: max(0, LONGEST_HEADING - len(self.headings[-1]))]

    def _link(self, attrs: Sequence[tuple[str, str | None]]) -> None:
        said = dict(reversed(attrs))  # of an attribute that is there twice the first counts (HTML)
        if said.get("href"):
            self.links.append(said)
            self.count += 1

    def _meta(self, said: dict[str, str | None]) -> None:
        content = said.get("content") or ""
        match said.get("name"):
            case "pypi:repository-version":
                self.version = content
            case "api-version":  # of indexes older than PEP 629
                self.is_index = True
            case "pypi:project-status":
                self.status["status"] = content
            case "pypi:project-status-reason":
                self.status["reason"] = content
            case _:
                pass

    def links_from(self, url: str) -> str:
        """What relative links count from."""
        try:
            return urljoin(url, self.base.strip()[:LONGEST_TEXT]) if self.base else url
        except ValueError:
            return url

    def is_of(self, name: ProjectName) -> bool:
        """Whether a page without files shows that it is this project's page, and not an error page
        or a log-in.

        That is the ``<meta>`` of an index, or a title or heading that names the project as indexes
        do.
        """
        return (
            self.version is not None
            or self.is_index
            or any(_names(text, name) for text in self.headings)
        )


def slices_of_html(
    data: bytes | bytearray,
    name: ProjectName,
    url: str,
    content_type: str = "",
    *,
    must_end: bool = False,
) -> Slices:
    """The listing in an HTML page that came from `url`.

    `must_end`: nobody knows whether the page came whole, so it has to end as HTML does. Raises
    `BadListing`, also for what is no index page.
    """
    page = _Page()
    gathered: Gathered | None = None
    base = url
    decoder = getincrementaldecoder(_encoding(content_type))("replace")
    for start in range(0, len(data), PIECE):
        page.take(decoder.decode(bytes(data[start : start + PIECE])))
        if start + PIECE >= len(data):
            page.end()
        if len(page.rawdata) > LONGEST_TAG:
            raise BadListing(f"its HTML has a tag of more than {LONGEST_TAG} characters.")
        if page.count > MOST_LINKS:
            raise BadListing(f"it has more than {MOST_LINKS} links.")
        if not page.links:
            yield
        elif gathered is None:
            base = page.links_from(url)
            gathered = Gathered(name, base)
        while gathered is not None and page.links:
            for link in page.links[:FEW]:
                gathered.add(
                    file_of_usual(link, name)
                    if isinstance(link, tuple)
                    else file_of(entry_of(link), name, base)
                )
            del page.links[:FEW]
            yield
    if must_end and page.tags.isdisjoint(("/html", "/body")):
        raise BadListing("its HTML breaks off.")
    must_be_known(page.version or None)
    listing = (gathered or Gathered(name, url)).listing(*status_of(page.status))
    if listing.files:
        return listing
    if not page.is_of(name):
        raise BadListing(f"it is HTML, but not the page of {name!r} (a log-in, or an error?).")
    return evolve(listing, is_doubtful=not page.status)


def read_html(data: bytes, name: ProjectName, url: str, content_type: str = "") -> ParsedListing:
    """The same, at once."""
    return at_once(slices_of_html(data, name, url, content_type))


def _names(heading: str, name: ProjectName) -> bool:
    """Whether the heading is one that an index gives this project's page: "demo", "root/dev: links
    for demo", "Index of /simple/demo/", but not "502 Bad Gateway" for the project gateway.
    """
    *before, last = heading.split() or [""]
    if before and not " ".join(before).lower().endswith(_BEFORE_NAME):
        return False
    try:
        return project_name(unquote(last.rstrip("/").rpartition("/")[2])) == name
    except BadName:
        return False


def _encoding(content_type: str) -> str:
    """UTF-8 (the Simple API knows no other), unless the page says that it is one of
    the old ones.
    """
    said = _CHARSET.search(content_type[:LONGEST_TEXT])
    try:
        found = lookup(said[1]).name if said else "utf-8"
    except LookupError:
        return "utf-8"
    return found if found in _ENCODINGS else "utf-8"


@lru_cache(maxsize=1024)
def _plain(said: str) -> str:
    """Without escapes: mostly a few values of ``data-requires-python``."""
    return unescape(said)


def entry_of(link: dict[str, str | None]) -> dict[str, Any]:
    """A link as an entry of the JSON API has it."""
    href, _, fragment = (link["href"] or "").strip().partition("#")
    entry: dict[str, Any] = {"url": href}
    if _SHA256(fragment):
        entry["hashes"] = {"sha256": fragment[7:]}
    elif hashes := _pairs(unquote(fragment[:LONGEST_TEXT])):
        entry["hashes"] = hashes
    if "data-requires-python" in link:
        entry["requires-python"] = link["data-requires-python"]
    if "data-yanked" in link:
        reason = link["data-yanked"] or ""
        entry["yanked"] = reason if reason.strip() else True
    for key in ("data-core-metadata", "data-dist-info-metadata"):
        said = (link.get(key) or "").strip()
        if said and "core-metadata" not in entry:
            entry["core-metadata"] = _pairs(said) if "=" in said else said.lower() == "true"
    size = link.get("data-size")
    if size and _NUMBER(size) and int(size) <= LARGEST_SIZE:
        entry["size"] = int(size)
    if link.get("data-upload-time"):
        entry["upload-time"] = link["data-upload-time"]
    if link.get("data-provenance"):
        entry["provenance"] = link["data-provenance"]
    return entry


def _pairs(text: str) -> dict[str, str]:
    """The hashes in ``sha256=...``, or in ``sha256=...&egg=...``."""
    found = (pair.partition("=") for pair in text.split("&", 8)[:8])
    return {algorithm: value for algorithm, equals, value in found if equals}
