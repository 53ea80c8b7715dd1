"""Databases in SQLite and PostgreSQL, and what their drivers raise.

SQLite database files in WAL mode. Everything here blocks.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pypid.core.installation import install_hint
from pypid.database.places import SETTING, DatabaseAway, DatabaseUnusable, Place, Server

# Translation of exceptions of SQLAlchemy, of a driver or of the system into database faults.

NO_DATABASE = "the file is not a database"
_NO_ROOM = {sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMMAP}
"""SQLite's extended error codes for the shared-memory index of the write-ahead log, which each
start creates: a full disk yields these in place of `SQLITE_FULL`.
"""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class DatabaseErrorKind(Enum):
    """The kind of a database error."""

    DAMAGED = auto()
    FULL = auto()
    NO_TABLE = auto()
    OTHER_COLUMNS = auto()
    AWAY = auto()
    """The database is unreachable, does not answer, is locked, or raises an unexpected error."""


_STATES = {
    "53100": DatabaseErrorKind.FULL,
    "42P01": DatabaseErrorKind.NO_TABLE,
    "no such table": DatabaseErrorKind.NO_TABLE,
    "42703": DatabaseErrorKind.OTHER_COLUMNS,
    "no such column": DatabaseErrorKind.OTHER_COLUMNS,
}
"""Kinds by the SQLSTATE of PostgreSQL, or by the beginning of SQLite's message."""


def error_kind(error: BaseException) -> DatabaseErrorKind:
    """Return the kind of error that an exception of a database stands for."""
    cause = _cause(error)
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, sqlite3.Error):
        text = str(cause).strip()
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED or text == NO_DATABASE:
            return DatabaseErrorKind.DAMAGED
        if code == sqlite3.SQLITE_FULL or getattr(cause, "sqlite_errorcode", 0) in _NO_ROOM:
            return DatabaseErrorKind.FULL
        state = text.partition(":")[0]
    return _STATES.get(state, DatabaseErrorKind.AWAY)


def away(place: Place, error: BaseException) -> DatabaseAway:
    """Return a `DatabaseAway` with the first line of the driver's message, without secrets."""
    cause = _cause(error)
    lines = place.clean(str(cause)).strip().splitlines() or [""]
    return DatabaseAway(f"{type(cause).__name__}: {lines[0][:300]}")


def _cause(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def errors() -> tuple[type[Exception], ...]:
    """Return the exception classes that a database, its driver or the file system may raise."""
    found: list[type[Exception]] = [SQLAlchemyError, sqlite3.Error, OSError]
    with suppress(ImportError):
        import psycopg

        found.append(psycopg.Error)
    return tuple(found)


CONNECTIONS = 4
BUSY = 5.0
"""Seconds that a writer waits for another one, and a caller for a connection."""
BEGINNING = b"SQLite format 3\0"
"""The first bytes of an SQLite database file."""
SMALLEST = 512
"""Bytes of the smallest database: one page. (SQLite itself rejects longer files that are no
database.)
"""


class SqliteConnection(sqlite3.Connection):
    """A connection of `sqlite_engine`."""

    file: tuple[int, int] = (0, 0)
    """Device and inode of the file that it has opened, whatever file has that name by now."""

    def configure(self, pragmas: Mapping[str, str | int]) -> None:
        """Set the pragmas, in their order."""
        for name, value in pragmas.items():
            self.execute(f"PRAGMA {name} = {value}")

    def confirm_file(self, path: Path, file: tuple[int, int]) -> None:
        """Note that this is the open `file`, which had the name `path` before. Raises
        `sqlite3.OperationalError` if another one has it now.
        """
        if _which(path) != file:  # it may have opened one file, and the log of another
            raise sqlite3.OperationalError("the file was replaced while it was opened")
        self.file = file


class NoRoom(Protocol):
    """Callbacks for a disk that is too full to open a database. Both are called in threads."""

    def make_room(self) -> bool:
        """Free space; return whether there is more of it now."""

    def note_read_only(self) -> None:
        """Note that a read-only connection was opened, which does not see changes by others: it
        must be used once only.
        """


def sqlite_engine(
    path: Path, busy: float, pragmas: Mapping[str, str | int], no_room: NoRoom | None = None
) -> Engine:
    """Return SQLAlchemy's engine for an existing file; `transact` marks the transactions that
    write, and those take turns.

    `pragmas` are set on each connection, in their order. With `no_room` a file on a full disk is
    opened at least for reading.
    """

    engine = create_engine(
        "sqlite://",
        creator=_Opener(path, busy, pragmas, no_room).connect,
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        pool_timeout=BUSY,
        hide_parameters=True,
    )
    event.listen(engine, "begin", _begin)
    return engine


def read_only_engine(
    path: Path, busy: float, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> Engine:
    """Return SQLAlchemy's engine for a file that is opened so that neither it nor any companion
    file is written; no connection is kept.
    """
    address = f"{path.resolve().as_uri()}?mode=ro"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            address, uri=True, timeout=busy, isolation_level=None, factory=factory
        ),
        poolclass=NullPool,
        hide_parameters=True,
    )


