"""The shared catalog in SQLite and in PostgreSQL: connections, changes that others made, faults.

The shared catalog in a SQLite file in WAL mode, for the processes of one machine. Everything
here blocks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, assert_never

from attrs import define, field
from sqlalchemy import Connection, Engine, NullPool, Pool, event, select
from sqlalchemy.exc import DisconnectionError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.database import engine
from pypid.database.catalog_tables import CHANNEL, PLACE, CatalogTransaction, rows
from pypid.database.connections import (
    BUSY,
    STATEMENT_WITHIN,
    DatabaseErrorKind,
    PostgresqlConnections,
    SqliteConnection,
    away,
    cut,
    error_kind,
    errors,
    make_file,
    server_engine,
    sqlite_engine,
)
from pypid.database.engine import HEARTBEAT, Beat, CatalogReset, EngineState, RowKind
from pypid.database.places import (
    DatabaseAway,
    DatabaseFull,
    DatabaseUnusable,
    Place,
    Server,
    SqliteFile,
)
from pypid.flow import Blocking, start
from pypid.flow.conditions import ClockedLoop

# The common part of all feeds: they report beats, and log when the feed is lost and when it is
# back.

_log = Logger()

SILENCE = 1.0
"""Seconds without an answer after which the connection is given up: nodes no longer trust this
feed.
"""
AGAIN = 0.2
"""Seconds between two attempts to reconnect."""


@define(eq=False)
class FeedEvents:
    """The receiver of a feed's events; it calls `on_beat` for each beat. After `stopped` nothing is
    reported or logged.
    """

    on_beat: Callable[[Beat], None]
    stopped: bool = field(default=False, init=False)
    _lost: bool = field(default=False, init=False)

    def stop(self) -> bool:
        """Report and log nothing from now on; return whether it reported until now."""
        reported, self.stopped = not self.stopped, True
        return reported

    def report(self, beat: Beat) -> None:
        """Report a state; an exception of `on_beat` is only logged."""
        if self.stopped:
            return
        if self._lost:
            _log.info("The feed of the shared catalog is available again.")
            self._lost = False
        try:
            self.on_beat(beat)
        except Exception:
            _log.failure("a change reported by the shared catalog could not be applied")

    def lose(self, error: Exception) -> None:
        """Log that the engine is unavailable, once."""
        if not self._lost and not self.stopped:
            reason = str(error).rstrip(".")
            _log.warn(
                "The feed of the shared catalog is unavailable: {reason}. pypid reconnects.",
                reason=reason,
            )
        self._lost = True

    def fail(self) -> None:
        """Log an unexpected exception."""
        _log.failure("the feed of the shared catalog failed; pypid reconnects")
        self._lost = True


# A feed that polls or listens in a thread of its own, and reports the state.


class StateReader(Protocol):
    """One connection for the feed alone, opened when it is needed. Except for `cut` it is used in
    one thread.
    """

    @property
    def pause(self) -> float:
        """Seconds between two looks."""

    def look(self) -> Beat:
        """Return the state, soon after it changed, or after `HEARTBEAT` at the latest. Raises
        `DatabaseAway`, `DatabaseUnusable` and `CatalogReset`.
        """

    def cut(self) -> None:
        """End the waiting of `look`. Called in another thread; does not block."""

    def close(self) -> None:
        """Close the connection."""


class PollingFeed:
    """A `Feed`. `feeding` has a thread that is used for nothing else."""

    def __init__(
        self,
        reader: StateReader,
        feeding: Blocking,
        clock: IReactorTime,
        on_beat: Callable[[Beat], None],
    ) -> None:
        self._reader = reader
        self._feeding = feeding
        self._clock = clock
        self._events = FeedEvents(on_beat)
        self._not_before = 0.0
        self._loop = ClockedLoop(clock, lambda: start(self._step()))
        self._ended: Deferred[LoopingCall] = self._loop.start(reader.pause, now=False)

    async def stop(self) -> None:
        if not self._events.stop():
            return
        self._loop.stop()
        self._reader.cut()
        await self._ended
        await self._feeding(self._reader.close)

    async def _step(self) -> None:
        if self._clock.seconds() < self._not_before:
            return
        late = self._clock.callLater(SILENCE, self._reader.cut)
        try:
            beat = await self._feeding(self._reader.look)
        except (DatabaseAway, DatabaseUnusable, CatalogReset) as error:
            self._events.lose(error)
            await self._let_go()
        except Exception:
            self._events.fail()
            await self._let_go()
        else:
            self._events.report(beat)
        finally:
            if late.active():
                late.cancel()

    async def _let_go(self) -> None:
        self._not_before = self._clock.seconds() + AGAIN
        await self._feeding(self._reader.close)


_polling_feed: type[engine.Feed] = PollingFeed


# Translation of exceptions of SQLAlchemy, of a driver or of the system for a catalog.


def fault(place: Place, error: BaseException) -> Exception:
    """Return the exception of `database.engine` for an error."""
    match error_kind(error):
        case DatabaseErrorKind.DAMAGED:
            return DatabaseUnusable(
                "its file is damaged. Stop pypid, delete the file (it is made again from the "
                "storage), and start."
            )
        case DatabaseErrorKind.FULL:
            disk = "disk" if isinstance(place, SqliteFile) else "server's disk"
            return DatabaseFull(f"there is no room on its {disk}.")
        case DatabaseErrorKind.NO_TABLE:
            return CatalogReset()
        case DatabaseErrorKind.OTHER_COLUMNS:
            return DatabaseUnusable(
                "the tables whose names begin with pypid_catalog are of another version of pypid, "
                "or not pypid's. Run the same version everywhere, or give it a database of its own."
            )
        case DatabaseErrorKind.AWAY:
            return away(place, error)
        case unknown:
            assert_never(unknown)


POLL = 0.1
PRAGMAS: Mapping[str, str | int] = {
    # Changes survive the end of the process; a power cut may undo the last ones, but never an
    # earlier one alone. `SqlSettings.durable` says who needs more.
    "synchronous": "NORMAL",
    "journal_size_limit": 1 << 26,
}
_COMPANIONS = ("-wal", "-shm")


class Sqlite:
    """The connections to the file."""

    def __init__(
        self, place: SqliteFile, busy: float | None = None, *, durable: bool = True
    ) -> None:
        self.place = place
        self._durable = durable
        self._busy = BUSY if busy is None else busy
        self.engine = self._engine()

    def make(self) -> None:
        """Create an empty database that only pypid's user may read, if there is none."""
        _make(self.place.path)

    def which(self) -> object:
        """Return the identity of the file. Raises `CatalogReset` if there is none. (A file that was
        put in its place is another generation.)
        """
        found = identity(self.place.path)
        if found is None:
            raise CatalogReset
        return found

    def cut(self) -> None:
        """Do nothing: waits for a file are short."""

    def state_reader(self, clock: IReactorTime) -> StateReader:
        """Return the feed's connection."""
        return SqliteStateReader(self.place, clock)

    def _engine(self) -> Engine:
        pragmas = {**PRAGMAS, "synchronous": "FULL"} if self._durable else PRAGMAS
        engine = sqlite_engine(self.place.path, self._busy, pragmas)
        _follow_the_name(engine.pool, self.place.path)
        return engine


