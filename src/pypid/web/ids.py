"""What a request is called: in the access log, in the lines that are logged on its behalf, and in its answer."""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextvars import ContextVar

HEADER = b"X-Request-ID"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a trusted proxy may call a request: nothing that a log or a shell could take for more than a name."""
CHANCE = 5
"""Bytes of chance, of which the first part of an id is made."""

_LAST = tuple(f"{number:03x}" for number in range(1 << 12))
"""How the last 12 bits of a number are written: to look that up takes a tenth of the time that formatting a number takes."""

OF_REQUEST: ContextVar[str | None] = ContextVar("pypid.request", default=None)
"""The id of the request on whose behalf something is done; None: nobody's."""


class Ids:
    """Names for requests, none of them twice: what was drawn once for this process, and a number.

    They are no secret, and nobody need be unable to guess the next one.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._given = 0

    @classmethod
    def drawn(cls, random: Callable[[int], bytes]) -> Ids:
        """Those of a new process."""
        return cls(b32encode(random(CHANCE)).decode("ascii")[:6].lower())

    def next(self) -> str:
        """One more, of 12 characters (of more after 16 million requests)."""
        self._given += 1
        return f"{self.prefix}{self._given:06x}"

    def take(self, count: int) -> int:
        """The number of the first of so many more: for whoever writes many at once."""
        first = self._given + 1
        self._given += count
        return first


def blocks(prefix: str, first: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """So many ids, as `Ids` writes them: beginnings, and for each what follows in one id after the other."""
    stop = first + count
    while first < stop:
        low = first & 0xFFF
        following = _LAST[low : low + stop - first]
        yield f"{prefix}{first >> 12:03x}", following
        first += len(following)


def given_id(values: list[str]) -> str | None:
    """The id that a proxy gives in its header, if it is one and plain."""
    return values[0] if len(values) == 1 and PLAIN.fullmatch(values[0]) is not None else None
