"""Leases in the shared catalog: they decide which of several nodes does a job, and expire by
themselves.

The node that does a job keeps its lease while it goes on, and then as long as the job need not be
repeated. A node that dies in the middle leaves a lease that expires within `HELD`. If two do a job,
because the engine was unavailable, that is waste and no damage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.catalog.engine import CatalogReset, DatabaseAway, DatabaseUnusable, Engine
from pypid.flow import World, shielded, start
from pypid.flow.periodic import ClockedLoop

_log = Logger()

HELD, RENEWED = 30.0, 8.0
"""Seconds that a lease is valid while its job goes on, and after which it is renewed."""
RECONCILE, FILL, REFRESH, EVICT, TENDED = "reconcile", "fill", "refresh", "evict", "tidy"
PROVENANCE = "provenance"
"""The names of the leases of jobs."""
PUBLISHING = "publish "
"""The prefix of a publisher's lease, before the place of the file."""
COMPARE = 600.0
"""Seconds between two comparisons with a storage that others write to: all is listed, and what has
not changed is not read.
"""

Job = Callable[[], Awaitable[object]]


class Leases(Protocol):
    """A runner of jobs that only one of several nodes is to do."""

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job, unless another node does it, or did it less than `rest` seconds ago; return
        whether it was done here.

        Raises what the job raises: then another node may do it at once.
        """


class SoleNode:
    """The leases of a pypid that shares its catalog with no other."""

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job, always."""
        await job()
        return True


@define(eq=False)
class Shared:
    """The leases of an engine. `holder` differs for each process."""

    engine: Engine
    holder: str
    world: World
    _doing: set[str] = field(factory=set, init=False)

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job if the lease is free, see `Leases.run`. While the engine is unavailable
        nothing is done.
        """
        if name in self._doing:
            return False
        self._doing.add(name)
        try:
            if not await self._take(name, HELD):
                return False
            await self._do(name, job, rest)
        finally:
            self._doing.discard(name)
        return True

    async def _do(self, name: str, job: Job, rest: float) -> None:
        begun = self.world.clock.seconds()
        ends = self._keep(name)
        left = 0.0
        try:
            await job()
            left = rest - (self.world.clock.seconds() - begun)
        finally:
            await shielded(self._ended(name, ends, left))

    @asynccontextmanager
    async def announced(self, place: str) -> AsyncIterator[bool]:
        """Hold the publisher's lease of a file for the block, see
        `index.context.UnderWay.announced`.
        """
        name = PUBLISHING + place
        if not await self._take(name, HELD):
            yield False
            return
        ends = self._keep(name)
        try:
            yield True
        finally:
            await shielded(self._ended(name, ends, 0.0))

    def _keep(self, name: str) -> Callable[[], Deferred[LoopingCall]]:
        """Renew the held lease until the returned function is called."""
        renewing = ClockedLoop(self.world.clock, self._renew, name)
        renewed: Deferred[LoopingCall] = renewing.start(RENEWED, now=False)

        def end() -> Deferred[LoopingCall]:
            renewing.stop()
            return renewed

        return end

    async def _ended(
        self, name: str, ends: Callable[[], Deferred[LoopingCall]], left: float
    ) -> None:
        await ends()
        if left > 0:
            await self._take(name, left)
        else:
            await self._give_back(name)

    def _renew(self, name: str) -> Deferred[bool]:
        return start(self._take(name, HELD))

    async def _take(self, name: str, seconds: float) -> bool:
        """Return whether this process has the lease; False where the engine cannot be asked."""
        try:
            return await self.engine.lease(name, self.holder, seconds)
        except (CatalogReset, DatabaseAway, DatabaseUnusable) as error:
            _log.debug(
                "the lease {name} could not be requested: {reason}", name=name, reason=str(error)
            )
            return False

    async def _give_back(self, name: str) -> None:
        try:
            await self.engine.release(name, self.holder)
        except (CatalogReset, DatabaseAway, DatabaseUnusable):  # it expires by itself
            return


_: type[Leases] = SoleNode
__: type[Leases] = Shared
