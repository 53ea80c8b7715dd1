"""The shared catalog in a SQLite file in WAL mode, for the processes of one machine. Everything
here blocks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Pool, event
from sqlalchemy.exc import DisconnectionError
from twisted.internet.interfaces import IReactorTime

from pypid.catalog.engine import HEARTBEAT, Beat, CatalogReset, EngineState
from pypid.catalog.sql.faults import fault
from pypid.catalog.sql.feed import StateReader
from pypid.catalog.sql.rows import CatalogTransaction
from pypid.catalog.sql.schema import PLACE
from pypid.databases.drivers import errors
from pypid.databases.places import SqliteFile
from pypid.databases.sqlite import BUSY, SqliteConnection, make_file, sqlite_engine

POLL = 0.1
PRAGMAS: Mapping[str, str | int] = {
    # acknowledged changes survive a power cut: "complete" stays, and what is not here then counts
    # as absent
    "synchronous": "FULL",
    "journal_size_limit": 1 << 26,
}
_COMPANIONS = ("-wal", "-shm")


class Sqlite:
    """The connections to the file."""

    def __init__(self, place: SqliteFile, busy: float | None = None) -> None:
        self.place = place
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
        engine = sqlite_engine(self.place.path, self._busy, PRAGMAS)
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


_: type[StateReader] = SqliteStateReader
