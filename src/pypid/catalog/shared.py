"""The catalog that several nodes share: the rows of an engine (`database.engine`), of which each
node holds the heads, and the projects that it read lately.

* This node's own changes show at once; those of another node at most `FRESH` seconds after they
  were acknowledged. A node without news from the engine for that long queries it before it
  answers.
* While the engine is unavailable, what the node holds is shown for `stale_for`, counted from the
  last time at which it is known to have been current; for all else, after that, and for all changes
  at once, there is `CatalogDown`. Meanwhile no absence is claimed, so that no new name is
  requested upstream: callers look into the storage.
* The storage, and never the catalog, is authoritative. An engine that lost everything is filled
  again from there, and each copy follows it; until that is complete, projects that are not held are
  unknown, and looked up in the storage.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from pypid.catalog.replica import (
    Replica,
    ReplicaEntry,
    ReplicaFollower,
    listed_files,
)
from pypid.core.errors import CatalogDown
from pypid.core.model import LocalProject, Presence, SignedUrl, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_project
from pypid.core.records.layout import project_of
from pypid.core.records.upstream_entry import dump_heading, dump_listed
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.core.summaries import Summaries
from pypid.database.engine import CatalogReset, CatalogRow, Conflict, RowChange, RowHead, RowKind
from pypid.database.places import DatabaseAway, DatabaseUnusable
from pypid.flow import start
from pypid.metrics.counts import STALE
from pypid.ports import Catalog, LocalTable, SharedLinks, TableKey, UpstreamTable

# Compare-and-set on a row of the engine: read, compute, swap, and again with the other node's row
# after a conflict.

V = TypeVar("V")
W = TypeVar("W")

MOST_TRIES = 100
"""Each attempt that fails is another node's success: there are never so many in a row."""


@frozen
class RowDraft(Generic[V]):
    """The new contents of a row. `head` of None removes it; else `contents` returns what to write:
    the line, and the listed files (None: they stay as they are).
    """

    value: V
    seen: bool
    head: RowHead | None = None
    contents: Callable[[], tuple[bytes, bytes | None]] | None = field(default=None, repr=False)
    short: bool = True
    """Whether encoding the contents takes only a few milliseconds."""


@frozen
class Swapped(Generic[W]):
    """The result: the draft, and the row with it; `draft` is None if `held`, the earlier value, did
    not change.
    """

    held: ReplicaEntry[Any]
    draft: RowDraft[W] | None
    row: CatalogRow | None


async def swap_row(
    following: ReplicaFollower,
    kind: RowKind,
    name: TableKey,
    draft: Callable[[ReplicaEntry[Any]], RowDraft[W] | None],
) -> Swapped[W]:
    """Replace the row by what `draft` returns, as one atomic step; afterwards this node's copy
    shows it.

    `draft` is called again for each conflict with another node; None: nothing changes, and it is
    checked that the held row is current. Raises `CatalogDown`, with nothing changed in the copy
    (and perhaps in the engine), and what `draft` raises.
    """
    if not await following.current():
        raise CatalogDown("nothing was changed. Try again soon.") from following.away
    again = False
    try:
        for _ in range(MOST_TRIES):
            held = await following.read(kind, name, again=again)
            generation = following.replica.generation
            wanted = draft(held)
            try:
                done = await _attempt(following, generation, kind, name, held, wanted)
            except CatalogReset:
                await following.catch_up()
                continue
            if not isinstance(done, Conflict):
                rows = () if done is None else ((done, _value(wanted, done)),)
                await _show(following, generation, kind, name, rows)
                return Swapped(held, wanted, done)
            again = True
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _attempt(
    following: ReplicaFollower,
    generation: str,
    kind: RowKind,
    name: TableKey,
    held: ReplicaEntry[Any],
    wanted: RowDraft[Any] | None,
) -> CatalogRow | Conflict | None:
    """Return the row as it is now."""
    engine = following.engine
    if not generation:
        raise CatalogReset
    if wanted is None or (wanted.head is None and not held.version):
        found = await engine.row(generation, kind, name)
        row = None if found is None else found[0]
        return row if (0 if row is None else row.version) == held.version else Conflict()
    return await engine.swap(generation, await _change(following, kind, name, held, wanted))


