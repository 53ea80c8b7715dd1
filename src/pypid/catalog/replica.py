"""A node's copy of the engine's rows: lines, as in the catalog in memory, with the versions of
their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing
from datetime import timedelta
from typing import Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.catalog.engine import (
    Beat,
    CatalogReset,
    CatalogRow,
    DatabaseAway,
    DatabaseUnusable,
    Engine,
    EngineState,
    Position,
    RowKind,
    count_whole,
    slices,
)
from pypid.catalog.lines import (
    DECODED,
    CatalogLines,
    Line,
    LineTable,
    Loaded,
    NamedLines,
    PendingLine,
    count_for_writing,
    local_weight,
    no_shards,
    shard_of,
    takes_long,
    upstream_weight,
    written,
)
from pypid.catalog.memory import MOST_SHARED, Forgettable, ListingMemory, PackedLines
from pypid.core.caches import MemoryBudget
from pypid.core.errors import CannotStart, CatalogDown, Unreadable
from pypid.core.model import LocalProject, Status, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import load_head, load_project
from pypid.core.records.upstream_entry import load_upstream_entry
from pypid.core.summaries import MutableSummaries
from pypid.flow import Blocking, World, start
from pypid.flow.derived import Flights
from pypid.ports import TableKey

_log = Logger()
V = TypeVar("V")


LOCAL_KINDS = frozenset((RowKind.LOCAL, RowKind.NAMED_LOCAL))


@frozen
class ReplicaEntry(Generic[V]):
    """A project as it was read, and the version of its row; 0: there is no row. A version without a
    `value` means a damaged row.
    """

    value: V | None
    version: int = 0
    line: bytes | None = field(default=None, repr=False)


class ReplicaTable(Generic[V]):
    """The rows of one kind, in the `table`."""

    def __init__(self, table: LineTable[V], thinking: Blocking) -> None:
        self.table = table
        table.lines.settled()
        self._thinking = thinking
        self._versions: dict[ProjectName, int] = {}
        """Versions of all rows, including those that are damaged and have no line here."""

    def version(self, name: ProjectName) -> int:
        """Return the version of the row, which may be damaged; 0: there is no row."""
        return self._versions.get(name, 0)

    def size(self, name: ProjectName) -> int:
        """Return the length of the project's line; 0 if there is none that can be read."""
        line = self.table.lines.get(name)
        return 0 if line is None or isinstance(line, PendingLine) else len(line)

    def knows(self, row: CatalogRow) -> bool:
        """Return whether the copy has this version of the row, or a later one."""
        return row.version <= self.version(row.name)

    def take(self, row: CatalogRow, value: V | None = None) -> None:
        """Hold the row, which is later than the held one. `value` is its decoded line, if known."""
        read = None if row.line is None else _read(row)
        if row.line is None:
            self._versions.pop(row.name, None)
        else:
            self._versions[row.name] = row.version
        if read is None:
            self.table.take_out(row.name)
        elif value is None:
            self.table.put_line(*read)
        else:
            head, line = read
            self.table.put(head, value, line)

    async def fill(self, rows: dict[ProjectName, CatalogRow], serial: int) -> None:
        """Add these rows to the empty half."""
        shards, heads = no_shards(), {}
        for name, row in rows.items():
            self._versions[name] = row.version
            read = _read(row)
            if read is not None:
                heads[name], shards[shard_of(name)][name] = read
        self.table.lines.fill(Loaded(serial, shards, await self._thinking(MutableSummaries, heads)))

    async def value(self, name: ProjectName) -> V | None:
        """Return the project; None if there is none that can be read."""
        try:
            return await self.table.at_hand(name)
        except Unreadable as error:
            _say_damaged(name, error)
            return None

    async def held(self, name: ProjectName) -> ReplicaEntry[V]:
        """Return the project with its row's version and line, as an edit needs them: all of one
        time.
        """
        while True:
            line = self.table.lines.get(name)
            text = None if line is None else await self._text(line)
            await self.value(name)
            if self.table.lines.get(name) is line:
                break
        try:
            value = self.table.get(name)
        except Unreadable:
            value = None
        return ReplicaEntry(value, self.version(name), text)

    async def _text(self, line: Line) -> bytes:
        if isinstance(line, PendingLine) or takes_long(line):
            return await self._thinking(written, line)
        return written(line)

    async def read(self, row: CatalogRow | None) -> ReplicaEntry[V]:
        """Return the entry for a row that is not held here."""
        if row is None or row.line is None:
            return ReplicaEntry(None)
        try:
            line = row.numbered()
            value = await self.table.decode(line)
        except (Unreadable, ValueError) as error:
            _say_damaged(row.name, error)
            return ReplicaEntry(None, row.version)
        return ReplicaEntry(value, row.version, line)


def _read(row: CatalogRow) -> tuple[Summary, Line] | None:
    """Return the head and the line of a row that was not removed; None if it is damaged: then
    nothing is known of it.
    """
    try:
        line = row.numbered()
        head = load_head(line)
        return Summary(row.name, head.serial, Status(head.status), head.keeps, head.gone), line
    except (Unreadable, ValueError) as error:
        _say_damaged(row.name, error)
        return None


def _say_damaged(name: ProjectName, error: Exception) -> None:
    _log.error(
        "The entry of {name} in the shared catalog cannot be read: {error}", name=name, error=error
    )


