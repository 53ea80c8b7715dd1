"""What a node holds of the engine's rows: the head of each project, and the projects that were read
lately. The contents of all others stay in the database, and are read by key.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.caches import BudgetedCache, MemoryBudget
from pypid.core.errors import CannotStart, CatalogDown, Unreadable
from pypid.core.model import File, LocalProject, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import load_project
from pypid.core.records.layout import index_of, project_of
from pypid.core.records.upstream_entry import load_entry
from pypid.core.simple_api.listed_files import weight_of
from pypid.core.summaries import MutableSummaries, Sieve, Summaries, only
from pypid.database.engine import (
    Beat,
    CatalogReset,
    CatalogRow,
    Engine,
    EngineState,
    Position,
    RowContents,
    RowHead,
    RowKind,
    count_whole,
    slices,
)
from pypid.database.places import DatabaseAway, DatabaseUnusable
from pypid.flow import Blocking, World, start
from pypid.flow.derived import Flights
from pypid.ports import TableKey

_log = Logger()
V = TypeVar("V", LocalProject, UpstreamEntry)
StoredRow: TypeAlias = tuple[CatalogRow, RowContents]


DECODED = 96 << 20
"""Bytes of local projects that stay decoded: those whose pages are rendered again and again while
they are published to, and of which an installer requests files in turn.
"""
SHORT = 1 << 17
"""Bytes of a line up to which it is decoded in the reactor thread: in some 2 milliseconds."""
HISTORY_WEIGHT = 500
"""Bytes that the history of a file takes in memory."""

# The upstream projects that may be dropped: those without cached files, the least recently changed
# first. Otherwise a client that requests the whole public index, or names that do not exist, would
# fill memory and disk with upstream listings.

MOST_BYTES = 1 << 30
"""Bytes that upstream projects without cached files may take in the database."""
MOST_PROJECTS = 100_000
"""How many of them there may be: their heads are in memory."""
MOST_GONE = 10_000
"""How many names may be known that upstream does not have: clients can make up any number, which
displace no listings.
"""


@define(eq=False)
class ForgettableProjects:
    """The projects that may be dropped, in the order in which they are."""

    most_bytes: int = MOST_BYTES
    most_projects: int = MOST_PROJECTS
    _sizes: OrderedDict[TableKey, int] = field(factory=OrderedDict, init=False, repr=False)
    _total: int = field(default=0, init=False)

    def note(self, name: TableKey, size: int) -> None:
        """Note the size in bytes of a project without cached files."""
        self.drop(name)
        self._sizes[name] = size
        self._total += size

    def drop(self, name: TableKey) -> None:
        """Note that the project may not be dropped, or was removed."""
        self._total -= self._sizes.pop(name, 0)

    def pop_excess(self) -> Iterator[TableKey]:
        """Yield the projects to drop now; the one that was noted last always stays."""
        while len(self._sizes) > 1 and (
            self._total > self.most_bytes or len(self._sizes) > self.most_projects
        ):
            name = next(iter(self._sizes))
            self.drop(name)
            yield name


class Heads:
    """The head of each project of an index or upstream, in the order of the names."""

    def __init__(self, heads: dict[ProjectName, Summary] | None = None) -> None:
        self._roll = MutableSummaries(heads)
        self._kept = Sieve(lambda run: only(run, attrgetter("kept")))
        self._keeping = (Summaries(), Summaries())
        """All heads, and those of projects with cached files."""

    def get(self, name: ProjectName) -> Summary | None:
        """Return the project's entry in the list, or None."""
        return self._roll.heads.get(name)

    def put(self, head: Summary) -> None:
        """Hold the head in place of an older one."""
        self._roll.put(head)

    def drop(self, name: ProjectName) -> None:
        """Remove the project, which must be there."""
        self._roll.drop(name)

    def summaries(self) -> Summaries:
        """Return all heads, by name; the same object until one changes."""
        return self._roll.summaries()

    def cached_summaries(self) -> Summaries:
        """Return the heads of projects with cached files, by name; the same object until one
        changes.
        """
        heads = self.summaries()
        if heads is not self._keeping[0]:
            self._keeping = (heads, self._kept.of(heads))
        return self._keeping[1]