async def _change(
    following: ReplicaFollower,
    kind: RowKind,
    name: TableKey,
    held: ReplicaEntry[Any],
    draft: RowDraft[Any],
) -> RowChange:
    if draft.head is None or draft.contents is None:
        return RowChange(kind, name, held.version, seen=draft.seen)
    make = draft.contents
    line, files = make() if draft.short else await following.world.thinking(make)
    return RowChange(kind, name, held.version, draft.head, line, files, draft.seen)


async def swap_rows(
    following: ReplicaFollower,
    kind: RowKind,
    drafts: Mapping[TableKey, Callable[[ReplicaEntry[Any]], RowDraft[W] | None]],
) -> Mapping[TableKey, Swapped[W]]:
    """Replace several rows as `swap_row` does: all in one step, or none."""
    if not await following.current():
        raise CatalogDown("nothing was changed. Try again soon.") from following.away
    try:
        for _ in range(MOST_TRIES):
            await following.catch_up()  # rows that are not changed are current, too
            try:
                made = await _attempt_all(following, kind, drafts)
            except CatalogReset:
                continue
            if made is not None:
                return made
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _attempt_all(
    following: ReplicaFollower,
    kind: RowKind,
    drafts: Mapping[TableKey, Callable[[ReplicaEntry[Any]], RowDraft[W] | None]],
) -> Mapping[TableKey, Swapped[W]] | None:
    """Return the new rows; None for a conflict."""
    generation = following.replica.generation
    held = {name: await following.read(kind, name) for name in drafts}
    wanted = {name: draft(held[name]) for name, draft in drafts.items()}
    changes = [
        await _change(following, kind, name, held[name], row)
        for name, row in wanted.items()
        if row is not None and (row.head is not None or held[name].version)
    ]
    made: dict[TableKey, CatalogRow] = {}
    if changes:
        done = await following.engine.swap_all(generation, changes)
        if isinstance(done, Conflict):
            return None
        made = {row.name: row for row in done}
        values = [(row, _value(wanted[row.name], row)) for row in done]
        await _show(following, generation, kind, values[0][0].name, values)
    return {name: Swapped(held[name], wanted[name], made.get(name)) for name in drafts}


def _value(draft: RowDraft[Any] | None, row: CatalogRow | None) -> Any:
    """Return the project or the upstream entry that the row holds; None if it has to be read."""
    if draft is None or draft.head is None or row is None:
        return None
    return evolve(draft.value, serial=row.serial)


async def _show(
    following: ReplicaFollower,
    generation: str,
    kind: RowKind,
    name: TableKey,
    rows: Sequence[tuple[CatalogRow, Any]],
) -> None:
    """Bring the copy up to the rows, which follow each other, and to all changes before them, so
    that later reads show them. Without rows: until it has none of this name.
    """
    replica = following.replica
    if replica.generation != generation or (
        rows and all(replica.take_own(row, value) for row, value in rows)
    ):
        return

    def shows_them() -> bool:
        replica = following.replica
        if replica.generation != generation:
            return True
        return (
            all(replica.version >= row.version for row, _ in rows)
            if rows
            else not replica.table(kind).version(name)
        )

    try:
        for _ in range(2):  # the first may have begun before the rows were written
            if not shows_them():
                await following.catch_up()
    except (DatabaseAway, DatabaseUnusable):  # the change itself has succeeded
        if following.replica.generation == generation:
            for row, _ in rows:
                following.replica.take(row)


# --- edits of projects ---

FEW = 256
"""Number of files up to which a project is encoded in the reactor thread: in 2 milliseconds."""