def _follow_the_name(pool: Pool, path: Path) -> None:
    """Discard connections to a file that was replaced or removed."""

    def connected(driver: SqliteConnection, record: Any) -> None:
        record.info[PLACE] = str(driver.file[1])

    def taken(driver: Any, record: Any, proxy: Any) -> None:
        if record.info[PLACE] != identity(path):
            raise DisconnectionError

    event.listen(pool, "connect", connected)
    event.listen(pool, "checkout", taken)


def identity(path: Path) -> str | None:
    """Return the identity of the file with this name, its inode; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return str(found.st_ino)


def _make(path: Path) -> None:
    """Create the database, one process at a time: companion files of a deleted database are
    removed, since SQLite would take them for the new one's.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return
        for companion in _COMPANIONS:
            path.with_name(path.name + companion).unlink(missing_ok=True)
        make_file(path)
    finally:
        os.close(folder)


def has_local_projects(path: Path) -> bool:
    """Return whether the catalog in this file lists local projects of any index; False if there is
    no such file, or it cannot be read. Blocks.
    """
    if identity(path) is None:
        return False
    engine = sqlite_engine(path, BUSY, {})
    is_local = rows.c.kind != RowKind.UPSTREAM.value  # older tables have further kinds
    found = select(rows.c.name).where(is_local, rows.c.status.is_not(None)).limit(1)
    try:
        with engine.connect() as connection:
            return connection.execute(found).first() is not None
    except errors():
        return False
    finally:
        engine.dispose()


