"""The catalog that several nodes share: a copy of an engine's rows (`catalog.engine`), which
answers as fast as memory.

* This node's own changes show at once; those of another node at most `FRESH` seconds after they
  were acknowledged. A node without news from the engine for that long queries it before it
  answers.
* While the engine is unavailable, the copy is shown for `stale_for`, counted from the last time at
  which it is known to have been current; after that, and for all changes at once, there is
  `CatalogDown`. Meanwhile no absence is claimed, so that no new name is requested upstream: callers
  look into the storage.
* The storage, and never the catalog, is authoritative. An engine that lost everything is filled
  again from there, and each copy follows it; until that is complete, projects that are not held are
  unknown, and looked up in the storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.catalog.compare_and_set import RowDraft, swap_row
from pypid.catalog.engine import (
    CatalogReset,
    Conflict,
    DatabaseAway,
    DatabaseUnusable,
    Engine,
    RowChange,
    RowKind,
)
from pypid.catalog.forgettable import MOST_SHARED
from pypid.catalog.lines import CatalogLines
from pypid.catalog.packed_lines import ListingMemory
from pypid.catalog.replica import Replica, ReplicaEntry, ReplicaTable
from pypid.catalog.replica_follower import ReplicaFollower
from pypid.catalog.states import count_for_writing, listed_files, same, visible_state
from pypid.catalog.table import FEW
from pypid.catalog.upstream_lines import listing_time_of
from pypid.core.errors import CatalogDown
from pypid.core.model import LocalProject, Presence, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_project, load_head
from pypid.core.records.upstream_entry import dump_upstream_entry
from pypid.flow import World, start
from pypid.metrics.families import STALE
from pypid.ports import Catalog, Glance, TableKey

_log = Logger()


@frozen
class SharedSettings:
    """Settings of the catalog. `identity`: of the storage. `serial`: to go on from, if nothing is
    shared yet.

    `forgettable`: bytes (`catalog.forgettable`).
    """

    identity: str
    stale_for: timedelta = timedelta(minutes=10)
    serial: int = 0
    forgettable: int = MOST_SHARED
    memory: ListingMemory = field(factory=ListingMemory, repr=False)


class SharedLocalTable:
    """The local projects (`LocalTable`)."""

    def __init__(self, following: ReplicaFollower) -> None:
        self._following = following

    def _half(self) -> ReplicaTable[LocalProject]:
        return self._following.replica.local

    async def get(self, name: TableKey) -> LocalProject | Presence:
        certain = await self._following.current()
        if not certain:
            self._following.world.counts.add(STALE, ("catalog",))
        replica = self._following.replica
        held = await replica.local.value(name)
        if held is not None:
            return held
        absent = certain and replica.complete and not replica.local.version(name)
        return Presence.ABSENT if absent else Presence.UNKNOWN

    async def summaries(self) -> Sequence[Summary]:
        await self._following.current()
        return self._half().table.lines.summaries()

    async def edit(
        self,
        name: TableKey,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        def draft(held: ReplicaEntry[LocalProject]) -> RowDraft[LocalProject | None] | None:
            old = held.value
            new = change(old)
            if new is not None and new.name != name:
                raise ValueError(f"an edit of {name} made {new.name} of it")
            is_damaged = old is None and held.version
            if same(old, new) and not is_damaged:
                if old is None or mark is None or mark == _mark(held.line):
                    return None
                return _local_draft(old, mark, seen=False)
            return (
                RowDraft(None, seen=True, line=None)
                if new is None
                else _local_draft(new, mark, seen=True)
            )

        done = await swap_row(self._following, RowKind.LOCAL, name, self._half, draft)
        if done.draft is None or done.row is None:
            return done.held.value
        made: LocalProject | None = done.draft.value
        return None if made is None else evolve(made, serial=done.row.serial)

    async def mark(self, name: TableKey) -> str | None:
        await self._following.current()
        return _mark((await self._half().held(name)).line)


class SharedUpstreamTable:
    """The upstream projects (`UpstreamTable`)."""

    def __init__(self, following: ReplicaFollower) -> None:
        self._following = following
        self._forgetting = False

    def _half(self) -> ReplicaTable[UpstreamEntry]:
        return self._following.replica.upstream

    @property
    def lines(self) -> CatalogLines:
        """The lines of this node's copy."""
        return self._half().table.lines

    async def get(self, name: TableKey) -> UpstreamEntry:
        await self._following.current()
        return await self._half().value(name) or UpstreamEntry(name=name)

    async def edit(
        self, name: TableKey, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        def draft(held: ReplicaEntry[UpstreamEntry]) -> RowDraft[UpstreamEntry] | None:
            old = held.value or UpstreamEntry(name=name)
            new = change(old)
            if new.name != name:
                raise ValueError(f"an edit of {name} made {new.name} of it")
            return (
                None if new == old and held.value is not None else _upstream_draft(held, old, new)
            )

        done = await swap_row(self._following, RowKind.UPSTREAM, name, self._half, draft)
        if done.draft is None:
            return done.held.value or UpstreamEntry(name=name)
        if done.row is not None and done.draft.line is not None:
            self._forget_others()
        return (
            done.draft.value
            if done.row is None
            else evolve(done.draft.value, serial=done.row.serial)
        )

    async def summaries(self) -> Sequence[Summary]:
        await self._following.current()
        return self.lines.cached_summaries()

    def _forget_others(self) -> None:
        """Drop other upstream projects to make space, for all nodes and in the background, after
        one has changed.
        """
        if not self._forgetting:
            self._forgetting = True
            start(self._forget())

    async def _forget(self) -> None:
        replica, engine = self._following.replica, self._following.engine
        try:
            for name in replica.forgettable.pop_excess():
                version, size = replica.upstream.version(name), replica.upstream.size(name)
                try:
                    if version:
                        done = await engine.swap(
                            replica.generation,
                            RowChange(RowKind.UPSTREAM, name, None, version, seen=False),
                        )
                        if not isinstance(done, Conflict):
                            replica.take_own(done, None)
                except (DatabaseAway, DatabaseUnusable, CatalogReset):
                    replica.forgettable.note(name, size)  # it is tried again
                    return
        except Exception:
            _log.failure("cannot remove projects unused for long from the shared catalog")
        finally:
            self._forgetting = False


class SharedCatalog:
    """A `Catalog`, and a `Glance`. `open` makes one; `close` it.

    The function that is passed to an edit may be called several times: with the project as another
    node has changed it meanwhile.
    """

    def __init__(self, following: ReplicaFollower) -> None:
        self.following = following
        self.local = SharedLocalTable(following)
        self.upstream = SharedUpstreamTable(following)
        self._compared = ""
        """The generation in which the current reconciliation began, which `complete` refers to."""
        self._looks = 0
        self._was_current = True

    async def begin(self) -> None:
        """Read what is shared, and follow it from now on; before that all methods raise
        `CatalogDown`.

        Raises `CannotStart` if the engine's rows are another storage's, or it is unusable. If it is
        unavailable, the catalog waits for it, and all methods raise `CatalogDown` meanwhile.
        """
        await self.following.begin()
        self.begin_comparison()

    @property
    def _replica(self) -> Replica:
        return self.following.replica

    async def serial(self) -> int:
        await self.following.current()
        return self._replica.serial

    def begin_comparison(self) -> None:
        """Note that a reconciliation with the storage begins, which `complete` refers to.

        If the catalog is reset in the middle of one, its earlier results are lost, and it proves
        nothing.
        """
        self._compared = self._replica.generation

    async def complete(self) -> None:
        """Record completeness for all nodes; not if the catalog was reset since `begin_comparison`
        (at first: since the start).
        """
        following = self.following
        try:
            await following.engine.mark_complete(self._compared or following.first_generation)
            await following.catch_up()
        except CatalogReset:
            _log.warn(
                "The shared catalog was cleared while it was compared with the storage: the "
                "comparison is repeated."
            )
        except (DatabaseAway, DatabaseUnusable) as error:
            raise CatalogDown("it cannot be said that all was compared.") from error

    async def is_complete(self) -> bool:
        """Return whether any node has called `complete`; False while the engine is unavailable."""
        try:
            return await self.following.current() and self._replica.complete
        except CatalogDown:
            return False

    @property
    def was_complete(self) -> bool:
        """Whether any node had called `complete`, as far as this node knows
        (`Catalog.was_complete`).
        """
        return self._replica.complete

    async def is_away(self) -> bool:
        """Return whether the engine is unavailable now."""
        try:
            return not await self.following.current()
        except CatalogDown:
            return True

    @property
    def generation(self) -> str:
        """The generation of the copy."""
        return self._replica.generation

    async def note_rights(self) -> None:
        """Notify all nodes that users or rights changed. Raises `CatalogDown`."""
        try:
            await self.following.engine.note_rights()
        except (DatabaseAway, DatabaseUnusable) as error:
            raise CatalogDown("other nodes were not told of the change.") from error

    async def close(self) -> None:
        """Stop following, and close the engine."""
        await self.following.stop()
        await self.following.engine.close()

    # --- at once ---

    @property
    def changes(self) -> int:
        """A number that differs after each visible change (`Glance.changes`). It differs at each
        look while the feed has no beat, so that no cached response is used then.
        """
        self._look()
        return self._replica.changes + self._looks

    def _look(self) -> bool:
        """Return whether the copy is current. Count a look while it is not, and one more when it is
        again.
        """
        is_current = self.following.is_current
        if not (is_current and self._was_current):
            self._looks += 1
        self._was_current = is_current
        return is_current

    @property
    def knows_all(self) -> bool:
        """Whether the catalog is complete (`Glance.knows_all`); False while the feed has no
        beat.
        """
        return self._replica.complete and self.following.is_current

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads of the local and the upstream project (`Glance.heads`). While the feed
        has no beat, the local one is a head that no project ever has, and a new one each time.

        So code that compares heads instead of `changes` (the fast path, for a project's pages) sees
        a change.
        """
        if not self._look():
            return Summary(name, -self._looks), None
        replica = self._replica
        return replica.local.table.lines.head(name), replica.upstream.table.lines.head(name)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
        return listing_time_of(self._replica.upstream.table, name)


def _mark(line: bytes | None) -> str | None:
    return None if line is None else load_head(line).mark


def _local_draft(
    project: LocalProject, mark: str | None, *, seen: bool
) -> RowDraft[LocalProject | None]:
    written = partial(dump_project, evolve(project, serial=0), mark)
    return RowDraft(project, seen=seen, line=written, short=len(project.files) <= FEW)


def _upstream_draft(
    held: ReplicaEntry[UpstreamEntry], old: UpstreamEntry, new: UpstreamEntry
) -> RowDraft[UpstreamEntry]:
    is_seen = visible_state(new) != visible_state(old)
    if new.listing is None and not new.kept:
        return RowDraft(new, seen=is_seen, line=None)
    earlier = held.line if listed_files(new) is listed_files(old) else None
    written = partial(dump_upstream_entry, evolve(new, serial=0), earlier)
    is_short = earlier is not None or count_for_writing(new) <= FEW
    return RowDraft(new, seen=is_seen, line=written, short=is_short)


def make(
    settings: SharedSettings,
    engine: Engine,
    world: World,
    *,
    rights_changed: Callable[[], None] = lambda: None,
    was_reset: Callable[[], None] = lambda: None,
    confirmed: Callable[[], None] = lambda: None,
) -> SharedCatalog:
    """Return a catalog that will follow the engine, and closes it: `begin` it. Its callbacks: see
    `ReplicaFollower`.
    """
    following = ReplicaFollower(
        engine,
        settings.identity,
        world,
        settings.stale_for,
        first_serial=settings.serial,
        forgettable=settings.forgettable,
        memory=settings.memory,
        rights_changed=rights_changed,
        was_reset=was_reset,
        confirmed=confirmed,
    )
    return SharedCatalog(following)


async def open(
    settings: SharedSettings,
    engine: Engine,
    world: World,
    *,
    rights_changed: Callable[[], None] = lambda: None,
    was_reset: Callable[[], None] = lambda: None,
) -> SharedCatalog:
    """Return a catalog that has begun. Raises as `SharedCatalog.begin`."""
    catalog = make(settings, engine, world, rights_changed=rights_changed, was_reset=was_reset)
    await catalog.begin()
    return catalog


_: type[Catalog] = SharedCatalog
__: type[Glance] = SharedCatalog
