"""Parsing upstream pages of any declared type: whether they are JSON or HTML is detected from their
content.

Static mirrors and object stores send pages with any Content-Type, and some indexes send JSON to
clients that asked for HTML.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from html import unescape
from typing import Any
from urllib.parse import unquote

from pypid.core.errors import BadListing, BadName
from pypid.core.packaging.name_sets import ManyNames, in_order, lines
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.simple_api.json_elements import elements
from pypid.core.simple_api.packing import at_once
from pypid.core.simple_api.parse import (
    ParsedListing,
    Serves,
    Slices,
    any_url,
    must_be_known,
    slices_of_json,
)

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
        from pypid.core.simple_api.parse_html import (
            slices_of_html,  # here: most indexes send JSON
        )

        return slices_of_html(data, name, url, content_type, must_end=must_end, serves=serves)
    raise BadListing("it is neither JSON nor HTML." if data else "it is empty.")


def read_page(
    data: bytes | bytearray, content_type: str, name: ProjectName, url: str
) -> ParsedListing:
    """Return the listing in a project's page from `url`, without pauses. Raises `BadListing`."""
    return at_once(slices_of_page(data, content_type, name, url))


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


def read_names(data: bytes | bytearray) -> ManyNames:
    """Return all names on the list of projects, without pauses. Raises `BadListing`."""
    return at_once(slices_of_names(data))


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