class SqliteStateReader:
    """Polls the file's ``data_version``, which another connection's commit changes, on a connection
    of its own.
    """

    pause = POLL

    def __init__(self, place: SqliteFile, clock: IReactorTime) -> None:
        self._place = place
        self._clock = clock
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._identity: str | None = None
        self._seen: tuple[int, EngineState] | None = None

    def look(self) -> Beat:
        try:
            if self._connection is None:
                self._open()
            assert self._connection is not None
            if identity(self._place.path) != self._identity:
                raise CatalogReset
            requested_at = self._clock.seconds()
            with self._connection.begin():
                return Beat(self._state(self._connection), requested_at)
        except errors() as error:
            found = fault(self._place, error)
        raise found

    def _state(self, connection: Connection) -> EngineState:
        version: int = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        if self._seen is None or self._seen[0] != version:
            self._seen = version, CatalogTransaction(connection).state()
        return self._seen[1]

    def _open(self) -> None:
        self._identity = identity(self._place.path)
        if self._identity is None:
            raise CatalogReset
        self._engine = Sqlite(self._place, busy=HEARTBEAT).engine
        self._connection = self._engine.connect()

    def cut(self) -> None:
        """Do nothing: looks are short."""

    def close(self) -> None:
        connection, self._connection, self._seen = self._connection, None, None
        if connection is not None:
            with suppress(*errors()):
                connection.close()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


_sqlite_state_reader: type[StateReader] = SqliteStateReader


# The shared catalog in PostgreSQL, for several machines. Everything here blocks.

PAUSE = 0.02
"""Seconds between two looks, so that a storm of changes causes no more."""


class Postgresql(PostgresqlConnections):
    """The connections to a server."""

    def __init__(self, place: Server) -> None:
        super().__init__(place)
        self.place = place

    def make(self) -> None:
        """Do nothing: the database of a server exists."""

    def which(self) -> object:
        """Return None: there is only one database."""
        return None

    def state_reader(self, clock: IReactorTime) -> StateReader:
        """Return the feed's connection."""
        return PostgresqlListener(self.place, clock)


class PostgresqlListener:
    """Waits for notifications (``LISTEN``), and reads the state after each, and from time to time
    without any.

    So a notification that is lost, or held back by a pooler, costs only `HEARTBEAT`.
    """

    pause = PAUSE

    def __init__(self, place: Server, clock: IReactorTime) -> None:
        self._place = place
        self._clock = clock
        self._connection: Connection | None = None
        self._driver: Any = None

    def look(self) -> Beat:
        try:
            if self._connection is None:
                self._connection = self._open()
            else:
                for _ in self._driver.notifies(timeout=HEARTBEAT - 2 * PAUSE, stop_after=1):
                    pass
            requested_at = self._clock.seconds()
            return Beat(CatalogTransaction(self._connection).state(), requested_at)
        except errors() as error:
            found = fault(self._place, error)
        raise found

    def _open(self) -> Connection:
        engine = server_engine(self._place, poolclass=NullPool)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._driver = connection.connection.driver_connection
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_WITHIN}s'")
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return connection

    def cut(self) -> None:
        if self._driver is not None:
            cut(self._driver)

    def close(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(*errors()):
                connection.close()


_postgresql_listener: type[StateReader] = PostgresqlListener
