"""The number of connections of each worker, in shared memory: a worker with more lets others accept
the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from attrs import define, field

MOST = 64
"""The largest number of workers that are balanced."""
_SIZE = 4 * MOST
_NOBODY = 0xFFFFFFFF
_LOOK = 0.002
"""Seconds until a worker checks whether another one has accepted the connection."""
_LOOKS = 10
"""The number of checks: then the others are busy, and the worker with more accepts it, and all that
come in the next `_FREE`.
"""
_FREE = 0.02


@define(eq=False)
class Scales:
    """The connection counts as one `worker` sees them. `connections` returns its own number;
    `descriptor` is that of the memory.
    """

    descriptor: int
    worker: int
    connections: Callable[[], int] = field(repr=False)
    _counts: memoryview = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._counts = memoryview(mmap(self.descriptor, _SIZE)).cast("I")

    def weigh(self) -> None:
        """Publish this worker's number of connections. Before the first call the others do not wait
        for this worker.
        """
        if self.worker <= MOST:
            self._counts[self.worker - 1] = self.connections()

    def leave(self, worker: int) -> None:
        """Remove a worker that has ended."""
        if worker <= MOST:
            self._counts[worker - 1] = _NOBODY

    def has_more(self) -> bool:
        """Return whether this worker has more connections than some other one, by more than
        chance.
        """
        fewest = min(self._counts)  # including this worker
        return self.connections() > fewest + 1 + fewest // 8


def make_scales(folder: Path, connections: Callable[[], int]) -> Scales:
    """Return the scales of the first worker; the memory is an unnamed file in `folder`. Raises
    `OSError`.
    """
    with TemporaryFile(dir=folder) as file:
        file.write(b"\xff" * _SIZE)
        file.flush()
        return Scales(os.dup(file.fileno()), 1, connections)


def weighed(port: Any, scales: Scales) -> None:
    """Have a port accept one connection at a time, and let workers with fewer connections go first.
    (Twisted accepts a hundred at a time.)
    """
    read: Callable[[], object] = port.doRead
    looks, free = 0, 0.0

    def fairly() -> object:
        nonlocal looks, free
        scales.weigh()
        if scales.has_more() and (now := port.reactor.seconds()) >= free:
            looks += 1
            if looks <= _LOOKS:
                port.stopReading()
                port.reactor.callLater(_LOOK, again)
                return None
            free = now + _FREE
        looks = 0
        port.numberAccepts = 1  # Twisted's port has no setting for it
        result = read()
        scales.weigh()
        return result

    def again() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()

    port.doRead = fairly  # the reactor calls it; endpoints offer no class for their ports
    port.reactor.callWhenRunning(scales.weigh)
