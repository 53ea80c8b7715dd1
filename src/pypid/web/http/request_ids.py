"""Request ids: in the access log, in the lines that are logged for a request, and in its
response.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextvars import ContextVar

HEADER = b"X-Request-ID"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Syntax of the request ids that a trusted proxy may set: nothing that a log or a shell could take
for more than a name.
"""
CHANCE = 8
"""Random bytes in an id."""

_LAST = tuple(f"{number:03x}" for number in range(1 << 12))
"""Formatted values of the last 12 bits of a number: a lookup takes a tenth of the time that
formatting takes.
"""

OF_REQUEST: ContextVar[str | None] = ContextVar("pypid.request", default=None)
"""The id of the request that is being processed; None outside requests."""


class Ids:
    """Ids of requests, unique within a log.

    An id that is sent to a client is random: numbers would show each client how many requests
    others sent meanwhile. Requests that are answered from memory do not return theirs, and get a
    prefix drawn for this process, and a number. Without `random` all ids are such numbers.
    """

    def __init__(self, prefix: str = "", random: Callable[[int], bytes] | None = None) -> None:
        self.prefix = prefix
        self._random = random
        self._count = 0

    @classmethod
    def drawn(cls, random: Callable[[int], bytes]) -> Ids:
        """Return the ids of a new process, with a random prefix."""
        return cls(_drawn(random)[:6], random)

    def next(self) -> str:
        """Return an id for a request whose response carries it."""
        if self._random is not None:
            return _drawn(self._random)
        self._count += 1
        return f"{self.prefix}{self._count:06x}"

    def take(self, count: int) -> int:
        """Reserve `count` numbers for a caller that writes many lines at once; return the first."""
        first = self._count + 1
        self._count += count
        return first


def _drawn(random: Callable[[int], bytes]) -> str:
    """Return 12 random characters, which hold 60 bits."""
    return b32encode(random(CHANCE)).decode("ascii")[:12].lower()


def blocks(prefix: str, first: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield so many ids as `Ids` writes them: in blocks of a common beginning and the endings of
    successive ids.
    """
    stop = first + count
    while first < stop:
        low = first & 0xFFF
        following = _LAST[low : low + stop - first]
        yield f"{prefix}{first >> 12:03x}", following
        first += len(following)


def forwarded_id(values: list[str]) -> str | None:
    """Return the id that a proxy sends in its header, if there is exactly one and it is plain."""
    return values[0] if len(values) == 1 and PLAIN.fullmatch(values[0]) is not None else None
