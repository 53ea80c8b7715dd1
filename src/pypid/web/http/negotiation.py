"""Content negotiation: Accept and Accept-Encoding with quality values. Pure; no header that a
client sends makes it raise.

Source: RFC 9110, sections 12.4.2 (quality values), 12.5.1 (Accept) and 12.5.3 (Accept-Encoding).
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

_LONGEST_CACHED = 400
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")


class Encoding(Enum):
    """The encoding of a page in transit; the values are those of Content-Encoding."""

    IDENTITY = "identity"
    GZIP = "gzip"


class ErrorFormat(Enum):
    """The format of an error; the values are exact Content-Types.

    uv reads the JSON only if its type is exactly ``application/json``, without a charset.
    """

    PLAIN = "text/plain; charset=utf-8"
    JSON = "application/json"
    HTML = "text/html; charset=utf-8"


def qualities(header: str) -> dict[str, float]:
    """Return the preferences in a header of the Accept family: lower-case name to quality (0 to 1).

    Parameters other than ``q`` are ignored; an invalid quality counts as 0, as if the name was not
    given.
    """
    found: dict[str, float] = {}
    for element in header.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                value = value.strip()
                quality = float(value) if _QUALITY.match(value) else 0.0
        found[name.lower()] = max(quality, found.get(name.lower(), 0.0))
    return found


def choose_encoding(accept_encoding: str | None) -> Encoding:
    """Return gzip if the client accepts it and does not prefer identity; else identity.

    Identity is sent even to a client that refuses it (``identity;q=0``) and gzip too: RFC 9110
    allows this in place of 406, and no client of a package index is helped by a 406.
    """
    if accept_encoding is None:
        return Encoding.IDENTITY
    # The cache must stay small, whatever headers clients make up.
    return (
        _cached_choice(accept_encoding)
        if len(accept_encoding) <= _LONGEST_CACHED
        else _chosen(accept_encoding)
    )


def _chosen(accept_encoding: str) -> Encoding:
    preferences = qualities(accept_encoding)
    anything = preferences.get("*", 0.0)
    gzip = max(
        (preferences[name] for name in ("gzip", "x-gzip") if name in preferences), default=anything
    )
    identity = preferences.get("identity", 0.0)
    return Encoding.GZIP if gzip > 0 and gzip >= identity else Encoding.IDENTITY


_cached_choice = lru_cache(maxsize=256)(_chosen)


def choose_error_format(accept: str | None) -> ErrorFormat:
    """Return the client's preferred format for an error; plain text if it states no preference, or
    accepts none of them.

    Between equals the named type wins over the wildcard; of several named ones JSON, then HTML.
    """
    if accept is None:
        return ErrorFormat.PLAIN
    preferences = qualities(accept)
    best, best_rank = ErrorFormat.PLAIN, (0.0, 0, 0)
    for position, candidate in enumerate((ErrorFormat.PLAIN, ErrorFormat.HTML, ErrorFormat.JSON)):
        media = candidate.value.partition(";")[0]
        if media in preferences:
            rank = (preferences[media], 2, position)
        elif f"{media.partition('/')[0]}/*" in preferences:
            rank = (preferences[f"{media.partition('/')[0]}/*"], 1, -position)
        else:
            rank = (preferences.get("*/*", 0.0), 0, -position)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = candidate, rank
    return best
