"""Upstream pages in HTML, and the choice between HTML and JSON.

Parsing a project page in HTML: links with their attributes, `<base>` and `<meta>` (PEP 503, 592,
629, 658, 792).

A page has ten thousand links, and nearly all indexes write them in one form: the URL is clean, the
hash is a sha256, each attribute occurs once and has double quotes and the usual escapes. Links of
exactly this form are parsed fast; the HTML parser yields the same file for the same link.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder, lookup
from collections.abc import Generator, Sequence
from functools import lru_cache
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin

from attrs import evolve
from msgspec import UNSET

from pypid.core.errors import BadListing, BadName
from pypid.core.packaging.name_sets import ManyNames, in_order, lines
from pypid.core.packaging.names import ProjectName, project_name, valid_name
from pypid.core.simple_api.parse import (
    FEW,
    LARGEST_SIZE,
    LONGEST_TEXT,
    MOST_FILES,
    Gathered,
    GivenEntry,
    Serves,
    Sha256,
    Slices,
    any_url,
    elements,
    moment_of,
    must_be_known,
    secure,
    slices_of_json,
    status_of,
)

Usual = tuple[str | None, ...]
"""The groups of `_LINK`."""

ESCAPED = r"[^\"<>&]*+(?:&(?:amp|lt|gt|quot|\#39|\#x27);[^\"<>&]*+)*+"
"""An attribute's value that `unescape` decodes exactly as an HTML parser does."""
LINE_END = r"\s*+>[^<>&]*+</a>[^<>&]*+(?:</?(?:br|li|td|tr)\s*+/?>[^<>&]*+)*+"
"""The rest of a link, and what indexes write between two of them."""
_VALUES = (
    ("data-requires-python", ESCAPED),
    ("data-upload-time", r"[0-9T:.Z+-]{1,40}+"),
    ("data-yanked", ESCAPED),
    ("data-size", r"[0-9]{1,15}+"),
    ("data-core-metadata", r"sha256=[0-9a-f]{64}|true"),
    ("data-dist-info-metadata", r"sha256=[0-9a-f]{64}|true"),
    ("data-provenance", ESCAPED),
    ("data-gpg-sig", r"true|false"),
    ("rel", ESCAPED),
)
# (?(3)(?!)): the third group has matched already, so this would be a duplicate
_ONCE = "|".join(
    rf'{name}="(?({group})(?!))({value})"' for group, (name, value) in enumerate(_VALUES, 3)
)
_SIMPLE_LINK = re.compile(
    rf'\s*+<a\s++href="([A-Za-z0-9._~!+,=:/-]{{1,{LONGEST_TEXT}}}+)\#sha256=([0-9a-f]{{64}})"'
    rf"(?:\s++(?:{_ONCE}))*+{LINE_END}",
    re.ASCII,
).match


def usual_links(text: str, position: int, links: list[Usual]) -> int:
    """Append the consecutive links at `position`; return the position after them."""
    while (found := _SIMPLE_LINK(text, position)) is not None:
        links.append(found.groups())
        position = found.end()
    return position


def entry_of_usual(link: Usual) -> GivenEntry:
    """Return the link as an entry of the JSON API."""
    url, sha256, requires, time, yanked, size, offer, older_offer, provenance, *_ = link
    assert url is not None and sha256 is not None
    offer = offer or older_offer
    return GivenEntry(
        url.rpartition("/")[2],
        url,
        Sha256(sha256),
        UNSET if size is None else int(size),
        UNSET if time is None else moment_of(time),
        requires and plain(requires),
        UNSET if offer is None else offer == "true" or Sha256(offer[7:]),
        yanked is not None and (plain(yanked) if yanked.strip() else True),
        provenance=provenance and secure(plain(provenance)),
    )


@lru_cache(maxsize=1024)
def plain(text: str) -> str:
    """Return the text without escapes; cached, since most are a few ``data-requires-python``."""
    return unescape(text)


