"""Several processes that answer on the same sockets: the first one, which started the others, and those."""

from __future__ import annotations

_numbers = [1]


def number() -> int:
    """Which worker this process is, from 1; the first one is the process that was started, and alone if there are no others."""
    return _numbers[0]


def become(worker: int) -> None:
    """Be that one from now on: the first thing that a process does which another one started."""
    _numbers[0] = worker
