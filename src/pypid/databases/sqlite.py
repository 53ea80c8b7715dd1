"""SQLite database files in WAL mode. Everything here blocks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attrs import frozen
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from pypid.databases.drivers import NO_DATABASE, DatabaseErrorKind, error_kind

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