LINK_PIECE = 1 << 15
"""Bytes parsed without a pause: a millisecond for what indexes write, and ten for anything else."""
LONGEST_TAG = 1 << 17
"""Maximum length in characters of one tag, comment or script. `HTMLParser` scans an unfinished one
again with every piece.
"""
_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)
_USUAL = re.compile(rf'\s*+<a((?:\s++[a-z-]++="{ESCAPED}")++){LINE_END}', re.ASCII).match
"""A link as tools write it and `HTMLParser` parses it: any attributes, any URL."""
_ATTRIBUTES = re.compile(r'([a-z-]+)="([^"]*)"', re.ASCII).findall
_SHA256 = re.compile(r"sha256=[0-9a-f]{64}\Z").match
LONGEST_LINK = 1 << 13
"""Maximum length in characters of such a link."""
_NUMBER = re.compile(r"[0-9]{1,16}\Z", re.ASCII).match
_HEADINGS = frozenset({"title", "h1"})
_BEFORE_NAME = ("links for", "index of", "listing for")
"""What precedes the name of a project, or the path of its page, in a heading of an index."""
LONGEST_HEADING, MOST_HEADINGS = 1000, 4


class _Page(HTMLParser):
    """Collects the elements. Fed by `take` and `end`; `close` is slow for unfinished tags."""

    rawdata: str
    """The pending input (an undocumented attribute of HTMLParser)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.version: str | None = None
        self.is_index = False
        """Whether the page identifies itself as an index page, without a version."""
        self.status: dict[str, str] = {}
        self.links: list[dict[str, str | None] | Usual] = []
        """The links not yet processed: all of them would burden the garbage collector."""
        self.count = 0
        self.headings: list[str] = []
        """The texts of the first title and headings."""
        self._in_heading = False
        self.has_end = False
        """Whether the end of the body or of the page came."""
        self._rest = ""
        """Perhaps the beginning of a usual link whose end is still to come."""

    def take(self, text: str) -> None:
        """Parse more text. Usual links bypass the parser, which is a hundred times slower."""
        text = self._rest + text
        self._rest = ""
        position = 0
        while not (self.rawdata or self.cdata_elem or self._in_heading):  # not inside of these
            position = self._usual_links(text, position)
            while (found := _USUAL(text, position)) is not None:
                self._link(
                    [
                        (name, plain(value) if "&" in value else value)
                        for name, value in _ATTRIBUTES(found[1])
                    ]
                )
                position = self._usual_links(text, found.end())
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
        """Take the usual links at `position`; return the position after them."""
        links: list[Usual] = []
        position = usual_links(text, position, links)
        self.links += links
        self.count += len(links)
        return position

    def end(self) -> None:
        """Parse the rest, after the last piece."""
        self.feed(self._rest)
        self._rest = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._link(attrs)
        elif (
            tag == "base" and self.base is None and not self.count
        ):  # HTML requires it before all links
            self.base = dict(reversed(attrs)).get("href")
        elif tag == "meta":
            self._meta(dict(reversed(attrs)))
        elif tag in _HEADINGS:
            self._in_heading = len(self.headings) < MOST_HEADINGS
            self.headings += [""] * self._in_heading

    def handle_endtag(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._in_heading = False
        self.has_end = self.has_end or tag in ("html", "body")

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] += data[: max(0, LONGEST_HEADING - len(self.headings[-1]))]

    def _link(self, attrs: Sequence[tuple[str, str | None]]) -> None:
        attributes = dict(reversed(attrs))  # of a duplicate attribute the first counts (HTML)
        if attributes.get("href"):
            self.links.append(attributes)
            self.count += 1

    def _meta(self, attributes: dict[str, str | None]) -> None:
        content = attributes.get("content") or ""
        match attributes.get("name"):
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
        """Return the base of relative links."""
        try:
            return urljoin(url, self.base.strip()[:LONGEST_TEXT]) if self.base else url
        except ValueError:
            return url

    def check_size(self) -> None:
        """Raise `BadListing` if a tag is too long, or if there are too many links."""
        if len(self.rawdata) > LONGEST_TAG:
            raise BadListing(f"its HTML has a tag of more than {LONGEST_TAG} characters.")
        if self.count > MOST_FILES:
            raise BadListing(f"it has more than {MOST_FILES} links.")

    def move_links(self, gathered: Gathered) -> None:
        """Move the first few links to `gathered`."""
        gathered.take(
            [
                entry_of_usual(link) if isinstance(link, tuple) else entry_of(link)
                for link in self.links[:FEW]
            ]
        )
        del self.links[:FEW]

    def is_of(self, name: ProjectName) -> bool:
        """Return whether a page without files is recognizably this project's page, and not an error
        page or a log-in.

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
    serves: Serves = any_url,
) -> Slices:
    """Return the listing in an HTML page from `url`, as slices.

    `must_end`: the transfer may have been cut off, so the page has to end as HTML does. Raises
    `BadListing`, also if it is not an index page.
    """
    page = _Page()
    gathered: Gathered | None = None
    decoder = getincrementaldecoder(_encoding(content_type))("replace")
    for start in range(0, len(data), LINK_PIECE):
        page.take(decoder.decode(bytes(data[start : start + LINK_PIECE])))
        if start + LINK_PIECE >= len(data):
            page.end()
        page.check_size()
        if not page.links:
            yield
        elif gathered is None:
            gathered = Gathered(name, page.links_from(url), serves)
        while gathered is not None and page.links:
            page.move_links(gathered)
            yield
    if must_end and not page.has_end:
        raise BadListing("its HTML breaks off.")
    return (yield from _listing_of(page, gathered or Gathered(name, url), name))


