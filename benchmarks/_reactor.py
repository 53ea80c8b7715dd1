"""What the benchmarks of single pieces share: a real reactor, and how long it was held up."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import perf_counter

from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from pypid.flow import World

TICK = 0.001


def world() -> World:
    """The real one."""
    return World(clock=reactor, now=lambda: datetime.now(UTC), blocking=deferToThread, random=os.urandom)


class Stalls:
    """The longest time that the reactor did not come round to a call that is due every millisecond."""

    def __init__(self) -> None:
        self._last = perf_counter()
        self.worst = 0.0
        self._loop = LoopingCall(self._tick)

    def _tick(self) -> None:
        now = perf_counter()
        self.worst = max(self.worst, now - self._last - TICK)
        self._last = now

    async def during(self, job: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """Seconds that the job took, and of the longest stall in it."""
        self._last, self.worst = perf_counter(), 0.0
        self._loop.start(TICK)
        begin = perf_counter()
        await job()
        took = perf_counter() - begin
        self._tick()
        self._loop.stop()
        return took, self.worst


def rss() -> float:
    """MiB of this process now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