def count_for_writing(entry: UpstreamEntry) -> int:
    """Return how many files take as long to write as those of the entry: packed ones are copied."""
    listed = listed_files(entry) or ()
    return len(listed) // (16 if isinstance(listed, ListedFiles) else 1) + len(entry.kept)


def same(old: LocalProject | None, new: LocalProject | None) -> bool:
    """Return whether both are equal, apart from the serial, which the catalog sets."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def changed(
    key: TableKey,
    project: LocalProject | None,
    change: Callable[[LocalProject | None], LocalProject | None],
) -> LocalProject | None:
    """Return the result of the edit of a local project. Raises `ValueError` for another project."""
    new = change(project)
    if new is not None and new.name != project_of(key):
        raise ValueError(f"an edit of {key} returned the project {new.name}")
    return new


def visible_state(entry: UpstreamEntry) -> object:
    """Return the visible part of the entry: without the time of the request and the validators."""
    listing = entry.listing
    return (
        entry.kept,
        listing and (listing.files, listing.status, listing.status_reason),
        entry.history,
        entry.since,
    )


def made_project(
    done: Swapped[LocalProject | None],
) -> LocalProject | None:
    """Return the project that is held now."""
    if done.draft is None or done.row is None:
        return done.held.value
    made = done.draft.value
    return None if made is None else evolve(made, serial=done.row.serial)


def edited(
    name: TableKey,
    change: Callable[[LocalProject | None], LocalProject | None],
    mark: str | None,
    held: ReplicaEntry[LocalProject],
) -> RowDraft[LocalProject | None] | None:
    """Return the draft of the edit of a local project; None if nothing changes."""
    old = held.value
    new = changed(name, old, change)
    is_damaged = old is None and held.version
    if same(old, new) and not is_damaged:
        if old is None or mark is None or (held.head is not None and mark == held.head.mark):
            return None
        return _local_draft(name, old, mark, seen=False)
    if new is None:
        return RowDraft(None, seen=True)
    return _local_draft(name, new, mark, seen=True)


def _local_draft(
    name: TableKey, project: LocalProject, mark: str | None, *, seen: bool
) -> RowDraft[LocalProject | None]:
    def contents() -> tuple[bytes, bytes]:
        return dump_project(evolve(project, serial=0), key=name), b""

    head = RowHead(project.status, mark=mark)
    return RowDraft(project, seen, head, contents, short=len(project.files) <= FEW)


def upstream_draft(
    name: TableKey, held: ReplicaEntry[UpstreamEntry], old: UpstreamEntry, new: UpstreamEntry
) -> RowDraft[UpstreamEntry]:
    """Return the draft of the change of an upstream project from `old` to `new`."""
    is_seen = visible_state(new) != visible_state(old)
    listing = new.listing
    if listing is None and not new.kept:
        return RowDraft(new, seen=is_seen)
    stay = held.value is not None and listed_files(new) is listed_files(old)

    def contents() -> tuple[bytes, bytes | None]:
        heading = dump_heading(evolve(new, serial=0), name)
        return heading, None if stay else dump_listed(None if listing is None else listing.files)

    if listing is None:
        head = RowHead(kept=True)
    else:
        gone = listing.files is None
        head = RowHead(listing.status, bool(new.kept), gone, confirmed=listing.confirmed)
    return RowDraft(new, is_seen, head, contents, short=stay or count_for_writing(new) <= FEW)


T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a client waits for an engine that does not answer: then it gets a URL of this node's
own.
"""


@frozen
class EngineLinks:
    """A `SharedLinks` in the engine: all nodes return the same URL, which clients' caches know."""

    following: ReplicaFollower

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        return await self._answer(self.following.engine.link(key, good_after))

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        return await self._answer(self.following.engine.keep_link(key, link, good_after))

    async def _answer(self, question: Coroutine[Any, Any, T]) -> T:
        """Return the engine's answer. Raises `CatalogDown`, at once if it is known to be
        unavailable.
        """
        if self.following.away is not None:
            question.close()
            raise CatalogDown
        try:
            return await start(question).addTimeout(PATIENCE, self.following.world.clock)
        except (DatabaseAway, DatabaseUnusable, CatalogReset, TimeoutError) as error:
            raise CatalogDown from error


