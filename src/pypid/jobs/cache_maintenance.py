"""Background jobs for cached upstream files: refresh pages, write last accesses, evict the
surplus.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from datetime import timedelta
from typing import Any

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    gatherResults,
    succeed,
)
from twisted.logger import Logger

from pypid.core.configuration.choices import Mode
from pypid.core.errors import PypidError
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import asks_upstream
from pypid.core.records.layout import CLEAN_STOP
from pypid.database.engine import EngineState
from pypid.flow import start
from pypid.flow.conditions import PeriodicJobs
from pypid.index import Index
from pypid.index.store import records
from pypid.index.upstream.cache_store import InventoryEntry
from pypid.index.upstream.eviction import files_to_evict, inventory_of, withheld_files
from pypid.index.upstream.file_metadata import AT_ONCE
from pypid.jobs.leases import COMPARE, EVICT, PROVENANCE, RECONCILE, REFRESH, Leases
from pypid.ports import Blobs

_log = Logger()

WRITE_DOWN = 3600.0
"""Seconds between two writes of the last accesses of cached files."""
LOOK_AT_SIZE = 60.0
"""Seconds between two checks of the cache size, if files came since. A file that exceeds the limit
is checked at once.
"""
ROOM = 20
"""An eviction leaves one part in so many of `max_cache` free: not every new file should need an
eviction.
"""
FETCH_PROVENANCE = 600.0
"""Seconds between two fetches of provenance that cached files lack."""
ALL_PROVENANCE = 86400.0
"""Seconds until the cached files are looked through again once all were."""
LOOK_AT_PUBLISHERS = 600.0
"""Seconds between two looks for upstream files without the expected publisher."""
SETTLE = 3.0
"""Seconds between two attempts to send pending updates to a shared catalog."""
REFRESHES = 4
"""Pages that are refreshed concurrently; requests of clients come in between."""


@define(slots=False, eq=False)
class CacheMaintenance(PeriodicJobs):
    """The jobs. `refresh` is for `[upstream] mode = mirror`, else None; `max_cache` in bytes;
    `disconnect` ends connections.
    """

    index: Index
    disconnect: Callable[[], Awaitable[object]]
    leases: Leases = field(factory=Leases, kw_only=True)
    refresh: timedelta | None = None
    max_cache: int | None = None
    is_asked: Callable[[str, ProjectName], bool] = field(
        default=lambda upstream, project: True, kw_only=True
    )
    """Whether any index asks the upstream of this name (empty: `[upstream]`) for the project."""
    compares: bool = False
    """Whether the storage is compared again and again: other nodes may have died in the middle of a
    change.
    """
    _stopping: bool = field(default=False, init=False)
    _asking: set[Deferred[bool]] = field(factory=set, init=False, repr=False)
    _evicting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _size: int | None = field(default=None, init=False)
    """Cached bytes at the last check; None: unknown."""
    _came: int = field(default=0, init=False)
    """Bytes that came since."""
    _provenance_after: dict[str, str | None] = field(factory=dict, init=False)
    """The last project of each upstream whose cached files have the provenance that upstream
    offers; None: the files of all projects have it.
    """
    _provenance_due: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.index.context.world.clock)
        self.add_job(WRITE_DOWN, self._write_down, "writing down which kept files were used")
        if self.index.context.policy.mode in (Mode.CACHE, Mode.MIRROR):
            self.add_job(FETCH_PROVENANCE, self._fetch_provenance, "fetching provenance")
        if self.index.source.trust is not None:
            self.add_job(
                LOOK_AT_PUBLISHERS, self._look, "looking at the publishers of upstream files"
            )
        if self.compares:
            self.add_job(COMPARE, self._compare, "comparing with the storage")
        if self.index.context.shared:
            self.add_job(
                SETTLE,
                self.index.maintenance.flush_pending_updates,
                "flushing pending updates to the shared catalog",
            )
        if self.refresh is not None:
            self.add_job(self.refresh.total_seconds(), self._refresh, "refreshing what is kept")
        if self.max_cache is not None:
            self.index.source.file_cached.connect(self._count_cached)
            self.add_job(
                LOOK_AT_SIZE, self.evict, "evicting what is too much ([upstream] max_cache)"
            )

    def stopService(self) -> Deferred[Any]:
        """End the jobs under way soon: no further project is refreshed, and no further file
        evicted.
        """
        self._stopping = True
        for asking in list(self._asking):
            asking.cancel()
        return super().stopService()  # type: ignore[no-any-return,no-untyped-call]

    async def end(self) -> None:
        """Cancel downloads, and write what is known; call it after the last request."""
        try:
            for cache in self.index.caches.values():
                await cache.file_cache.close()
            if self.index.source.trust is not None:
                await self.index.source.trust.close()
            await self.disconnect()
            if self._evicting is not None:
                await self._evicting
        finally:
            await self._write_down()

    async def _write_down(self) -> None:
        for cache in self.index.caches.values():
            await cache.file_cache.last_access.write_down(cache.catalog)

    async def _look(self) -> None:
        assert self.index.source.trust is not None
        for cache in self.index.caches.values():
            await self.index.source.trust.look(cache.catalog)

    async def _compare(self) -> None:
        await self.leases.run(RECONCILE, self._compared, COMPARE * 0.9)

    async def _compared(self) -> None:
        found = await self.index.maintenance.reconcile()
        if found.changed:
            message = "compared with the storage: {changed} of {projects} projects read again"
            _log.info(message, changed=found.changed, projects=found.projects)

    async def _fetch_provenance(self) -> None:
        """Fetch the provenance that cached files lack, some at a time; all of them once a day."""
        now = self.index.context.world.clock.seconds()
        if now >= self._provenance_due:
            await self.leases.run(PROVENANCE, self._fetch_some_provenance, FETCH_PROVENANCE * 0.9)

    async def _fetch_some_provenance(self) -> None:
        after = self._provenance_after
        for name, cache in self.index.caches.items():
            last = after.get(name, "")
            if last is not None:
                after[name] = await cache.file_cache.provenance.fetch_missing(last, AT_ONCE)
        if all(after[name] is None for name in self.index.caches):
            after.clear()
            self._provenance_due = self.index.context.world.clock.seconds() + ALL_PROVENANCE

    # --- refreshing ---

    async def _refresh(self) -> None:
        assert self.refresh is not None
        await self.leases.run(REFRESH, self.refresh_pages, self.refresh.total_seconds() * 0.9)

    async def refresh_pages(self) -> None:
        """Request the upstream listing of each project with cached files again, if upstream may get
        the name.
        """
        turns = DeferredSemaphore(REFRESHES)
        cached = [
            (cache, summary.name)
            for name, cache in self.index.caches.items()
            for summary in await cache.catalog.upstream.summaries()
            if self.is_asked(name, summary.name)
        ]
        refreshed = sum(await gatherResults([turns.run(self._begin, *each) for each in cached]))
        if not self._stopping:
            _log.info(
                "{refreshed} of {names} cached projects were refreshed",
                refreshed=refreshed,
                names=len(cached),
            )

    def _begin(self, cache: Index, name: ProjectName) -> Deferred[bool]:
        if self._stopping:
            return succeed(False)
        asking = start(self._refreshed(cache, name))
        self._asking.add(asking)

        def ended(refreshed: bool) -> bool:
            self._asking.discard(asking)
            return refreshed

        return asking.addCallback(ended)

    async def _refreshed(self, cache: Index, name: ProjectName) -> bool:
        """Return whether upstream answered. Never fails: the other projects are refreshed in any
        case.
        """
        try:
            project = await self.index.context.local_project(name)
            if not asks_upstream(cache.context.policy, name, project):
                return False
            return (await cache.listings.state(name, renewed=True)).reachable
        except CancelledError:  # pypid stops
            return False
        except PypidError as error:
            _log.warn("{name} could not be refreshed: {error}", name=name, error=error)
        except Exception:
            _log.failure("{name} could not be refreshed", name=name)
        return False

    # --- evicting ---

    def _count_cached(self, size: int) -> None:
        """Count new cached bytes. If the limit is exceeded, evict without waiting for the next
        check: a disk fills up in a minute.

        After a start, too: the size is unknown until the first check.
        """
        self._came += size
        assert self.max_cache is not None  # else this is not called
        is_too_much = self._size is None or self._size + self._came > self.max_cache
        if is_too_much and self._evicting is None and not self._stopping:
            start(self.evict()).addErrback(
                lambda failure: _log.failure("eviction failed", failure=failure)
            )

    async def evict(self) -> None:
        """Evict the surplus, unless another node is doing so."""
        await self.leases.run(EVICT, self._evict)

    async def _evict(self) -> None:
        """Remove the least recently used cached files until at most `max_cache` bytes are cached.

        A reader of such a file still gets it to its end (`Blobs.read`).
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
                self._size, self._came = None, 0  # a later file may have been counted or not
                self._size = await self._evicted(self.max_cache)
                # a surplus without new files is withheld
                if self._stopping or not self._came or self._size + self._came <= self.max_cache:
                    break
        finally:
            self._evicting = None
            done.callback(None)

    async def _evicted(self, limit: int) -> int:
        """Return how many bytes are cached after the surplus was removed."""
        inventories = [inventory_of(cache, name) for name, cache in self.index.caches.items()]
        lying = [await inventory.lying() for inventory in inventories]
        left = sum(file.size for files in lying for file in files)
        if left <= limit:
            return left
        taken: list[InventoryEntry] = []
        for inventory, files in zip(inventories, lying, strict=True):
            taken += await inventory.taken(files)
        needed = await self._withheld(taken)
        going = await self.index.context.world.thinking(
            files_to_evict, taken, limit, limit - limit // ROOM, needed
        )
        gone = []
        for file in going:
            if self._stopping:
                break
            await self.index.caches[file.upstream].file_cache.forget(file.project, file.filename)
            gone.append(file.size)
        _log.info(
            (
                "evicted {count} least recently used cached files ({size} bytes) to stay within "
                "max_cache"
            ),
            count=len(gone),
            size=sum(gone),
        )
        return left - sum(gone)

    async def _withheld(self, found: Sequence[InventoryEntry]) -> Set[tuple[ProjectName, str]]:
        """Return the withheld files of any upstream, which stay."""
        projects, withheld = {file.project for file in found}, set[tuple[ProjectName, str]]()
        for cache in self.index.caches.values():
            withheld |= await withheld_files(cache, projects)
        return withheld


