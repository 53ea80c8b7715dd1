"""Which worker has how many connections, in memory that all of them see: who has more lets others
take the next one.
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
"""Workers that are weighed."""
_SIZE = 4 * MOST
_NOBODY = 0xFFFFFFFF
_LOOK = 0.002
"""Seconds until it is seen whether somebody else has taken the connection."""
_LOOKS = 10
"""How often that is done: then nobody else has the time, and who has more takes it, and all that
come in the next `_FREE`.
"""
_FREE = 0.02


@define(eq=False)
class Scales:
    """Of one `worker`. `connections` says how many it has. The `descriptor` is that
    of the memory.
    """

    descriptor: int
    worker: int
    connections: Callable[[], int] = field(repr=False)
    _counts: memoryview = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._counts = memoryview(mmap(self.descriptor, _SIZE)).cast("I")

    def weigh(self) -> None:
        """Have the others see how many they are now. Before it is called for the first time nobody
        waits for this worker.
        """
        if self.worker <= MOST:
            self._counts[self.worker - 1] = self.connections()

    def leave(self, worker: int) -> None:
        """That one has ended."""
        if worker <= MOST:
            self._counts[worker - 1] = _NOBODY

    def has_more(self) -> bool:
        """Whether this worker has more than some other one, by more than is by chance."""
        fewest = min(self._counts)  # with ours
        return self.connections() > fewest + 1 + fewest // 8


def make_scales(folder: Path, connections: Callable[[], int]) -> Scales:
    """Those of the first worker; the memory is a file in `folder` that has no name. Raises
    `OSError`.
    """
    with TemporaryFile(dir=folder) as file:
        file.write(b"\xff" * _SIZE)
        file.flush()
        return Scales(os.dup(file.fileno()), 1, connections)


def weighed(port: Any, scales: Scales) -> None:
    """Have a port take one connection at a time, and let others take it who have fewer. (Twisted
    takes a hundred at a time.)
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
        port.numberAccepts = 1
        result = read()
        scales.weigh()
        return result

    def again() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()

    port.doRead = fairly
    port.reactor.callWhenRunning(scales.weigh)
