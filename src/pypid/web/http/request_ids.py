"""What a request is called: in the access log, in the lines that are logged on its behalf, and in
its answer.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextvars import ContextVar

HEADER = b"X-Request-ID"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a trusted proxy may call a request: nothing that a log or a shell could take for more than a
name.
"""
CHANCE = 8
"""Random bytes that an id is made of."""

_LAST = tuple(f"{number:03x}" for number in range(1 << 12))
"""How the last 12 bits of a number are written: to look that up takes a tenth of the time that
formatting a number takes.
"""

OF_REQUEST: ContextVar[str | None] = ContextVar("pypid.request", default=None)
"""The id of the request on whose behalf something is done; None: nobody's."""


class Ids:
    """Ids of requests, unique within a log.

    An id that a client is told is random: numbers would tell each client how many requests others
    sent meanwhile. Requests that are answered from memory are not told theirs, and get a prefix
    drawn for this process, and a number. Without `random` all ids are such numbers.
    """

    def __init__(self, prefix: str = "", random: Callable[[int], bytes] | None = None) -> None:
        self.prefix = prefix
        self._random = random
        self._given = 0

    @classmethod
    def drawn(cls, random: Callable[[int], bytes]) -> Ids:
        """Those of a new process."""
        return cls(_drawn(random)[:6], random)

    def next(self) -> str:
        """An id for a request whose client is told."""
        if self._random is not None:
            return _drawn(self._random)
        self._given += 1
        return f"{self.prefix}{self._given:06x}"

    def take(self, count: int) -> int:
        """The number of the first of so many more: for whoever writes many at once."""
        first = self._given + 1
        self._given += count
        return first


def _drawn(random: Callable[[int], bytes]) -> str:
    """12 random characters, which hold 60 bits."""
    return b32encode(random(CHANCE)).decode("ascii")[:12].lower()


def blocks(prefix: str, first: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """So many ids, as `Ids` writes them: beginnings, and for each what follows in one id after the
    other.
    """
    stop = first + count
    while first < stop:
        low = first & 0xFFF
        following = _LAST[low : low + stop - first]
        yield f"{prefix}{first >> 12:03x}", following
        first += len(following)


def given_id(values: list[str]) -> str | None:
    """The id that a proxy gives in its header, if it is one and plain."""
    return values[0] if len(values) == 1 and PLAIN.fullmatch(values[0]) is not None else None
