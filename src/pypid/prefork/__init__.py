"""Several processes that answer on the same sockets: the first one, which started the others, and
those.
"""

from __future__ import annotations

_numbers = [1]
MOST = 1000
"""Workers that may be asked for on the command line."""


def number() -> int:
    """Which worker this process is, from 1; the first one is the process that was started, and
    alone if there are no others.
    """
    return _numbers[0]


def become(worker: int) -> None:
    """Be that one from now on: the first thing that a process does which another one started."""
    _numbers[0] = worker


def how_many(text: str) -> int:
    """What ``--workers`` says. Raises `ValueError`, with advice."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) <= MOST):
        raise ValueError(f"{text[:20]!r} is not a whole number from 1 to {MOST}")
    return int(text)
