"""Which of several nodes does what is to be done once: a lease in the shared catalog says so, and
ends by itself.

Whoever does a job keeps its lease while it goes on, and then as long as nobody need do it again. A
node that dies in the middle leaves a lease that ends within `HELD`. That two do a job, because the
engine was away, is waste and no damage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.catalog.engine import Anew, DatabaseAway, DatabaseUnusable, Engine
from pypid.flow import World, shielded, start

_log = Logger()

HELD, RENEWED = 30.0, 8.0
"""Seconds that a lease is for while its job goes on, and after which it is renewed."""
RECONCILE, FILL, REFRESH, EVICT, TENDED = "reconcile", "fill", "refresh", "evict", "tidy"
"""The names of the leases of jobs."""
PUBLISHING = "publish "
"""Before the place of a file: the lease of whoever publishes it."""
COMPARE = 600.0
"""Seconds between two comparisons with a storage that others write to: all is listed, and what has
not changed is not read.
"""

Job = Callable[[], Awaitable[object]]


class Leases(Protocol):
    """Does jobs that only one of several nodes is to do."""

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job, unless another node does it, or did it less than `rest` seconds ago; whether
        it was done here.

        Raises what the job raises: then another node may do it at once.
        """

    def holds(self, name: str) -> bool:
        """False: another node has taken over the job under way here, since we seemed dead. A long
        one is to end then.
        """


class Alone:
    """Of a pypid that shares its catalog with nobody."""

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do it."""
        await job()
        return True

    def holds(self, name: str) -> bool:
        """There is nobody else."""
        return True


@define(eq=False)
class Shared:
    """By the leases of an engine. `holder` is another one for each process."""

    engine: Engine
    holder: str
    world: World
    _doing: set[str] = field(factory=set, init=False)
    _lost: set[str] = field(factory=set, init=False)

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """As `Leases.run`. Where the engine cannot be asked nothing is done."""
        if name in self._doing:
            return False
        self._doing.add(name)
        try:
            if not await self._take(name, HELD):
                return False
            await self._do(name, job, rest)
        finally:
            self._doing.discard(name)
            self._lost.discard(name)
        return True

    def holds(self, name: str) -> bool:
        """As `Leases.holds`: what the engine said when the lease was renewed; while it cannot be
        asked nobody is told more.
        """
        return name not in self._lost

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
        """As `index.local.publish.UnderWay.announced`."""
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
        """Renew the lease, which we have, until what is returned is called."""
        renewing = LoopingCall(self._renew, name)
        renewing.clock = self.world.clock
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

    def _renew(self, name: str) -> Deferred[None]:
        return start(self._renewed(name))

    async def _renewed(self, name: str) -> None:
        if await self._asked(name, HELD) is False:
            self._lost.add(name)

    async def _take(self, name: str, seconds: float) -> bool:
        return await self._asked(name, seconds) or False

    async def _asked(self, name: str, seconds: float) -> bool | None:
        """Whether the lease is ours; None where the engine cannot be asked."""
        try:
            return await self.engine.lease(name, self.holder, seconds)
        except (Anew, DatabaseAway, DatabaseUnusable) as error:
            _log.debug(
                "the lease {name} could not be asked for: {reason}", name=name, reason=str(error)
            )
            return None

    async def _give_back(self, name: str) -> None:
        try:
            await self.engine.release(name, self.holder)
        except (Anew, DatabaseAway, DatabaseUnusable):  # it ends by itself
            return


_: type[Leases] = Alone
__: type[Leases] = Shared
