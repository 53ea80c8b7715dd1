"""A file of SQLite in WAL mode. Everything here blocks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from pypid.databases.drivers import NO_DATABASE

CONNECTIONS = 4
BUSY = 5.0
"""Seconds that a writer waits for another one, and whoever asks for a connection."""
BEGINNING = b"SQLite format 3\0"
"""Of a file of SQLite."""
SMALLEST = 512
"""Bytes of one: a page. (Whether one that is as long is a database SQLite says itself.)"""


class Opened(sqlite3.Connection):
    """A connection of `sqlite_engine`."""

    file: tuple[int, int] = (0, 0)
    """Which one it has opened, whatever has its name by now: device and inode."""


def sqlite_engine(path: Path, busy: float, pragmas: Mapping[str, str | int]) -> Engine:
    """SQLAlchemy's engine for a file that is there; `transact` tells it which transactions write, and those take turns.

    `pragmas` are said to each connection, in their order.
    """

    def connect() -> sqlite3.Connection:
        file = _which(path)
        where = f"{path.absolute().as_uri()}?mode=rw"
        # transactions are begun by us: the module's own way begins none before a SELECT, and never an IMMEDIATE one
        made = sqlite3.connect(where, uri=True, timeout=busy, check_same_thread=False, isolation_level=None, factory=Opened)
        try:
            for name, value in {"journal_mode": "WAL", **pragmas}.items():
                made.execute(f"PRAGMA {name} = {value}")
            if _which(path) != file:  # it may have opened one file, and the log of another
                raise sqlite3.OperationalError("the file was replaced while it was opened")
            made.file = file
        except BaseException:
            made.close()
            raise
        return made

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=CONNECTIONS, pool_timeout=BUSY, hide_parameters=True
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _which(path: Path) -> tuple[int, int]:
    """Which file has the name. Raises `OSError`, and where it cannot be a database (SQLite writes over one that is one byte).

    It is not opened for that: whoever closes any descriptor of a file gives up all locks that the process has on it (POSIX).
    Another process that ends then thinks itself the last one, and takes away the log that we are writing.
    """
    found = path.stat()
    if 0 < found.st_size < SMALLEST:
        raise sqlite3.DatabaseError(NO_DATABASE)
    return found.st_dev, found.st_ino


def make_file(path: Path) -> None:
    """An empty database that only we may read; its companions get the same mode. Raises `OSError`, but not if it is there."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
