"""The reconciliation of the catalog with the storage when pypid starts, and when nodes restart
their shared catalog.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import CannotStart, StorageDown
from pypid.daemon.sd_notify import status
from pypid.flow import World, start
from pypid.flow.signals import Signals
from pypid.index import Index
from pypid.index.store.reconcile import Reconciled
from pypid.jobs.leases import COMPARE, FILL, RECONCILE

if TYPE_CHECKING:
    from pypid.daemon.shared_catalog import Sharing  # where it is configured
    from pypid.jobs.stateless_node import StatelessNode  # for buckets only

_log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two attempts to compare with a storage that is unavailable."""


@define(eq=False)
class Comparing:
    """The reconciliation at start: `begin` it once the reactor runs, `end` it before the end.

    `is_prepared` is called when the records of the state folder are there.
    """

    index: Index
    world: World
    notify: Callable[[str], object]
    signals: Signals
    is_prepared: Callable[[], object]
    stateless_node: StatelessNode | None = None
    sharing: Sharing | None = None
    _running: Deferred[None] | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Compare with the storage until it has worked once: only then is an absence proven."""
        self.signals.catalog_reset.connect(self.again)
        self._running = start(self._begin())
        self._running.addErrback(_trap_cancelled)

    def again(self) -> None:
        """Fill the shared catalog again, after it was reset."""
        if self._running is not None and self._running.called and not self._ended:
            self._running = start(self._compare())
            self._running.addErrback(_trap_cancelled)

    def end(self) -> None:
        """Cancel the comparison."""
        self._ended = True
        if self._running is not None:
            self._running.cancel()

    async def _begin(self) -> None:
        if self.sharing is not None:
            try:
                await self.sharing.begin()
            except CannotStart as error:
                self._fail(error)
                return
        await self._compare()

    async def _compare(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended and not await self._compared(pause):
            await deferLater(self.world.clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _compared(self, pause: float) -> bool:
        """Return whether it is done."""
        try:
            if self.stateless_node is not None:
                await self.stateless_node.prepare()
                self.is_prepared()
            found = await self._reconciled()
        except CannotStart as error:
            self._fail(error)
            return False
        except StorageDown as error:
            _log.error(
                "{error} Comparing with it is tried again in {pause} s.", error=error, pause=pause
            )
            return False
        except CancelledError:  # pypid stops: not a failure
            raise
        except Exception:
            _log.failure(
                "comparing with the storage failed; next attempt in {pause} s", pause=pause
            )
            return False
        if found is None and not await self.index.catalog.is_complete():
            return False
        self._say(found)
        _settle()
        if self.stateless_node is not None:
            await self.stateless_node.compared()
        return True

    async def _reconciled(self) -> Reconciled | None:
        """Return the result; None if another node has compared, or is comparing."""
        if self.sharing is None:
            return await self.index.reconcile()
        found: list[Reconciled] = []

        async def compare() -> None:
            found.append(await self.index.reconcile())

        # an earlier comparison says nothing of a catalog that was reset since
        job = (RECONCILE, COMPARE * 0.9) if await self.index.catalog.is_complete() else (FILL, 0.0)
        if not await self.sharing.leases.run(job[0], compare, job[1]):
            return None
        return found[0] if await self.index.catalog.is_complete() else None

    def _say(self, found: Reconciled | None) -> None:
        if found is None:
            _log.info("storage not compared: another node compared the shared catalog recently")
            return
        self.notify(status(f"{found.projects} projects"))
        strays = len(found.strays) + sum(map(len, found.named_strays.values()))
        _log.info(
            (
                "compared with the storage: {projects} projects, {read} of them read again, "
                "{changed} changed{strays}"
            ),
            projects=found.projects,
            read=found.read,
            changed=found.changed,
            strays=f"; {strays} files have no record: run `pypid storage rebuild`"
            if strays
            else "",
        )

    def _fail(self, error: CannotStart) -> None:
        self._ended = True
        self.signals.cannot_continue.emit(error)


def _settle() -> None:
    """Exclude the known objects, which live long, from garbage collection (it held up the reactor
    for 20 ms).
    """
    gc.collect()
    gc.freeze()


def _trap_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]