_engine_links: type[SharedLinks] = EngineLinks


_log = Logger()
_NO_PROJECTS = Summaries()


def catalog_key(index: str, project: ProjectName) -> TableKey:
    """Return the key of a project of an index, or of an upstream; empty is the default one."""
    return ProjectName(f"{index}/{project}") if index else project


class SharedLocalTable:
    """The local projects of one index (`LocalTable`)."""

    def __init__(self, following: ReplicaFollower, index: str) -> None:
        self._following = following
        self._index = index

    async def get(self, name: ProjectName) -> LocalProject | Presence:
        certain = await self._following.current()
        if not certain:
            self._following.world.counts.add(STALE, ("catalog",))
        key = catalog_key(self._index, name)
        entry: ReplicaEntry[LocalProject] = await self._following.read(RowKind.LOCAL, key)
        if entry.value is not None:
            return entry.value
        absent = certain and self._following.replica.complete and not entry.version
        return Presence.ABSENT if absent else Presence.UNKNOWN

    async def summaries(self) -> Sequence[Summary]:
        await self._following.current()
        return self._following.replica.local.heads[self._index].summaries()

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        key = catalog_key(self._index, name)
        draft = partial(edited, key, change, mark)
        return made_project(await swap_row(self._following, RowKind.LOCAL, key, draft))

    async def edit_all(
        self, changes: Mapping[ProjectName, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[ProjectName, LocalProject | None]:
        keys = {catalog_key(self._index, name): change for name, change in changes.items()}
        drafts = {key: partial(edited, key, change, None) for key, change in keys.items()}
        done = await swap_rows(self._following, RowKind.LOCAL, drafts)
        return {project_of(key): made_project(swapped) for key, swapped in done.items()}

    async def mark(self, name: ProjectName) -> str | None:
        await self._following.current()
        head = self._following.replica.local.head(catalog_key(self._index, name))
        return None if head is None else head.mark


class NoLocalProjects:
    """The local projects of an upstream (`LocalTable`): there are none, and none can be added."""

    async def get(self, name: ProjectName) -> LocalProject | Presence:
        return Presence.ABSENT

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        if change(None) is not None:
            raise ValueError(f"an upstream has no local project {name}")
        return None

    async def edit_all(
        self, changes: Mapping[ProjectName, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[ProjectName, LocalProject | None]:
        return {name: await self.edit(name, change) for name, change in changes.items()}

    async def mark(self, name: ProjectName) -> str | None:
        return None

    async def summaries(self) -> Sequence[Summary]:
        return _NO_PROJECTS


class SharedUpstreamTable:
    """The upstream projects of one upstream (`UpstreamTable`)."""

    def __init__(self, following: ReplicaFollower, source: str) -> None:
        self._following = following
        self._source = source
        self._forgetting = False

    async def get(self, name: ProjectName) -> UpstreamEntry:
        await self._following.current()
        key = catalog_key(self._source, name)
        entry: ReplicaEntry[UpstreamEntry] = await self._following.read(RowKind.UPSTREAM, key)
        return entry.value or UpstreamEntry(name=name)

    async def edit(
        self, name: ProjectName, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        key = catalog_key(self._source, name)

        def draft(held: ReplicaEntry[UpstreamEntry]) -> RowDraft[UpstreamEntry] | None:
            old = held.value or UpstreamEntry(name=name)
            new = change(old)
            if new.name != old.name:
                raise ValueError(f"an edit of {key} made {new.name} of it")
            return (
                None
                if new == old and held.value is not None
                else upstream_draft(key, held, old, new)
            )

        done = await swap_row(self._following, RowKind.UPSTREAM, key, draft)
        if done.draft is None:
            return done.held.value or UpstreamEntry(name=name)
        if done.row is not None and done.draft.head is not None:
            self._forget_others()
        return (
            done.draft.value
            if done.row is None
            else evolve(done.draft.value, serial=done.row.serial)
        )

    async def summaries(self) -> Sequence[Summary]:
        await self._following.current()
        return self._following.replica.upstream.heads[self._source].cached_summaries()

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
            for key in replica.pop_excess():
                version = replica.upstream.version(key)
                try:
                    if version:
                        change = RowChange(RowKind.UPSTREAM, key, version, seen=False)
                        done = await engine.swap(replica.generation, change)
                        if not isinstance(done, Conflict):
                            replica.take_own(done, None)
                except (DatabaseAway, DatabaseUnusable, CatalogReset):
                    return  # another node, or the next start, removes it
            if self._following.is_sole:  # no other process has to learn of removed rows
                await engine.tidy(0)
        except Exception:
            _log.failure("cannot remove projects unused for long from the catalog")
        finally:
            self._forgetting = False


class NoUpstreamProjects:
    """The upstream projects of a named index (`UpstreamTable`): it has none of its own."""

    async def get(self, name: ProjectName) -> UpstreamEntry:
        return UpstreamEntry(name=name)

    async def edit(
        self, name: ProjectName, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        entry = UpstreamEntry(name=name)
        if change(entry) != entry:
            raise ValueError(f"a named index has no upstream project {name}")
        return entry

    async def summaries(self) -> Sequence[Summary]:
        return _NO_PROJECTS


class SharedCatalog:
    """The `Catalog` of one index, of one upstream (`source`), or of both, as for the default index,
    whose names are empty. `begin` and `close` the latter; `of` makes those of others.

    The function that is passed to an edit may be called several times: with the project as another
    node has changed it meanwhile.
    """

    def __init__(
        self, following: ReplicaFollower, *, index: str | None = "", source: str | None = ""
    ) -> None:
        self.following = following
        self.index = index
        self.source = source
        self.local: LocalTable = (
            NoLocalProjects() if index is None else SharedLocalTable(following, index)
        )
        self.upstream: UpstreamTable = (
            NoUpstreamProjects() if source is None else SharedUpstreamTable(following, source)
        )
        self._compared = ""
        """The generation in which the current reconciliation began, which `complete` refers to."""

    def of(self, *, index: str | None = None, source: str | None = None) -> SharedCatalog:
        """Return the catalog of another index, or of another upstream (`Catalog.of`)."""
        return SharedCatalog(self.following, index=index, source=source)

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

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str] | None:
        is_certain = await self.following.current() and self._replica.complete
        return self._replica.indexes_with.get(name) or (frozenset() if is_certain else None)

    async def index_lists(self) -> Mapping[str, Sequence[Summary]]:
        await self.following.current()
        return self._replica.index_lists()

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
        (at first: since the start), and not for another index (`Catalog.complete`).
        """
        if self.index != "":
            return
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
        """A number that differs after each visible change (`Catalog.changes`). It differs at each
        look while the feed has no beat, so that no cached response is used then.
        """
        self.following.look()
        return self._replica.changes + self.following.looks

    @property
    def knows_all(self) -> bool:
        """Whether the catalog is complete (`Catalog.knows_all`); False while the feed has no
        beat.
        """
        return self._replica.complete and self.following.is_current

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads of the local and the upstream project (`Catalog.heads`). While the feed
        has no beat, the local one is a head that no project ever has, and a new one each time.

        So code that compares heads instead of `changes` (the fast path, for a project's pages) sees
        a change.
        """
        if not self.following.look():
            return Summary(name, -self.following.looks), None
        replica = self._replica
        local = replica.local.heads[self.index or ""].get(name)
        if self.source is None:
            return local, None
        local = local or replica.indexes_with.claim(name)
        return local, replica.upstream.heads[self.source].get(name)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Catalog.listing_time`)."""
        if self.source is None:
            return None
        head = self._replica.upstream.head(catalog_key(self.source, name))
        return None if head is None else head.confirmed


_: type[Catalog] = SharedCatalog