def _all_heads(found: Mapping[str, dict[ProjectName, Summary]]) -> Mapping[str, Heads]:
    return {index: Heads(heads) for index, heads in found.items()}


_NONE: frozenset[str] = frozenset()


class IndexesWith:
    """The named indexes that have a local project, by its name: no name that is local in any index
    may be sent upstream.
    """

    def __init__(self) -> None:
        self._indexes: dict[ProjectName, frozenset[str]] = {}

    def get(self, name: ProjectName) -> frozenset[str]:
        """Return the named indexes that have a local project of this name."""
        return self._indexes.get(name, _NONE)

    def claim(self, name: ProjectName) -> Summary | None:
        """Return a head if any named index has a local project of this name; it differs from all
        heads of projects, so that pages of other indexes are made again when that changes.
        """
        return Summary(name, -1) if name in self._indexes else None

    def note(self, index: str, name: ProjectName, *, has: bool) -> None:
        """Note whether the named index has a local project of this name."""
        indexes = self.get(name) | {index} if has else self.get(name) - {index}
        if indexes:
            self._indexes[name] = indexes
        else:
            self._indexes.pop(name, None)


@frozen
class ReplicaEntry(Generic[V]):
    """A project as it was read, and the version of its row; 0: there is no row. A version without a
    `value` means a damaged row.
    """

    value: V | None
    version: int = 0
    head: RowHead | None = None


class ReplicaTable(Generic[V]):
    """The rows of one kind: their heads by index, and the projects that were read lately, as far as
    the `budget` allows. `load` decodes the contents of a row, `weigh` counts the bytes of a project
    in memory; `thinking` is for long ones (`World.thinking`).
    """

    def __init__(
        self,
        kind: RowKind,
        read: Callable[[RowKind, ProjectName], Coroutine[Any, Any, StoredRow | None]],
        load: Callable[[RowContents], V],
        weigh: Callable[[V], int],
        thinking: Blocking,
        budget: MemoryBudget,
    ) -> None:
        self.heads: defaultdict[str, Heads] = defaultdict(Heads)
        """By the name of the index or upstream; "" for the default one."""
        self._kind = kind
        self._read_row = read
        self._load: Callable[[RowContents], V] = load
        self._weigh: Callable[[V], int] = weigh
        self._thinking = thinking
        self._rows: dict[ProjectName, tuple[int, RowHead]] = {}
        """The versions of all rows, also of damaged ones, and their heads."""
        self._entries: BudgetedCache[ProjectName, ReplicaEntry[V]] = BudgetedCache(budget)
        self._flights: Flights[tuple[ProjectName, int], ReplicaEntry[V]] = Flights()

    def version(self, name: ProjectName) -> int:
        """Return the version of the row, which may be damaged; 0: there is no row."""
        held = self._rows.get(name)
        return 0 if held is None else held[0]

    def head(self, name: ProjectName) -> RowHead | None:
        """Return the head of the row, or None."""
        held = self._rows.get(name)
        return None if held is None else held[1]

    def take(self, row: CatalogRow, value: V | None = None) -> None:
        """Hold the row, which is later than the held one. `value` is its decoded project, if
        known.
        """
        heads = self.heads[index_of(row.name)]
        if row.head is None:
            if self._rows.pop(row.name, None) is not None:
                heads.drop(project_of(row.name))
            self._entries.forget(row.name)
            return
        self._rows[row.name] = row.version, row.head
        heads.put(_summary(row, row.head))
        if value is not None:
            self._keep(row.name, ReplicaEntry(value, row.version, row.head))

    async def fill(self, rows: dict[ProjectName, CatalogRow]) -> None:
        """Add these rows to the empty table."""
        heads: defaultdict[str, dict[ProjectName, Summary]] = defaultdict(dict)
        for name, row in rows.items():
            if row.head is not None:
                self._rows[name] = row.version, row.head
                summary = _summary(row, row.head)
                heads[index_of(name)][summary.name] = summary
        self.heads.update(await self._thinking(_all_heads, heads))

    def known(self, name: ProjectName) -> ReplicaEntry[V] | None:
        """Return the project, if that can be said without reading; else None."""
        version = self.version(name)
        if not version:
            return ReplicaEntry(None)
        entry = self._entries.get(name)
        return None if entry is None or entry.version < version else entry

    async def entry(self, name: ProjectName) -> ReplicaEntry[V]:
        """Return the project, as it is held or later; callers at once share one question. Raises as
        `Engine.row`.
        """
        return await self._flights.single((name, self.version(name)), lambda: self.read(name))

    async def read(self, name: ProjectName) -> ReplicaEntry[V]:
        """Return the project as it is now in the engine. Raises as `Engine.row`."""
        found = await self._read_row(self._kind, name)
        if found is None:
            return ReplicaEntry(None)
        row, contents = found
        try:
            if len(contents.line) > SHORT:
                value = await self._thinking(self._load, contents)
            else:
                value = self._load(contents)
        except (Unreadable, ValueError) as error:
            _say_damaged(name, error)
            return ReplicaEntry(None, row.version, row.head)
        entry = ReplicaEntry(evolve(value, serial=row.serial), row.version, row.head)
        if row.version >= self.version(name):
            self._keep(name, entry)
        return entry

    def _keep(self, name: ProjectName, entry: ReplicaEntry[V]) -> None:
        if entry.value is not None:
            self._entries.put(name, entry, self._weigh(entry.value))

    def release(self) -> None:
        """Stop counting the memory: the table is replaced as a whole."""
        self._entries.leave()


