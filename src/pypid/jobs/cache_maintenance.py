"""What is done about files of theirs while nobody asks: pages refreshed, use written down, the
surplus evicted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    gatherResults,
    succeed,
)
from twisted.logger import Logger

from pypid.core.errors import PypidError
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import asks_upstream
from pypid.flow import Periodic, start
from pypid.index import Index
from pypid.index.upstream.eviction import surplus
from pypid.index.upstream.inventory import InventoryEntry
from pypid.index.upstream.purge import stock_of
from pypid.jobs.leases import COMPARE, EVICT, RECONCILE, REFRESH, Alone, Leases

_log = Logger()

WRITE_DOWN = 3600.0
"""Seconds between two times that it is written down which kept files were used."""
LOOK_AT_SIZE = 60.0
"""Seconds between two looks at how much is kept, if something came since. What passes the limit is
looked at at once.
"""
ROOM = 20
"""Where files have to go, one part in so many of `max_cache` is left free: not each file that comes
is worth a look at all.
"""
SETTLE = 3.0
"""Seconds between two looks whether a shared catalog can be told what it could not be told."""
REFRESHES = 4
"""Pages that are refreshed at the same time; clients' questions come in between."""


@define(slots=False, eq=False)
class CacheMaintenance(MultiService):
    """The jobs. `refresh` is for `[upstream] mode = mirror`, else None; `max_cache` in bytes;
    `disconnect` ends connections.
    """

    index: Index
    disconnect: Callable[[], Awaitable[object]]
    leases: Leases = field(factory=Alone, kw_only=True)
    refresh: timedelta | None = None
    max_cache: int | None = None
    compares: bool = False
    """Whether the storage is compared again and again: other nodes may have died in the middle of a
    change.
    """
    _stopping: bool = field(default=False, init=False)
    _asking: set[Deferred[bool]] = field(factory=set, init=False, repr=False)
    _evicting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _size: int | None = field(default=None, init=False)
    """Bytes that were kept when it was looked at last; None: that is not known."""
    _came: int = field(default=0, init=False)
    """Bytes that came since."""

    def __attrs_post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        self._add(WRITE_DOWN, self._write_down, "writing down which kept files were used")
        if self.compares:
            self._add(COMPARE, self._compare, "comparing with the storage")
        if self.index.shared:
            self._add(
                SETTLE, self.index.settle, "telling the shared catalog what it could not be told"
            )
        if self.refresh is not None:
            self._add(self.refresh.total_seconds(), self._refresh, "refreshing what is kept")
        if self.max_cache is not None:
            self.index.keeper.kept.arrived = self._arrived
            self._add(LOOK_AT_SIZE, self.evict, "evicting what is too much ([upstream] max_cache)")

    def _add(self, interval: float, job: Callable[[], Any], what: str) -> None:
        Periodic(self.index.world.clock, interval, job, what).setServiceParent(self)  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[Any]:
        """Ends the jobs under way soon: no project is refreshed, and no file evicted, that is not
        begun.
        """
        self._stopping = True
        for asking in list(self._asking):
            asking.cancel()
        return super().stopService()  # type: ignore[no-any-return,no-untyped-call]

    async def end(self) -> None:
        """When nobody asks any more: break off what is being fetched, and write down
        what is known.
        """
        try:
            await self.index.keeper.close()
            await self.disconnect()
            if self._evicting is not None:
                await self._evicting
        finally:
            await self._write_down()

    async def _write_down(self) -> None:
        await self.index.keeper.touches.write_down(self.index.catalog)

    async def _compare(self) -> None:
        await self.leases.run(RECONCILE, self._compared, COMPARE * 0.9)

    async def _compared(self) -> None:
        found = await self.index.reconcile()
        if found.changed:
            said = "compared with the storage: {changed} of {projects} projects read anew"
            _log.info(said, changed=found.changed, projects=found.projects)

    # --- refreshing ---

    async def _refresh(self) -> None:
        assert self.refresh is not None
        await self.leases.run(REFRESH, self.refresh_pages, self.refresh.total_seconds() * 0.9)

    async def refresh_pages(self) -> None:
        """Ask anew what upstream has of each project of which files are kept, as far as it may hear
        the name.
        """
        turns = DeferredSemaphore(REFRESHES)
        names = await self.index.catalog.their_names()
        refreshed = sum(await gatherResults([turns.run(self._begin, name) for name in names]))
        if not self._stopping:
            _log.info(
                "{refreshed} of {names} kept projects were refreshed",
                refreshed=refreshed,
                names=len(names),
            )

    def _begin(self, name: ProjectName) -> Deferred[bool]:
        if self._stopping:
            return succeed(False)
        asking = start(self._refreshed(name))
        self._asking.add(asking)

        def ended(refreshed: bool) -> bool:
            self._asking.discard(asking)
            return refreshed

        return asking.addCallback(ended)

    async def _refreshed(self, name: ProjectName) -> bool:
        """Whether upstream said something. Never fails: the other projects have their turn whatever
        happens to this one.
        """
        try:
            ours = await self.index.parts.ours(name)
            if not asks_upstream(self.index.policy, name, ours):
                return False
            return (await self.index.correspondent.theirs(name, anew=True)).reachable
        except CancelledError:  # pypid stops
            return False
        except PypidError as error:
            _log.warn("{name} could not be refreshed: {error}", name=name, error=error)
        except Exception:
            _log.failure("{name} could not be refreshed", name=name)
        return False

    # --- evicting ---

    def _arrived(self, size: int) -> None:
        """So many bytes more are kept. If that is too much nobody waits for the next look: a disk
        fills up in a minute.

        Nor for the first one: after a start nobody knows how much there is.
        """
        self._came += size
        assert self.max_cache is not None  # else nobody tells us
        is_too_much = self._size is None or self._size + self._came > self.max_cache
        if is_too_much and self._evicting is None and not self._stopping:
            start(self.evict()).addErrback(
                lambda failure: _log.failure("evicting failed", failure=failure)
            )

    async def evict(self) -> None:
        """As `_evict`, unless another node does it just now."""
        await self.leases.run(EVICT, self._evict)

    async def _evict(self) -> None:
        """Forget the kept files that nobody wanted for longest, until no more than `max_cache`
        bytes are kept.

        Whoever reads such a file at that moment has it to its end (`Blobs.read`).
        """
        if (
            self.max_cache is None
            or self._evicting is not None
            or (self._size is not None and not self._came)
        ):
            return
        done = self._evicting = Deferred()
        try:
            while True:
                self._size, self._came = None, 0  # what comes from now on may have been seen or not
                self._size = await self._evicted(self.max_cache)
                # what is still too much, with nothing new, is what snapshots need
                if self._stopping or not self._came or self._size + self._came <= self.max_cache:
                    break
        finally:
            self._evicting = None
            done.callback(None)

    async def _evicted(self, limit: int) -> int:
        """How many bytes are kept, once the surplus has gone."""
        stock = stock_of(self.index)
        found = await stock.lying()
        left = sum(file.size for file in found)
        if left <= limit:
            return left
        needed = await self._needed(found, limit)
        going = await self.index.world.thinking(
            surplus, await stock.taken(found), limit, limit - limit // ROOM, needed
        )
        gone = []
        for file in going:
            if self._stopping:
                break
            await self.index.keeper.forget(file.project, file.filename)
            gone.append(file.size)
        _log.info(
            (
                "{count} kept files ({size} bytes) that nobody wanted for longest went, to stay "
                "within max_cache"
            ),
            count=len(gone),
            size=sum(gone),
        )
        return left - sum(gone)

    async def _needed(
        self, found: Sequence[InventoryEntry], limit: int
    ) -> Set[tuple[ProjectName, str]]:
        """The kept files that snapshots show: they stay."""
        needed = await self.index.moments.needed({file.project for file in found})
        size = sum(file.size for file in found if (file.project, file.filename) in needed)
        if size > limit:
            _log.warn(
                "Snapshots need {size} bytes of upstream's files, more than max_cache ({limit}): "
                "no other is kept for long. "
                "Delete some (pypid snapshot list), or raise max_cache in [upstream].",
                size=size,
                limit=limit,
            )
        return needed
