"""Several processes that serve the same sockets: the first one, and the workers that it started."""

from __future__ import annotations

_numbers = [1]
MOST = 1000
"""The largest number of workers on the command line."""


def number() -> int:
    """Return the number of this worker, from 1; the first one is the process that was started, and
    alone if there are no others.
    """
    return _numbers[0]


def set_number(worker: int) -> None:
    """Set the number of this worker: the first thing that a started process does."""
    _numbers[0] = worker


def how_many(text: str) -> int:
    """Return the number in ``--workers``. Raises `ValueError`, with advice."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) <= MOST):
        raise ValueError(f"{text[:20]!r} is not a whole number from 1 to {MOST}")
    return int(text)