def _summary(row: CatalogRow, head: RowHead) -> Summary:
    return Summary(project_of(row.name), row.serial, head.status, head.kept, head.gone)


def _say_damaged(name: ProjectName, error: Exception) -> None:
    _log.error(
        "The entry of {name} in the shared catalog cannot be read: {error}", name=name, error=error
    )


def _load_local(contents: RowContents) -> LocalProject:
    return load_project(contents.line)


def _load_upstream(contents: RowContents) -> UpstreamEntry:
    return load_entry(contents.line, contents.files)


def listed_files(entry: UpstreamEntry) -> Sequence[File] | None:
    """Return the files in the upstream listing; None if there is no listing, or no such project
    upstream.
    """
    return None if entry.listing is None else entry.listing.files


def local_weight(project: LocalProject) -> int:
    """Return how many bytes a local project takes in memory."""
    return weight_of(project.files) + HISTORY_WEIGHT * len(project.history)


def upstream_weight(entry: UpstreamEntry) -> int:
    """Return how many bytes an upstream entry takes in memory."""
    listed, history = listed_files(entry) or (), entry.history
    return weight_of(listed) + weight_of(entry.kept) + HISTORY_WEIGHT * len(history)


@define(eq=False)
class Replica:
    """The heads of the engine's rows of one generation, up to `version`, with this node's own later
    changes.
    """

    generation: str
    engine: Engine = field(repr=False)
    thinking: Blocking = field(repr=False)
    forgettable: ForgettableProjects = field(factory=ForgettableProjects, repr=False)
    gone: ForgettableProjects = field(
        factory=lambda: ForgettableProjects(most_projects=MOST_GONE), repr=False
    )
    memory: MemoryBudget = field(factory=MemoryBudget, repr=False)
    version: int = 0
    """Everything up to this version is held."""
    serial: int = 0
    """All changes up to this serial are held."""
    complete: bool = False
    changes: int = 0
    """Grows with each visible change."""
    local: ReplicaTable[LocalProject] = field(init=False)
    upstream: ReplicaTable[UpstreamEntry] = field(init=False)
    indexes_with: IndexesWith = field(factory=IndexesWith, init=False)
    _lists: Mapping[str, Summaries] | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.local = ReplicaTable(
            RowKind.LOCAL,
            self._row,
            _load_local,
            local_weight,
            self.thinking,
            MemoryBudget(DECODED),
        )
        self.upstream = ReplicaTable(
            RowKind.UPSTREAM,
            self._row,
            _load_upstream,
            upstream_weight,
            self.thinking,
            self.memory,
        )

    async def _row(self, kind: RowKind, name: ProjectName) -> StoredRow | None:
        return await self.engine.row(self.generation, kind, name)

    def table(self, kind: RowKind) -> ReplicaTable[Any]:
        """Return the table of the rows of this kind."""
        return self.local if kind is RowKind.LOCAL else self.upstream

    def index_lists(self) -> Mapping[str, Summaries]:
        """Return the local projects of each named index that has any; the same object until
        something changes.
        """
        if self._lists is None:
            heads = self.local.heads.items()
            lists = {index: each.summaries() for index, each in heads if index}
            self._lists = {index: listed for index, listed in lists.items() if listed}
        return self._lists

    @property
    def position(self) -> Position:
        """How far it has read."""
        return Position(self.generation, self.version)

    def take(self, row: CatalogRow, value: LocalProject | UpstreamEntry | None = None) -> None:
        """Hold the row, unless it is held. `value` is its decoded project, if known."""
        table = self.table(row.kind)
        if row.version <= self.version or row.version <= table.version(row.name):
            return
        table.take(row, value)
        self.changes += 1
        self._note(row)

    def take_own(self, row: CatalogRow, value: LocalProject | UpstreamEntry | None) -> bool:
        """Hold a row that this node wrote; return whether everything up to it is held then."""
        following = row.version == self.version + 1
        if following:
            self.take(row, value)
            self.reach(row.version, row.serial)
        return row.version <= self.version

    def reach(self, version: int, serial: int = 0) -> None:
        """Note that everything up to this version is held."""
        self.version = max(self.version, version)
        if serial > self.serial:
            self.serial = serial
            self.changes += 1

    def supersede(self, older: Replica) -> None:
        """Take the place of the older copy. Counts more changes than it: what was cached by its
        number is read again.
        """
        older.upstream.release()
        self.changes += older.changes + 1

    def now_complete(self) -> None:
        """Note that the whole storage has been reconciled."""
        if not self.complete:
            self.complete = True
            self.changes += 1

    async def fill(self, rows: Iterable[CatalogRow], version: int, serial: int) -> None:
        """Fill the copy with these rows: of each name the last counts."""
        by_kind: dict[RowKind, dict[TableKey, CatalogRow]] = {kind: {} for kind in RowKind}
        for row in rows:
            by_kind[row.kind][row.name] = row
        for kind, found in by_kind.items():
            await self.table(kind).fill(found)
            for row in found.values():
                self._note(row)
        self.reach(version, serial)

    def _note(self, row: CatalogRow) -> None:
        if row.kind is RowKind.LOCAL:
            index = index_of(row.name)
            if index:
                has = row.head is not None
                self.indexes_with.note(index, project_of(row.name), has=has)
                self._lists = None
            return
        for each in (self.forgettable, self.gone):
            each.drop(row.name)
        if row.head is not None and not row.head.kept:
            queue = self.gone if row.head.gone else self.forgettable
            queue.note(row.name, row.size)

    def pop_excess(self) -> Iterator[TableKey]:
        """Yield the upstream projects to remove now (see `ForgettableProjects`)."""
        yield from self.forgettable.pop_excess()
        yield from self.gone.pop_excess()