def _listing_of(page: _Page, gathered: Gathered, name: ProjectName) -> Slices:
    """Return the listing, as slices. Raises `BadListing` if the page is not the project's."""
    must_be_known(page.version or None)
    listing = yield from gathered.listing(*status_of(page.status))
    if listing.files:
        return listing
    if not page.is_of(name):
        raise BadListing(f"it is HTML, but not the page of {name!r} (a log-in, or an error?).")
    return evolve(listing, is_doubtful=not page.status)


def _names(heading: str, name: ProjectName) -> bool:
    """Return whether the heading is an index's heading of this project's page: "demo", "root/dev:
    links for demo", "Index of /simple/demo/", but not "502 Bad Gateway" for the project gateway.
    """
    *before, last = heading.split() or [""]
    if before and not " ".join(before).lower().endswith(_BEFORE_NAME):
        return False
    return valid_name(unquote(last.rstrip("/").rpartition("/")[2])) == name


def _encoding(content_type: str) -> str:
    """Return the page's encoding: UTF-8, unless the page declares a known older one."""
    charset = _CHARSET.search(content_type[:LONGEST_TEXT])
    try:
        encoding = lookup(charset[1]).name if charset else "utf-8"
    except LookupError:
        return "utf-8"
    return encoding if encoding in _ENCODINGS else "utf-8"


def entry_of(link: dict[str, str | None]) -> dict[str, Any]:
    """Return the link as an entry of the JSON API."""
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
        text = (link.get(key) or "").strip()
        if text and "core-metadata" not in entry:
            entry["core-metadata"] = _pairs(text) if "=" in text else text.lower() == "true"
    size = link.get("data-size")
    if size and _NUMBER(size) and int(size) <= LARGEST_SIZE:
        entry["size"] = int(size)
    if link.get("data-upload-time"):
        entry["upload-time"] = link["data-upload-time"]
    if link.get("data-provenance"):
        entry["provenance"] = link["data-provenance"]
    return entry


def _pairs(text: str) -> dict[str, str]:
    """Return the hashes in ``sha256=...``, or in ``sha256=...&egg=...``."""
    found = (pair.partition("=") for pair in text.split("&", 8)[:8])
    return {algorithm: value for algorithm, equals, value in found if equals}


# Parsing upstream pages of any declared type: whether they are JSON or HTML is detected from their
# content.
#
# Static mirrors and object stores send pages with any Content-Type, and some indexes send JSON to
# clients that asked for HTML.

MOST_NAMES = 5_000_000
PIECE = 1 << 16
"""Bytes parsed without a pause."""
BUCKETS = 128
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_LINK = re.compile(
    rb"<a\s[^<>]{0,2000}?(?<![\w-])href\s*=\s*"
    rb"(?:\"([^\"<>]{1,2000})\"|'([^'<>]{1,2000})'|([^\s\"'<>]{1,2000}))",
    re.I,
)
_PLAIN = re.compile(rb"[A-Za-z0-9._-]+\Z").match
_VERSION = re.compile(rb"<meta\s[^<>]{0,200}pypi:repository-version[^<>]{0,200}>", re.I)
_CONTENT = re.compile(rb"content\s*=\s*[\"']?([^\"'\s>]{0,40})", re.I)


