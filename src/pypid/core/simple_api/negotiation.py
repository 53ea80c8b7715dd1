"""Content negotiation: the representation of a page that a client gets.

Sources: "Simple repository API" (content types, ``latest``, ``?format=``, 406), RFC 9110 section
12.5.1 (Accept). What clients really send, and which of them break on which response, is in the
table of `tests/core/simple_api/test_negotiation.py`.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Format(Enum):
    """The representations of a page; the values are the exact Content-Types.

    The first two have no parameters, since some clients compare them whole. ``text/html`` is what
    browsers and old clients read, and names its encoding for them.
    """

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    TEXT_HTML = "text/html; charset=utf-8"

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON; else it is HTML."""
        return self is Format.JSON


_NAMES = {
    Format.JSON: ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"),
    Format.HTML_V1: (
        "application/vnd.pypi.simple.v1+html",
        "application/vnd.pypi.simple.latest+html",
    ),
    Format.TEXT_HTML: ("text/html",),
}
"""``latest`` is answered with the Content-Type of the version that it means (the specification:
MUST).
"""

_BY_NAME = {name: format for format, names in _NAMES.items() for name in names}

_WHEN_NAMED = (Format.JSON, Format.HTML_V1, Format.TEXT_HTML)
_WHEN_ANYTHING_GOES = (Format.TEXT_HTML, Format.HTML_V1, Format.JSON)
"""hatch and pipenv send ``*/*``, or nothing, and then read HTML."""

_LONGEST_REMEMBERED = 400
_MEDIA_RANGE = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+/[a-z0-9!#$%&'*+.^_`|~-]+\Z")
_QUALITY = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?\Z|\.[0-9]{1,9}\Z")


def negotiate(accept: str | None, format: str | None = None) -> Format | None:
    """Return the representation for a request, or None if the client accepts none (406).

    `accept` is the Accept header (None: there is none); `format` the decoded value of ``?format=``,
    which takes precedence and names exactly one content type. Unparseable parts of the header are
    ignored; a header without any valid part counts as absent. Never raises.
    """
    if format is not None:
        # an unquoted "+" in a query string arrives as a space
        return _BY_NAME.get(format.strip().lower().replace(" ", "+"))
    if accept is None:
        return _WHEN_ANYTHING_GOES[0]
    # The cache must stay small, whatever headers clients make up.
    return _chosen_cached(accept) if len(accept) <= _LONGEST_REMEMBERED else _chosen(accept)


def _chosen(accept: str) -> Format | None:
    ranges = _media_ranges(accept) or {"*/*": 1.0}
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen = None
    for format in Format:
        quality, precision = _wanted(ranges, format)
        # Between equals a named type precedes a wildcard, then JSON precedes HTML (pypi-simple: the
        # richer one).
        order = _WHEN_NAMED if precision else _WHEN_ANYTHING_GOES
        rank = (quality, precision, -order.index(format))
        if quality > 0 and (chosen is None or rank > best):
            best, chosen = rank, format
    return chosen


_chosen_cached = lru_cache(maxsize=256)(_chosen)


def _media_ranges(accept: str) -> dict[str, float]:
    """Return the media ranges of the header with their qualities; parameters other than ``q`` are
    ignored.
    """
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media == "*":  # Java's URLConnection writes "*; q=.2"
            media = "*/*"
        quality = _quality(parameters)
        if quality is not None and _MEDIA_RANGE.match(media):
            ranges[media] = max(quality, ranges.get(media, 0.0))
    return ranges


def _quality(parameters: list[str]) -> float | None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return min(float(value), 1.0) if _QUALITY.match(value) else None
    return 1.0


def _wanted(ranges: dict[str, float], format: Format) -> tuple[float, int]:
    """Return the client's quality of `format`, and the precision of the match: 2 by name, 1
    ``type/*``, 0 ``*/*``.
    """
    names = _NAMES[format]
    kind = names[0].partition("/")[0]
    for precision, spellings in ((2, names), (1, (f"{kind}/*",)), (0, ("*/*",))):
        qualities = [ranges[spelling] for spelling in spellings if spelling in ranges]
        if qualities:
            return max(qualities), precision
    return 0.0, 0