@define(eq=False)
class Replica:
    """The engine's rows of one generation, up to `version`, with this node's own later changes."""

    generation: str
    thinking: Blocking
    forgettable: Forgettable = field(factory=lambda: Forgettable(MOST_SHARED))
    memory: ListingMemory = field(factory=ListingMemory, repr=False)
    version: int = 0
    """Everything up to this version is held."""
    serial: int = 0
    """All changes up to this serial are held."""
    complete: bool = False
    changes: int = 0
    """Grows with each visible change."""
    local: ReplicaTable[LocalProject] = field(init=False)
    upstream: ReplicaTable[UpstreamEntry] = field(init=False)
    named_local: ReplicaTable[LocalProject] = field(init=False)
    named_upstream: ReplicaTable[UpstreamEntry] = field(init=False)
    named: NamedLines = field(factory=NamedLines, init=False)
    """The lines of `named_local`."""

    def __attrs_post_init__(self) -> None:
        decoded = MemoryBudget(DECODED)
        self.local = self._local_table(CatalogLines(), decoded)
        self.upstream = self._upstream_table()
        self.named_local = self._local_table(self.named, decoded)
        self.named_upstream = self._upstream_table()

    def _local_table(
        self, lines: CatalogLines, decoded: MemoryBudget
    ) -> ReplicaTable[LocalProject]:
        table = LineTable(
            load_project,
            lambda project: len(project.files),
            local_weight,
            self.thinking,
            decoded,
            lines,
        )
        return ReplicaTable(table, self.thinking)

    def _upstream_table(self) -> ReplicaTable[UpstreamEntry]:
        table = LineTable(
            load_upstream_entry,
            count_for_writing,
            upstream_weight,
            self.thinking,
            self.memory.budget,
            PackedLines(self.memory, self.thinking),
        )
        return ReplicaTable(table, self.thinking)

    def local_table(self, kind: RowKind) -> ReplicaTable[LocalProject]:
        """Return the table of local projects with rows of this kind."""
        return self.local if kind is RowKind.LOCAL else self.named_local

    def upstream_table(self, kind: RowKind) -> ReplicaTable[UpstreamEntry]:
        """Return the table of upstream projects with rows of this kind."""
        return self.upstream if kind is RowKind.UPSTREAM else self.named_upstream

    def _table(self, kind: RowKind) -> ReplicaTable[LocalProject] | ReplicaTable[UpstreamEntry]:
        return self.local_table(kind) if kind in LOCAL_KINDS else self.upstream_table(kind)

    @property
    def position(self) -> Position:
        """How far it has read."""
        return Position(self.generation, self.version)

    def take(self, row: CatalogRow, value: LocalProject | UpstreamEntry | None = None) -> None:
        """Hold the row, unless it is held. `value` is its decoded line, if known."""
        half = self._table(row.kind)
        if row.version <= self.version or half.knows(row):
            return
        half.take(row, value)  # type: ignore[arg-type]  # the value is of the row's kind
        self.changes += 1
        if row.kind not in LOCAL_KINDS:
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
        older.upstream.table.release()
        older.named_upstream.table.release()
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
            if row.line is None:
                by_kind[row.kind].pop(row.name, None)
            else:
                by_kind[row.kind][row.name] = row
        for kind, found in by_kind.items():
            await self._table(kind).fill(found, serial)
            for row in found.values() if kind not in LOCAL_KINDS else ():
                self._note(row)
        self.reach(version, serial)

    def _note(self, row: CatalogRow) -> None:
        head = self.upstream_table(row.kind).table.lines.head(row.name)
        if head is None or head.kept:
            self.forgettable.drop(row.name)
        else:  # a key in `named_upstream` is no key in `upstream`
            self.forgettable.note(row.name, len(row.line or b""))


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
    forgettable: int = MOST_SHARED
    memory: ListingMemory = field(factory=ListingMemory, repr=False)
    replica: Replica = field(init=False)
    first_generation: str = field(default="", init=False)
    """The generation of the first copy; "" as long as there is none."""
    away: DatabaseAway | DatabaseUnusable | None = field(default=None, init=False)
    """Why the engine was unavailable the last time; None if it answered."""
    _known: float = field(default=float("-inf"), init=False)
    _answered: float = field(default=0.0, init=False)
    """When the engine answered last, or a question to it began."""
    _failed: float = field(default=float("-inf"), init=False)
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
        forgettable = Forgettable(self.forgettable)
        return Replica(generation, self.world.thinking, forgettable, self.memory)

    # --- what is so now ---

    @property
    def is_current(self) -> bool:
        """Whether the copy is current without asking: it lacks nothing that was acknowledged
        `FRESH` seconds ago.
        """
        now = self.world.clock.seconds()
        # a time in the future: the system's clock was set back, and the copy is not current
        return now - FRESH < self._known <= now

    @property
    def age(self) -> float:
        """Seconds since the last time at which the copy is known to have been complete; 0 if
        nothing was read yet.
        """
        return max(0.0, self.world.clock.seconds() - self._known) if self.first_generation else 0.0

    @property
    def lag(self) -> int:
        """How many versions that the feed has reported are not held yet."""
        beat, replica = self._beat, self.replica
        return (
            0
            if beat is None or beat.state.generation != replica.generation
            else max(0, beat.state.version - replica.version)
        )

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
                reason=error.reason.rstrip("."),
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
