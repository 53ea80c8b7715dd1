"""What the benchmarks of single pieces share: a real reactor, and how long it was held up."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from pypid.catalog.replica import ReplicaFollower
from pypid.catalog.shared import SharedCatalog
from pypid.database.catalog import FILE, catalog_engine
from pypid.database.places import SqliteFile
from pypid.flow import World

TICK = 0.001


def world() -> World:
    """The real one."""
    return World(
        clock=reactor,
        now=lambda: datetime.now(UTC),
        blocking=deferToThread,  # type: ignore[arg-type]
        random=os.urandom,
    )


async def new_catalog(folder: Path, world: World) -> SharedCatalog:
    """The new catalog of one process in the folder, which has begun; the caller closes it."""
    engine = catalog_engine(SqliteFile(folder / FILE), world, reactor)
    catalog = SharedCatalog(ReplicaFollower(engine, "here", world, timedelta(0), is_sole=True))
    await catalog.begin()
    return catalog


class Stalls:
    """The longest time that the reactor did not come round to a call that is due every millisecond.

    `own`: no more of each than the processor time that this process used in it; the rest is what
    other processes had.
    """

    def __init__(self) -> None:
        self._last = perf_counter()
        self._used = process_time()
        self.worst = self.own = 0.0
        self._loop = LoopingCall(self._tick)

    def _tick(self) -> None:
        now, used = perf_counter(), process_time()
        stall = now - self._last - TICK
        self.worst = max(self.worst, stall)
        self.own = max(self.own, min(stall, used - self._used))
        self._last, self._used = now, used

    async def during(self, job: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """Seconds that the job took, and of the longest stall in it."""
        self._last, self._used, self.worst, self.own = perf_counter(), process_time(), 0.0, 0.0
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


def forget_peak() -> None:
    """Begin to look for the peak anew."""
    with open("/proc/self/clear_refs", "w") as clear_refs:
        clear_refs.write("5")


def peak() -> float:
    """The most MiB of this process since `forget_peak`."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