def slices_of_page(
    data: bytes | bytearray,
    content_type: str,
    name: ProjectName,
    url: str,
    *,
    must_end: bool = False,
    serves: Serves = any_url,
) -> Slices:
    """Return the listing in a project's page from `url`, as slices; `must_end` as for
    `slices_of_html`. `serves` returns whether metadata without a hash may be fetched from beside a
    URL; else its offer is dropped. Raises `BadListing`.
    """
    data = _without_mark(data)
    if _looks_like_json(data):
        return slices_of_json(data, name, url, serves)
    if _looks_like_html(data):
        return slices_of_html(data, name, url, content_type, must_end=must_end, serves=serves)
    raise BadListing("it is neither JSON nor HTML." if data else "it is empty.")


def slices_of_names(
    data: bytes | bytearray, *, must_end: bool = False
) -> Generator[None, None, ManyNames]:
    """Return all names on the list of projects, in order, each once, as slices; invalid names are
    dropped. Raises `BadListing`.
    """
    data = _without_mark(data)
    if _looks_like_json(data):
        return _names_of_json(data)
    if _looks_like_html(data):
        if must_end and b"</" not in data[-200:]:
            raise BadListing("its HTML breaks off.")
        return _names_of_html(data)
    raise BadListing("it is neither JSON nor HTML." if data else "it is empty.")


def _without_mark(data: bytes | bytearray) -> bytes | bytearray:
    return data[len(_BOM) :] if data.startswith(_BOM) else data


def _looks_like_json(data: bytes | bytearray) -> bool:
    return data[:1000].lstrip(_SPACE).startswith(b"{")


def _looks_like_html(data: bytes | bytearray) -> bool:
    return data[:1000].lstrip(_SPACE).startswith(b"<")


def _names_of_json(data: bytes | bytearray) -> Generator[None, None, ManyNames]:
    names = _Names()
    projects = elements(data, "projects")
    while True:
        try:
            some = next(projects)
        except StopIteration as ended:
            rest: dict[str, Any] = ended.value
            break
        for entry in some:
            if isinstance(entry, dict):
                names.add(entry.get("name"))
        yield
    meta = rest.get("meta")
    must_be_known(meta.get("api-version") if isinstance(meta, dict) else None)
    yield
    return (yield from names.in_order())


def _names_of_html(data: bytes | bytearray) -> Generator[None, None, ManyNames]:
    """Parse the list by a regular expression: parsing 40 MB of HTML takes a minute, and only the
    end of each link matters (PEP 503).
    """
    version = _VERSION.search(data, 0, PIECE)
    content = _CONTENT.search(version[0]) if version else None
    must_be_known(content[1].decode("latin-1") if content else None)
    names = _Names()
    position = 0
    while position < len(data):
        stop = data.rfind(b"<", position + 1, position + PIECE)
        if stop < 0 or position + PIECE >= len(data):
            stop = min(position + PIECE, len(data))
        for link in _LINK.finditer(data, position, stop):
            names.add(_last_part(link[1] or link[2] or link[3]))
        position = stop
        yield
    if not names and version is None:
        raise BadListing("it is HTML, but no list of projects.")
    return (yield from names.in_order())


def _last_part(href: bytes) -> str:
    part = href.rstrip(b"/").rpartition(b"/")[2]
    if _PLAIN(part):
        return part.decode("ascii")
    path = unescape(href.decode("utf-8", "replace")).partition("#")[0].partition("?")[0]
    return unquote(path.rstrip("/").rpartition("/")[2])


class _Names:
    """Distinct names, in many sets: growing one set to a million blocks for 40 milliseconds at a
    time, and sorting it for 500.
    """

    def __init__(self) -> None:
        self._buckets: list[set[ProjectName]] = [set() for _ in range(BUCKETS)]

    def add(self, value: object) -> None:
        """Add a name; an invalid one is dropped."""
        if not isinstance(value, str):
            return
        try:
            name = project_name.__wrapped__(value)  # uncached: they would fill the cache
        except BadName:
            return
        bucket = self._buckets[hash(name) % BUCKETS]
        bucket.add(name)
        if len(bucket) > MOST_NAMES // BUCKETS:
            raise BadListing(f"it has more than {MOST_NAMES} names.")

    def __bool__(self) -> bool:
        return any(self._buckets)

    def in_order(self) -> Generator[None, None, ManyNames]:
        """Return all names sorted, and remove them from here."""
        sorted_lists = []
        while self._buckets:
            sorted_lists.append(lines(sorted(self._buckets.pop())))
            yield
        return (yield from in_order(sorted_lists))
