"""The catalog in a database: each operation is one transaction, in one of a few threads.

Concurrent changes share a transaction: one write to the disk, and one notification of other nodes.
A single change waits for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.database.engine import (
    MOST_ROWS,
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    Engine,
    EngineState,
    Feed,
    Position,
    RowChange,
    RowContents,
    RowKind,
    Slice,
    check_changes,
    repeated,
)
from pypid.database.places import (
    DatabaseAway,
    DatabaseFull,
    Place,
    Server,
    SqliteFile,
    no_longer_than,
    transact,
)
from pypid.flow import Blocking, World, shielded, start
from pypid.flow.world import Threads

if TYPE_CHECKING:
    from pypid.database.catalog_drivers import Postgresql, Sqlite
    from pypid.database.catalog_tables import CatalogTransaction

FILE = "catalog.db"
THREADS = 4
"""As many as there are connections."""

MOST_CHANGES = 64
MOST_BYTES = 4 << 20
"""Bytes of the lines of one transaction, except for one line that is longer by itself."""

Made: TypeAlias = CatalogRow | Conflict
Make: TypeAlias = Callable[[str, Sequence[RowChange]], Coroutine[Any, Any, list[Made]]]
"""Makes changes, all in one transaction and in order; returns their results."""


@define(eq=False)
class _WaitingChange:
    generation: str
    change: RowChange
    made: Deferred[Made] = field(factory=lambda: Deferred(canceller=lambda _: None), init=False)
    _timeout: IDelayedCall | None = field(default=None, init=False)
    """Runs while it waits for its turn."""

    def wait(
        self, clock: IReactorTime, longest: float, give_up: Callable[[_WaitingChange], None]
    ) -> None:
        """Call `give_up` if its turn does not come within `longest` seconds."""
        self._timeout = clock.callLater(longest, give_up, self)

    def take_turn(self) -> None:
        """Note that its turn has come."""
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def settle(self, made: Made | Failure) -> None:
        if not self.made.called:  # its caller still waits
            self.made.callback(made)


@define(eq=False)
class ChangeBatches:
    """Runs one transaction at a time, with the waiting changes that fit. A change that waits for
    `longest` seconds fails.
    """

    make: Make
    clock: IReactorTime
    longest: float
    _waiting: deque[_WaitingChange] = field(factory=deque, init=False, repr=False)
    _is_busy: bool = field(default=False, init=False)

    async def swap(self, generation: str, change: RowChange) -> Made:
        """Change the row together with others (see `Engine.swap`). Goes on if the caller is
        cancelled.
        """
        wanted = _WaitingChange(generation, change)
        self._waiting.append(wanted)
        if self._is_busy:
            wanted.wait(self.clock, self.longest, self._give_up)
        else:
            self._is_busy = True
            start(self._work())
        return await wanted.made

    def _give_up(self, wanted: _WaitingChange) -> None:
        self._waiting.remove(wanted)
        error = DatabaseAway("other processes change it, and this change had to wait too long")
        wanted.settle(Failure(error))  # type: ignore[no-untyped-call]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._group(self._next())
        finally:
            self._is_busy = False

    def _next(self) -> list[_WaitingChange]:
        """Return the changes that waited longest, all of one generation."""
        group = [self._take()]
        size = group[0].change.size
        while (
            self._waiting
            and len(group) < MOST_CHANGES
            and self._waiting[0].generation == group[0].generation
        ):
            size += self._waiting[0].change.size
            if size > MOST_BYTES:
                break
            group.append(self._take())
        return group

    def _take(self) -> _WaitingChange:
        wanted = self._waiting.popleft()
        wanted.take_turn()
        return wanted

    async def _group(self, group: list[_WaitingChange]) -> None:
        try:
            made = await self.make(group[0].generation, [wanted.change for wanted in group])
        except DatabaseFull:
            if len(group) > 1:  # there may be room for some of them
                for wanted in group:
                    await self._group([wanted])
                return
            group[0].settle(Failure())  # type: ignore[no-untyped-call]
        except Exception:
            for wanted in group:
                wanted.settle(Failure())  # type: ignore[no-untyped-call]
        else:
            for wanted, each in zip(group, made, strict=True):
                wanted.settle(each)


T = TypeVar("T")
_log = Logger()

LONGEST = 6.0
"""Seconds after which the connections of a server that does not answer are cut."""
WRITERS = 2
"""Concurrent changes on a server; a file takes one at a time. So threads are left for reads."""


@frozen
class SqlSettings:
    """Settings of the engine. `feeding` is a thread for the feed alone; all else runs in
    `World.blocking`. `closed` is run after `close`.
    """

    place: Place
    feeding: Blocking
    closed: Callable[[], Coroutine[Any, Any, None]] | None = None
    durable: bool = True
    """Whether a change in a file survives a power cut before it is awaited: several processes
    believe a catalog that is complete; one process alone compares it after anything but a clean
    stop (`jobs.cache_maintenance.CleanStop`).
    """


class SqlEngine:
    """An `Engine`. Cheap to create: nothing is imported or opened before it is used."""

    def __init__(self, settings: SqlSettings, world: World) -> None:
        self._place = settings.place
        self._durable = settings.durable
        self._feeding = settings.feeding
        self._closed = settings.closed
        self._world = world
        self._opening = Lock()
        self._turns = DeferredSemaphore(WRITERS if isinstance(settings.place, Server) else 1)
        self._driver: Sqlite | Postgresql | None = None
        self._batches = ChangeBatches(self._swap, world.clock, LONGEST)

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        from pypid.database.catalog_tables import SCHEMA, prepare

        generation = self._new_generation()
        state, schema = await self._write(
            lambda rows: prepare(rows.connection, identity, serial, generation), making=True
        )
        if schema is not None:
            _log.warn(
                "The shared catalog had tables of version {schema}, of {age} pypid. They were "
                "made again, and all is read from the storage again. Run the same version "
                "everywhere: a node of another one cannot use the catalog from now on.",
                schema=schema,
                age="an older" if schema < SCHEMA else "a newer",
            )
        return state

    async def state(self) -> EngineState:
        return await self._read(lambda rows: rows.state())

    async def row(
        self, generation: str, kind: RowKind, name: ProjectName
    ) -> tuple[CatalogRow, RowContents] | None:
        return await self._read(lambda rows: rows.row(generation, kind, name))

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        return await self._read(lambda rows: rows.changes(since, most))

    async def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        check_changes([change])
        return await self._batches.swap(generation, change)

    async def _swap(
        self, generation: str, changes: Sequence[RowChange]
    ) -> list[CatalogRow | Conflict]:
        return await self._repeated(
            lambda rows: [rows.swap(generation, change) for change in changes]
        )

    async def swap_all(
        self, generation: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        check_changes(changes)
        return await self._repeated(lambda rows: rows.swap_all(generation, changes))

    async def mark_complete(self, generation: str, *, complete: bool = True) -> EngineState:
        return await self._repeated(lambda rows: rows.mark_complete(generation, complete))

    async def note_rights(self) -> EngineState:
        return await _in_any_generation(self._repeated(lambda rows: rows.note_rights()))

    async def clear(self) -> EngineState:
        generation = self._new_generation()
        return await self._write(lambda rows: rows.clear(generation))

    async def tidy(self, tombstones: int = 10_000) -> None:
        now = self._world.now()
        await _in_any_generation(self._write(lambda rows: rows.tidy(tombstones, now)))

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        return await _in_any_generation(self._write(lambda rows: rows.lease(name, holder, seconds)))

    async def release(self, name: str, holder: str) -> None:
        await _in_any_generation(self._write(lambda rows: rows.release(name, holder)))

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        return await _in_any_generation(self._read(lambda rows: rows.link(key, good_after)))

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        return await _in_any_generation(
            self._write(lambda rows: rows.keep_link(key, link, good_after))
        )

    def follow(self, on_beat: Callable[[Beat], None]) -> Feed:
        from pypid.database.catalog_drivers import PollingFeed

        reader = self._opened().state_reader(self._world.clock)
        return PollingFeed(reader, self._feeding, self._world.clock, on_beat)

    async def close(self) -> None:
        await self._world.blocking(self._dispose)
        if self._closed is not None:
            await self._closed()

    # --- transactions ---

    async def _read(self, work: Callable[[CatalogTransaction], T]) -> T:
        return await self._run(work, writing=False)

    async def _write(self, work: Callable[[CatalogTransaction], T], *, making: bool = False) -> T:
        """Run the transaction to its end even if the caller is cancelled."""
        return await shielded(self._run(work, writing=True, making=making))

    async def _repeated(self, work: Callable[[CatalogTransaction], T]) -> T:
        """Run the transaction as `_write`, and once more if the first attempt was interrupted: it
        must be repeatable.
        """
        return await shielded(repeated(self._world.clock, lambda: self._run(work, writing=True)))

    async def _run(
        self, work: Callable[[CatalogTransaction], T], *, writing: bool, making: bool = False
    ) -> T:
        if not writing:
            return await self._ask(work, writing=False)
        turn = self._turns.acquire()
        if not turn.called:
            turn.addTimeout(LONGEST, self._world.clock)
        try:
            await turn
        except TimeoutError:
            raise DatabaseAway(
                "other processes change it, and this change had to wait too long"
            ) from None
        try:
            return await self._ask(work, writing=True, making=making)
        finally:
            self._turns.release()

    async def _ask(
        self, work: Callable[[CatalogTransaction], T], *, writing: bool, making: bool = False
    ) -> T:
        with no_longer_than(LONGEST, self._place, self._world.clock, self._cut):
            return await self._world.blocking(self._perform, work, writing, making)

    def _cut(self) -> None:
        if self._driver is not None:
            self._driver.cut()

    def _new_generation(self) -> str:
        return self._world.random(12).hex()

    # --- in a thread ---

    def _perform(self, work: Callable[[CatalogTransaction], T], writing: bool, making: bool) -> T:
        from pypid.database.catalog_drivers import fault
        from pypid.database.catalog_tables import CatalogTransaction
        from pypid.database.connections import errors

        try:
            driver = self._opened()
            if making:
                driver.make()
            before = driver.which()
            with driver.engine.connect() as connection:
                done = transact(
                    connection, lambda connection: work(CatalogTransaction(connection)), writing
                )
            if (
                driver.which() != before
            ):  # the change was written to a file that was removed or replaced
                raise CatalogReset
            return done
        except errors() as error:
            found = fault(self._place, error)
        # raised outside of `except`: otherwise the exception would hold frames of the driver, with
        # a socket in them, until the garbage is collected
        raise found

    def _opened(self) -> Sqlite | Postgresql:
        with self._opening:
            if self._driver is None:
                self._driver = _driver(self._place, durable=self._durable)
            return self._driver

    def _dispose(self) -> None:
        with self._opening:
            driver, self._driver = self._driver, None
        if driver is not None:
            driver.engine.dispose()


async def _in_any_generation(operation: Coroutine[Any, Any, T]) -> T:
    """Await an operation that takes no generation: report `DatabaseAway` until a follower has reset
    the rows.
    """
    try:
        return await operation
    except CatalogReset:
        raise DatabaseAway("it has to be reset") from None


def _driver(place: Place, *, durable: bool) -> Sqlite | Postgresql:
    match place:
        case SqliteFile():
            from pypid.database.catalog_drivers import Sqlite

            return Sqlite(place, durable=durable)
        case Server():
            from pypid.database.catalog_drivers import Postgresql

            return Postgresql(place)


def catalog_engine(place: Place, world: World, reactor: Any, *, durable: bool = True) -> Engine:
    """Return the engine of the catalog in a database. `durable` as in `SqlSettings`.

    It does not connect yet. Its threads, four and one for its feed, are started when they are
    needed, and end with `Engine.close`. Raises `CannotStart`, with advice, if the driver of a
    server is missing.
    """
    if isinstance(place, Server):
        _check_driver()
    threads, feeding = Threads(reactor, "catalog", THREADS), Threads(reactor, "catalog-feed", 1)

    async def closed() -> None:
        for each in (threads, feeding):
            await each.finish(world.blocking)

    settings = SqlSettings(place, feeding, closed, durable)
    return SqlEngine(settings, evolve(world, blocking=threads))


def _check_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError:  # psycopg itself, or libpq
        raise CannotStart(
            "[database] url names a PostgreSQL database, which needs the extra postgresql. "
            + install_hint("postgresql")
        ) from None