@frozen
class _Opener:
    """Opens connections to a file, with the arguments of `sqlite_engine`."""

    path: Path
    busy: float
    pragmas: Mapping[str, str | int]
    no_room: NoRoom | None

    def connect(self) -> SqliteConnection:
        while True:
            try:
                return self._open("mode=rw", {"journal_mode": "WAL"}, self.pragmas)
            except sqlite3.Error as error:
                if self.no_room is None or error_kind(error) is not DatabaseErrorKind.FULL:
                    raise
                if not self.no_room.make_room():
                    break
        if _has_log(self.path):  # its changes are not in the file itself
            raise sqlite3.OperationalError(
                f"the disk is full. Free some space: {self.path}-wal cannot be read without"
            )
        pragmas = {name: value for name, value in self.pragmas.items() if name != "synchronous"}
        connection = self._open("mode=ro&immutable=1", pragmas)
        self.no_room.note_read_only()
        return connection

    def _open(self, mode: str, *pragmas: Mapping[str, str | int]) -> SqliteConnection:
        file = _which(self.path)
        # pypid begins transactions itself: the sqlite3 module begins none before a SELECT, and
        # never an IMMEDIATE one
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=self.busy,
            check_same_thread=False,
            isolation_level=None,
            factory=SqliteConnection,
        )
        try:
            for each in pragmas:
                connection.configure(each)
            connection.confirm_file(self.path, file)
        except BaseException:
            connection.close()
            raise
        return connection


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _has_log(path: Path) -> bool:
    """Return whether a write-ahead log holds changes that are not in the file yet."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _which(path: Path) -> tuple[int, int]:
    """Return device and inode of the file with this name. Raises `OSError`, and
    `sqlite3.DatabaseError` for a file that is too short for a database (SQLite writes over one of a
    single byte).

    The file is not opened for that: a process that closes any descriptor of a file gives up all
    locks that it has on it (POSIX). Another process that ends then takes itself for the last one,
    and removes the log while this process writes it.
    """
    found = path.stat()
    if 0 < found.st_size < SMALLEST:
        raise sqlite3.DatabaseError(NO_DATABASE)
    return found.st_dev, found.st_ino


def make_file(path: Path) -> None:
    """Create an empty database file with mode 0600; its companion files get the same mode. Raises
    `OSError`, but not if the file exists.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


# Connections to a PostgreSQL server. Everything here blocks, except for cutting connections.

POOL_WITHIN = 5.0
"""Seconds that a caller waits for a free connection."""
CONNECTS_WITHIN = 3
STATEMENT_WITHIN = 5
"""Seconds that one statement may take on the server."""


class PostgresqlConnections:
    """A pool of a few open connections, all with short timeouts."""

    def __init__(self, place: Server) -> None:
        self._drivers: set[Any] = set()
        pool = {
            "pool_size": CONNECTIONS,
            "max_overflow": 0,
            "pool_timeout": POOL_WITHIN,
            "pool_recycle": 1800,
        }
        self.engine = server_engine(place, pool_pre_ping=True, **pool)
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "close", self._closed)
        event.listen(self.engine, "close_detached", self._closed)

    def _connected(self, driver: Any, record: Any) -> None:
        self._drivers.add(driver)
        for limited in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            driver.execute(f"SET {limited} = '{STATEMENT_WITHIN}s'")
        driver.commit()

    def _closed(self, driver: Any, record: Any = None) -> None:
        self._drivers.discard(driver)

    def cut(self) -> None:
        """End all waiting for the server, by cutting every connection, for when it keeps
        connections open and does not answer. Does not block.
        """
        for driver in list(self._drivers):
            cut(driver)


def server_engine(place: Server, **pool: Any) -> Engine:
    """Return SQLAlchemy's engine for a server; nothing is connected yet. Raises `DatabaseUnusable`
    if the driver is missing, or for a bad URL.
    """
    try:
        return create_engine(
            place.url,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECTS_WITHIN,
                "application_name": "pypid",
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": STATEMENT_WITHIN * 1000,
                "prepare_threshold": None,  # a pooler may give each transaction another connection
            },
            **pool,
        )
    except ImportError:
        raise DatabaseUnusable(
            "its driver is not installed. " + install_hint("postgresql")
        ) from None
    except (ArgumentError, ValueError, TypeError):
        raise DatabaseUnusable(f"its URL cannot be used: see {SETTING}.") from None


def cut(driver: Any) -> None:
    """End all waiting on this connection, by shutting down its socket. Does not block."""
    with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)