# A note in the storage folder that the catalog was up to date when pypid stopped.
#
# A clean stop leaves it, a start removes it. With it a restart proves absences at once. It is in
# the storage, and names the state of the catalog, so that it is missing or wrong after a crash or a
# power cut, and after anything else has used the storage: another machine, another state folder, a
# backup that was restored.


class CleanStopNote(msgspec.Struct, frozen=True):
    """The state of the catalog (`EngineState`)."""

    generation: str
    version: int


@frozen
class CleanStop:
    """The note in the storage."""

    blobs: Blobs

    async def take(self, state: EngineState) -> bool:
        """Remove the note; return whether it names this state."""
        try:
            note = await records.read_document(self.blobs, CleanStopNote, CLEAN_STOP)
            if note is None:
                return False
            await self.blobs.delete(CLEAN_STOP)
            return note == CleanStopNote(state.generation, state.version)
        except PypidError as error:
            _log.warn(
                "the marker of a clean stop is ignored, and all projects are compared: {error}",
                error=error,
            )
            return False

    async def leave(self, state: EngineState) -> None:
        """Write the note: the catalog is up to date, and nothing changes any more. A failure only
        makes the next start slower.
        """
        try:
            note = CleanStopNote(state.generation, state.version)
            await records.write_document(self.blobs, CLEAN_STOP, note)
        except PypidError as error:
            _log.warn("the marker of a clean stop could not be written: {error}", error=error)