# Synchronization of a node's copy with the engine, and the time up to which the copy is known to
# be complete.
#
# That time is `known`: all that was acknowledged to any client before it, on this node's clock, is
# held. Each beat of the feed advances it, and so does each answer of the engine. When it is
# `FRESH` seconds ago, readers ask the engine first.

FRESH = 1.0
"""Seconds that the copy may lag behind what was acknowledged elsewhere."""
PATIENCE = 1.0
"""Seconds without any answer of the engine after which callers stop waiting: then it counts as
unavailable.
"""
SLOW_DISK = 10.0
"""The same for a read of one process from its own file, since no other can answer instead."""
PAUSE = 0.3
"""Seconds after a failure in which reads do not ask it again: clients do not each wait for the same
refusal.

If it comes back within them, reads may be as old as during the outage; a beat ends that sooner.
"""
MOST_GENERATIONS = 5
"""How often the catalog may be reset while this node reads it."""


@define(eq=False)
class ReplicaFollower:
    """The copy, and the tasks that keep it current. Call `begin` before anything else, `stop` at
    the end.
    """

    engine: Engine
    identity: str
    world: World
    stale_for: timedelta
    first_serial: int = 0
    rights_changed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when users or rights were changed by any node, perhaps by this one."""
    was_reset: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when the copy is one of another generation: earlier reconciliation is void."""
    confirmed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called whenever the copy is confirmed to be current: several times each second while the
    engine is available.
    """
    forgettable: Callable[[], ForgettableProjects] = field(default=ForgettableProjects, repr=False)
    memory: MemoryBudget = field(factory=MemoryBudget, repr=False)
    is_sole: bool = False
    """Whether no other process changes the rows: then what is held is always current."""
    replica: Replica = field(init=False)
    first_generation: str = field(default="", init=False)
    """The generation of the first copy; "" as long as there is none."""
    away: DatabaseAway | DatabaseUnusable | None = field(default=None, init=False)
    """Why the engine was unavailable the last time; None if it answered."""
    _known: float = field(default=float("-inf"), init=False)
    _answered: float = field(default=0.0, init=False)
    """When the engine answered last, or a question to it began."""
    _failed: float = field(default=float("-inf"), init=False)
    looks: int = field(default=0, init=False)
    """Grows with each `look` at a copy that is not current, and with the next one after it."""
    _was_current: bool = field(default=True, init=False)
    _asking: bool = field(default=False, init=False)
    _rights: int | None = field(default=None, init=False)
    _beat: Beat | None = field(default=None, init=False)
    _pursuing: bool = field(default=False, init=False)
    _flights: Flights[None, None] = field(factory=Flights, init=False, repr=False)
    _stop: Callable[[], Deferred[None]] | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.replica = self._copy("")

    def _copy(self, generation: str) -> Replica:
        """Return an empty copy."""
        return Replica(
            generation, self.engine, self.world.thinking, self.forgettable(), memory=self.memory
        )

    # --- what is so now ---

    @property
    def is_current(self) -> bool:
        """Whether the copy is current without asking: it lacks nothing that was acknowledged
        `FRESH` seconds ago.
        """
        if self.is_sole and self.first_generation:
            return True
        now = self.world.clock.seconds()
        # a time in the future: the system's clock was set back, and the copy is not current
        return now - FRESH < self._known <= now

    def look(self) -> bool:
        """Return whether the copy is current, and count the look in `looks`."""
        is_current = self.is_current
        if not (is_current and self._was_current):
            self.looks += 1
        self._was_current = is_current
        return is_current

    @property
    def age(self) -> float:
        """Seconds since the last time at which the copy is known to have been complete; 0 if
        nothing was read yet.
        """
        return max(0.0, self.world.clock.seconds() - self._known) if self.first_generation else 0.0

    @property
    def until(self) -> float:
        """Until when, on the clock, the copy is current without another answer of the engine."""
        return self._known + FRESH if self._known <= self.world.clock.seconds() else 0.0

    @property
    def may_be_shown(self) -> bool:
        """Whether the copy is recent enough to be shown, though the engine is unavailable."""
        return self.world.clock.seconds() - self._known <= self.stale_for.total_seconds()

    async def current(self) -> bool:
        """Make sure that the copy is current; return False if the engine is unavailable, and the
        copy may still be shown.

        Raises `CatalogDown` if it has been unavailable for longer than `stale_for`.
        """
        if self.is_current:
            return True
        now = self.world.clock.seconds()
        while not now - FRESH < self._known <= self.world.clock.seconds():
            if not await self._ask():
                if not self.may_be_shown:
                    raise CatalogDown from self.away
                return False
        return True

    async def _ask(self) -> bool:
        """Catch up; return whether the engine answered. Waits no longer than it takes to see that
        it does not.
        """
        now = self.world.clock.seconds()
        if now - self._failed < PAUSE:
            return False
        if not self._asking:
            self._answered = now
        while True:
            answered = self._answered
            left = answered + PATIENCE - self.world.clock.seconds()
            if left <= 0:
                return False
            try:
                await start(self.catch_up()).addTimeout(left, self.world.clock)
                return True
            except TimeoutError:
                if self._answered == answered:
                    self._is_away(DatabaseAway("it does not answer"))
                    return False
            except (DatabaseAway, DatabaseUnusable):
                return False

    async def read(
        self, kind: RowKind, name: TableKey, *, again: bool = False
    ) -> ReplicaEntry[Any]:
        """Return the project of the current copy; `again`: as it is now in the engine. Raises
        `CatalogDown`.
        """
        try:
            for _ in range(MOST_GENERATIONS):
                table = self.replica.table(kind)
                known = None if again else table.known(name)
                if known is not None:
                    return known
                if self.away is not None and not self.is_current:
                    raise CatalogDown from self.away
                reading = table.read(name) if again else table.entry(name)
                try:
                    return await start(reading).addTimeout(
                        SLOW_DISK if self.is_sole else PATIENCE, self.world.clock
                    )
                except CatalogReset:
                    await self.catch_up()
        except TimeoutError:
            raise CatalogDown from DatabaseAway("it does not answer")
        except (DatabaseAway, DatabaseUnusable) as error:
            raise CatalogDown from error
        raise CatalogDown from DatabaseAway("it is reset again and again")

    # --- going on ---

    async def begin(self) -> None:
        """Read everything, and follow from then on. If the engine is unavailable, that happens as
        soon as it is back.

        Raises `CannotStart` if its rows are of another storage, or it is unusable.
        """
        try:
            await self._read_all()
            self._is_back()
        except DatabaseUnusable as error:
            raise CannotStart(f"The shared catalog cannot be used: {error}") from None
        except DatabaseAway as error:
            self._is_away(error)
        if self.is_sole:
            return
        feed = self.engine.follow(self.take_beat)
        self._stop = lambda: start(feed.stop())

    async def stop(self) -> None:
        """Stop following."""
        if self._stop is not None:
            await self._stop()

    def take_beat(self, beat: Beat) -> None:
        """Handle a state that the feed reports."""
        # one older than the copy is late, or the engine has lost something: asking it shows which
        if not self._is_behind(beat.state, self.replica.version) and self._confirm(
            beat.state, beat.requested_at
        ):
            if self.is_current:  # and not one that comes late
                self._is_back()
            return
        self._beat = beat
        if not self._pursuing:
            self._pursuing = True
            start(self._pursue()).addErrback(_say_failed)

    async def _pursue(self) -> None:
        try:
            while self._beat is not None:
                beat, self._beat = self._beat, None
                if self._is_behind(beat.state, self.replica.version) or not self._confirm(
                    beat.state, beat.requested_at
                ):
                    await self.catch_up()
        except (DatabaseAway, DatabaseUnusable):
            self._beat = None  # there will be another
        finally:
            self._pursuing = False

    async def catch_up(self) -> None:
        """Bring the copy up to all that was acknowledged before the call. Raises `DatabaseAway`,
        `DatabaseUnusable`.
        """
        await self._flights.single(None, self._catch_up)

    async def _catch_up(self) -> None:
        self._asking, self._answered = True, self.world.clock.seconds()
        try:
            await self._go_on()
        except CannotStart as error:  # the database was replaced by another index's
            unusable = DatabaseUnusable(str(error))
            self._is_away(unusable)
            raise unusable from None
        except (DatabaseAway, DatabaseUnusable) as error:
            self._is_away(error)
            raise
        else:
            self._is_back()
        finally:
            self._asking = False

    async def _go_on(self) -> None:
        requested_at = self.world.clock.seconds()
        replica, held = self.replica, self.replica.version
        try:
            state = await self.engine.state()
            self._answered = self.world.clock.seconds()
            if self._is_behind(state, held):
                await self._reset()
            if state.generation != replica.generation:
                raise CatalogReset
            if state.version > replica.version:
                replica.reach(state.version, await self._read_changes(replica))
        except CatalogReset:
            await self._read_all()
        else:
            self._confirm(state, requested_at)

    async def _read_changes(self, replica: Replica) -> int:
        """Bring the copy up to the last change; return the highest serial. The rows of one
        transaction show together, also where a slice ends among them.
        """
        serial = 0
        pending: list[CatalogRow] = []
        async with aclosing(slices(self.engine, replica.position)) as found:
            async for each in found:
                self._answered = self.world.clock.seconds()
                pending += each.rows
                whole = count_whole(pending) if each.more else len(pending)
                for row in pending[:whole]:
                    replica.take(row)
                    serial = max(serial, row.serial)
                del pending[:whole]
                replica.reach(pending[0].version - 1 if pending else each.position.version)
        return serial

    def _is_behind(self, state: EngineState, held: int) -> bool:
        """Return whether the engine lacks changes that are `held`."""
        return state.generation == self.replica.generation and state.version < held

    async def _reset(self) -> None:
        """Reset the engine, which has lost acknowledged changes: a backup was restored, or a
        replica took over that lacked some.

        Its versions would be given a second time, to other rows, so no node may go on from them.
        Raises `CatalogReset`.
        """
        _log.error(
            "The shared catalog lacks changes that it had before: was a backup restored, or "
            "did a replica take over? It is cleared and filled from the storage."
        )
        await self.engine.clear()
        raise CatalogReset

    async def _read_all(self) -> None:
        """Read another generation from its beginning; the old copy is shown until the new one is
        complete.
        """
        for _ in range(MOST_GENERATIONS):
            requested_at = self.world.clock.seconds()
            state = await self.engine.open(
                self.identity, max(self.first_serial, self.replica.serial)
            )
            self._answered = self.world.clock.seconds()
            try:
                replica = await self._whole(state)
            except CatalogReset:
                continue
            was, self.replica = self.replica, replica
            self.first_generation = self.first_generation or replica.generation
            self._confirm(state, requested_at)
            if was.generation and was.generation != replica.generation:
                _log.info("The shared catalog was cleared, and has been read again.")
                self.was_reset()
            return
        raise DatabaseAway("it is reset again and again")

    async def _whole(self, state: EngineState) -> Replica:
        replica = self._copy(state.generation)
        rows: list[CatalogRow] = []
        version = state.version
        async with aclosing(slices(self.engine, state.beginning)) as found:
            async for each in found:
                self._answered = self.world.clock.seconds()
                rows.extend(each.rows)
                version = max(version, each.position.version)
        await replica.fill(rows, version, max((row.serial for row in rows), default=0))
        replica.supersede(self.replica)
        return replica

    def _confirm(self, state: EngineState, requested_at: float) -> bool:
        """Note that the engine was in this state at time `requested_at` or later; return whether
        all of that is held.
        """
        replica = self.replica
        if state.generation != replica.generation or state.version > replica.version:
            return False
        self._known = (
            max(self._known, requested_at)
            if self._known <= self.world.clock.seconds()
            else requested_at
        )
        replica.reach(state.version, state.serial)
        if state.complete:  # only now that the reconciled rows are held
            replica.now_complete()
        if state.rights != self._rights:
            was, self._rights = self._rights, state.rights
            if was is not None:
                self.rights_changed()
        self.confirmed()
        return True

    def _is_away(self, error: DatabaseAway | DatabaseUnusable) -> None:
        self._failed = self.world.clock.seconds()
        if self.away is None:
            _log.warn(
                (
                    "The shared catalog is unavailable: {reason}. Known projects are served "
                    "for {stale_for} s; nothing can be published."
                ),
                reason=str(error).rstrip("."),
                stale_for=round(self.stale_for.total_seconds()),
            )
        self.away = error

    def _is_back(self) -> None:
        self._failed = float("-inf")
        if self.away is not None:
            self.away = None
            _log.info("The shared catalog is available again.")


def _say_failed(failure: Failure) -> None:
    _log.failure("a change in the shared catalog could not be applied", failure=failure)
