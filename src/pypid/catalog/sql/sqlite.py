"""A file of SQLite in WAL mode, for the processes of one machine. Everything here blocks."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Pool, QueuePool, create_engine, event
from sqlalchemy.exc import DisconnectionError
from twisted.internet.interfaces import IReactorTime

from pypid.catalog.engine import HEARTBEAT, Anew, Beat, State
from pypid.catalog.sql.faults import NO_DATABASE, errors, fault
from pypid.catalog.sql.feed import Looking
from pypid.catalog.sql.place import SqliteFile
from pypid.catalog.sql.rows import read
from pypid.catalog.sql.schema import PLACE

CONNECTIONS = 4
BUSY = 5.0
"""Seconds that a writer waits for another one."""
POLL = 0.1
_COMPANIONS = ("-wal", "-shm")
_BEGINNING = b"SQLite format 3\0"


class Sqlite:
    """The file's connections."""

    def __init__(self, place: SqliteFile, busy: float | None = None) -> None:
        self.place = place
        self._busy = BUSY if busy is None else busy
        self.engine = self._engine()

    def make(self) -> None:
        """An empty database that only we may read, where there is none."""
        _make(self.place.path)

    def which(self) -> object:
        """Which file it is. Raises `Anew` where there is none. (One that was put in its place is another epoch.)"""
        found = identity(self.place.path)
        if found is None:
            raise Anew
        return found

    def cut(self) -> None:
        """Nobody waits for a file for long."""

    def looking(self, clock: IReactorTime) -> Looking:
        """What a feed looks with."""
        return Polling(self.place, clock)

    def _engine(self) -> Engine:
        path = self.place.path

        def connect() -> sqlite3.Connection:
            # transactions are begun by us: the module's own way begins none before a SELECT, and never an IMMEDIATE one
            if not _is_database(path):
                raise sqlite3.DatabaseError(NO_DATABASE)
            where = f"{path.absolute().as_uri()}?mode=rw"
            made = sqlite3.connect(where, uri=True, timeout=self._busy, check_same_thread=False, isolation_level=None)
            made.execute("PRAGMA journal_mode = WAL")
            # what was acknowledged is there after a power cut, too: "complete" stays, and what is not here is then absent
            made.execute("PRAGMA synchronous = FULL")
            made.execute("PRAGMA journal_size_limit = 67108864")
            return made

        engine = create_engine(
            "sqlite://", creator=connect, poolclass=QueuePool, pool_size=CONNECTIONS, pool_timeout=BUSY, hide_parameters=True
        )
        event.listen(engine, "begin", _begin)
        _follow_the_name(engine.pool, path)
        return engine


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _follow_the_name(pool: Pool, path: Path) -> None:
    """Have connections to a file that has lost its name thrown away."""

    def connected(driver: Any, record: Any) -> None:
        record.info[PLACE] = identity(path)

    def taken(driver: Any, record: Any, proxy: Any) -> None:
        if record.info[PLACE] != identity(path):
            raise DisconnectionError

    event.listen(pool, "connect", connected)
    event.listen(pool, "checkout", taken)


def identity(path: Path) -> str | None:
    """Which file has the name: its inode."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return str(found.st_ino)


def _is_database(path: Path) -> bool:
    """Whether it may be one. (SQLite takes a file of some bytes for an empty database, and writes over it.)"""
    with path.open("rb") as file:
        beginning = file.read(len(_BEGINNING))
    return beginning in (b"", _BEGINNING)


def _make(path: Path) -> None:
    """One process at a time: what is left over of a file that was deleted would be taken for the new one's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return
        for companion in _COMPANIONS:
            path.with_name(path.name + companion).unlink(missing_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    finally:
        os.close(folder)


class Polling:
    """Looks at the file's ``data_version``, which another connection's commit changes, on a connection of its own."""

    pause = POLL

    def __init__(self, place: SqliteFile, clock: IReactorTime) -> None:
        self._place = place
        self._clock = clock
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._identity: str | None = None
        self._seen: tuple[int, State] | None = None

    def look(self) -> Beat:
        try:
            if self._connection is None:
                self._open()
            assert self._connection is not None
            if identity(self._place.path) != self._identity:
                raise Anew
            asked = self._clock.seconds()
            with self._connection.begin():
                return Beat(self._state(self._connection), asked)
        except errors() as error:
            found = fault(self._place, error)
        raise found

    def _state(self, connection: Connection) -> State:
        version: int = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        if self._seen is None or self._seen[0] != version:
            self._seen = version, read(connection)
        return self._seen[1]

    def _open(self) -> None:
        self._identity = identity(self._place.path)
        if self._identity is None:
            raise Anew
        self._engine = Sqlite(self._place, busy=HEARTBEAT).engine
        self._connection = self._engine.connect()

    def cut(self) -> None:
        """It waits for nobody."""

    def close(self) -> None:
        connection, self._connection, self._seen = self._connection, None, None
        if connection is not None:
            with suppress(*errors()):
                connection.close()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


_: type[Looking] = Polling
