"""An engine of a shared catalog in memory, whose failures a test writes down beforehand; and feeds
that it delays or loses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import count

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.catalog.replica import ForgettableProjects, ReplicaFollower
from pypid.catalog.shared import SharedCatalog
from pypid.core.caches import MemoryBudget
from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.database.engine import (
    HEARTBEAT,
    MOST_ROWS,
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    Engine,
    EngineState,
    Position,
    RowChange,
    RowContents,
    RowKind,
    Slice,
    check_changes,
)
from pypid.database.places import DatabaseAway
from pypid.flow import World, start
from tests.support.worlds import world

_log = Logger()


@define(eq=False)
class Place:
    """What several engines share: the database."""

    identity: str | None = None
    state: EngineState = EngineState("", 0, 0, False, 0)
    rows: dict[tuple[RowKind, ProjectName], CatalogRow] = field(factory=dict)
    contents: dict[tuple[RowKind, ProjectName], RowContents] = field(factory=dict)
    lost: int = 0
    leases: dict[str, tuple[str, float]] = field(factory=dict)
    links: dict[str, SignedUrl] = field(factory=dict)
    is_down: bool = False
    """Whether nobody can ask it."""
    _epochs: count[int] = field(factory=lambda: count(1))

    def begin(self, serial: int) -> EngineState:
        """Another epoch."""
        self.rows.clear()
        self.lost = 0
        self.state = EngineState(
            f"epoch {next(self._epochs)}",
            0,
            max(serial, self.state.serial),
            False,
            self.state.rights,
        )
        return self.state

    def lose(self) -> None:
        """Somebody dropped the tables; only their serial is known yet, of whoever comes."""
        self.rows.clear()
        self.state = evolve(self.state, generation="", serial=0, version=0, complete=False)
        self.identity = None

    def write(self, change: RowChange) -> CatalogRow | Conflict:
        """As `Engine.swap`."""
        key = change.kind, change.name
        held = self.rows.get(key)
        there = held if held is not None and held.head is not None else None
        if change.head is None and not change.expected:
            raise ValueError("nothing is taken out of nothing")
        before = self.contents.get(key, RowContents(b""))
        files = before.files if change.files is None else change.files
        contents = RowContents(change.line, files)
        if change.expected != (0 if there is None else there.version):
            is_done = held is not None and (held.head, before) == (change.head, contents)
            return held if held is not None and is_done else Conflict()
        version, serial = self.state.version + 1, self.state.serial + change.seen
        own = serial if change.seen else 0 if held is None else held.serial
        size = len(change.line) + len(files)
        row = CatalogRow(change.kind, change.name, version, own, change.head, size)
        self.rows[key], self.contents[key] = row, contents
        self.state = evolve(self.state, version=version, serial=serial)
        return row

    def write_all(self, changes: Sequence[RowChange]) -> Sequence[CatalogRow] | Conflict:
        """As `Engine.swap_all`."""
        check_changes(changes)
        before, rows, contents = self.state, dict(self.rows), dict(self.contents)
        made: list[CatalogRow] = []
        for change in changes:
            self.state = evolve(self.state, serial=before.serial)
            row = self.write(change)
            if isinstance(row, Conflict):
                self.state, self.rows, self.contents = before, rows, contents
                return row
            made.append(row)
        serial = max([before.serial, *(row.serial for row in made)])
        self.state = evolve(self.state, serial=serial)
        return made


@define(eq=False)
class PlacedFeed:
    """Tells of the state each `HEARTBEAT`, unless the engine does not let it."""

    engine: PlacedEngine
    heard: Callable[[Beat], None]
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self.beat)
        self._loop.clock = self.engine.clock
        self.engine.feeds.append(self)
        self._loop.start(HEARTBEAT, now=True)

    def beat(self) -> None:
        """One beat, now; or later; or none."""
        engine = self.engine
        if engine.is_mute or not engine.is_there:
            return
        beat = Beat(engine.place.state, engine.clock.seconds())
        if engine.late:
            engine.clock.callLater(engine.late, self.tell, beat)
        else:
            self.tell(beat)

    def tell(self, beat: Beat) -> None:
        """Have it heard, unless nobody hears any more."""
        if self in self.engine.feeds:
            try:
                self.heard(beat)
            except Exception:
                _log.failure("who hears failed")

    async def stop(self) -> None:
        """Tell no more."""
        if self in self.engine.feeds:
            self.engine.feeds.remove(self)
            self._loop.stop()


@define(eq=False)
class PlacedEngine:
    """One node's."""

    clock: IReactorTime
    place: Place = field(factory=Place)
    is_down: bool = False
    """Whether this node cannot ask, though others may."""
    is_mute: bool = False
    """Whether its feed tells nothing."""
    late: float = 0.0
    """Seconds that each beat is on its way."""
    delay: float = 0.0
    """Seconds that each question takes; it is answered at the end of them."""
    deaf: int = 0
    """Of how many changes to come this node does not hear that they were made."""
    hangs: bool = False
    """Whether questions are not answered at all."""
    before_swap: list[Callable[[], object]] = field(factory=list)
    """What happens right before the next changes, one each: another writer was faster."""
    between_slices: list[Callable[[], object]] = field(factory=list)
    feeds: list[PlacedFeed] = field(factory=list)
    unanswered: list[Deferred[None]] = field(factory=list)
    """Held: a garbage collection would end their callers."""
    asked: int = 0
    """How many questions there were."""

    @property
    def is_there(self) -> bool:
        """Whether it can be asked."""
        return not (self.is_down or self.place.is_down)

    async def _question(self) -> None:
        self.asked += 1
        if self.hangs:
            self.unanswered.append(Deferred())
            await self.unanswered[-1]
        if self.delay:
            waiting: Deferred[None] = Deferred()
            self.clock.callLater(self.delay, waiting.callback, None)
            await waiting
        if not self.is_there:
            raise DatabaseAway("it is switched off")

    def _epoch(self, epoch: str) -> None:
        if epoch != self.place.state.generation:
            raise CatalogReset

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        await self._question()
        place = self.place
        if place.identity is None:
            place.identity = identity
            place.begin(serial)
        if place.identity != identity:
            raise CannotStart("the shared catalog is another storage's")
        return place.state

    async def state(self) -> EngineState:
        await self._question()
        self._epoch(self.place.state.generation or "lost")
        return self.place.state

    async def row(
        self, epoch: str, kind: RowKind, name: ProjectName
    ) -> tuple[CatalogRow, RowContents] | None:
        await self._question()
        self._epoch(epoch)
        row = self.place.rows.get((kind, name))
        if row is None or row.head is None:
            return None
        return row, self.place.contents[kind, name]

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        if since.version and self.between_slices:
            self.between_slices.pop(0)()
        await self._question()
        place = self.place
        self._epoch(since.generation)
        if since.version > place.state.version or 0 < since.version < place.lost:
            raise CatalogReset
        later = sorted(
            (row for row in place.rows.values() if row.version > since.version),
            key=lambda row: row.version,
        )
        rows = later[:most]
        position = Position(since.generation, rows[-1].version) if rows else since
        return Slice(tuple(rows), position, len(rows) < len(later))

    async def swap(self, epoch: str, change: RowChange) -> CatalogRow | Conflict:
        if self.before_swap:
            self.before_swap.pop(0)()
        await self._question()
        self._epoch(epoch)
        row = self.place.write(change)
        if self.deaf:
            self.deaf -= 1
            raise DatabaseAway("the connection was cut")
        return row

    async def swap_all(
        self, epoch: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        if self.before_swap:
            self.before_swap.pop(0)()
        await self._question()
        self._epoch(epoch)
        made = self.place.write_all(changes)
        if self.deaf:
            self.deaf -= 1
            raise DatabaseAway("the connection was cut")
        return made

    async def mark_complete(self, epoch: str, *, complete: bool = True) -> EngineState:
        await self._question()
        self._epoch(epoch)
        self.place.state = evolve(self.place.state, complete=complete)
        return self.place.state

    async def note_rights(self) -> EngineState:
        await self._question()
        self.place.state = evolve(self.place.state, rights=self.place.state.rights + 1)
        return self.place.state

    async def clear(self) -> EngineState:
        await self._question()
        return self.place.begin(0)

    async def tidy(self, tombstones: int = 10_000) -> None:
        await self._question()
        place = self.place
        gone = sorted(
            (row for row in place.rows.values() if row.head is None), key=lambda row: -row.version
        )[tombstones:]
        for row in gone:
            del place.rows[row.kind, row.name]
        place.lost = max([place.lost, *(row.version for row in gone)])

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        await self._question()
        now = self.clock.seconds()
        held = self.place.leases.get(name)
        if held is not None and held[0] != holder and held[1] > now:
            return False
        self.place.leases[name] = holder, now + seconds
        return True

    async def release(self, name: str, holder: str) -> None:
        await self._question()
        if self.place.leases.get(name, ("", 0))[0] == holder:
            del self.place.leases[name]

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        await self._question()
        link = self.place.links.get(key)
        return None if link is None or link.expires <= good_after else link

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        return self.place.links.setdefault(
            key, await self.link(key, good_after) or self._instead(key, link)
        )

    def _instead(self, key: str, link: SignedUrl) -> SignedUrl:
        self.place.links.pop(key, None)
        return link

    def follow(self, heard: Callable[[Beat], None]) -> PlacedFeed:
        return PlacedFeed(self, heard)

    async def close(self) -> None:
        """There is nothing to close."""


_: type[Engine] = PlacedEngine


@frozen
class SharedSettings:
    """What a shared catalog is opened with: see `ReplicaFollower`."""

    identity: str
    stale_for: timedelta = timedelta(minutes=10)
    forgettable: Callable[[], ForgettableProjects] = ForgettableProjects
    memory: MemoryBudget = field(factory=MemoryBudget, repr=False)


def a_catalog(
    serial: int = 0, outside: World | None = None, place: Place | None = None
) -> SharedCatalog:
    """Return the catalog of one process, which has begun, with its rows in memory: none, or those
    at the `place`.
    """
    outside = outside or world()
    engine = PlacedEngine(outside.clock, place or Place())
    following = ReplicaFollower(
        engine, "storage", outside, timedelta(0), first_serial=serial, is_sole=True
    )
    catalog = SharedCatalog(following)
    begun: list[object] = []
    start(catalog.begin()).addCallback(begun.append)
    assert begun
    return catalog


def rows_of(catalog: SharedCatalog, *, complete: bool = False) -> Place:
    """Return a copy of the catalog's rows, as a process finds them that starts later."""
    engine = catalog.following.engine
    assert isinstance(engine, PlacedEngine)
    place = engine.place
    return evolve(
        place,
        state=evolve(place.state, complete=complete),
        rows=dict(place.rows),
        contents=dict(place.contents),
    )


async def open_shared(
    settings: SharedSettings,
    engine: Engine,
    world: World,
    *,
    rights_changed: Callable[[], None] = lambda: None,
    was_reset: Callable[[], None] = lambda: None,
) -> SharedCatalog:
    """A shared catalog that has begun."""
    following = ReplicaFollower(
        engine,
        settings.identity,
        world,
        settings.stale_for,
        forgettable=settings.forgettable,
        memory=settings.memory,
        rights_changed=rights_changed,
        was_reset=was_reset,
    )
    catalog = SharedCatalog(following)
    await catalog.begin()
    return catalog
