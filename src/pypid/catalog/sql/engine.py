"""An `Engine` in a database: each operation is one transaction, in one of a few threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore, TimeoutError
from twisted.logger import Logger

from pypid.catalog.engine import (
    MOST_ROWS,
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseAway,
    Engine,
    EngineState,
    Feed,
    Position,
    RowChange,
    RowKind,
    Slice,
    repeated,
)
from pypid.catalog.sql.batches import ChangeBatches
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.databases.places import Place, Server, SqliteFile
from pypid.databases.transactions import no_longer_than, transact
from pypid.flow import Blocking, World, shielded

if TYPE_CHECKING:
    from pypid.catalog.sql.postgresql import Postgresql
    from pypid.catalog.sql.rows import CatalogTransaction
    from pypid.catalog.sql.sqlite import Sqlite

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


class SqlEngine:
    """An `Engine`. Cheap to create: nothing is imported or opened before it is used."""

    def __init__(self, settings: SqlSettings, world: World) -> None:
        self._place = settings.place
        self._feeding = settings.feeding
        self._closed = settings.closed
        self._world = world
        self._opening = Lock()
        self._turns = DeferredSemaphore(WRITERS if isinstance(settings.place, Server) else 1)
        self._driver: Sqlite | Postgresql | None = None
        self._batches = ChangeBatches(self._swap, world.clock, LONGEST)

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        from pypid.catalog.sql.schema import SCHEMA, prepare

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

    async def row(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        return await self._read(lambda rows: rows.row(kind, name))

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        return await self._read(lambda rows: rows.changes(since, most))

    async def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        if change.line is None and not change.expected:
            raise ValueError(f"{change.name} is taken out of where it is not")
        return await self._batches.swap(generation, change)

    async def _swap(
        self, generation: str, changes: Sequence[RowChange]
    ) -> list[CatalogRow | Conflict]:
        return await self._repeated(
            lambda rows: [rows.swap(generation, change) for change in changes]
        )

    async def mark_complete(self, generation: str) -> EngineState:
        return await self._repeated(lambda rows: rows.mark_complete(generation))

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
        from pypid.catalog.sql.feed import PollingFeed

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
            raise DatabaseAway("others change it, and this one's turn did not come") from None
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
        from pypid.catalog.sql.faults import fault
        from pypid.catalog.sql.rows import CatalogTransaction
        from pypid.databases.drivers import errors

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
                self._driver = _driver(self._place)
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


def _driver(place: Place) -> Sqlite | Postgresql:
    match place:
        case SqliteFile():
            from pypid.catalog.sql.sqlite import Sqlite

            return Sqlite(place)
        case Server():
            from pypid.catalog.sql.postgresql import Postgresql

            return Postgresql(place)


_: type[Engine] = SqlEngine
