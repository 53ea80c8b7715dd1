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


def sqlite_engine(path: Path, busy: float, pragmas: Mapping[str, str | int]) -> Engine:
    """SQLAlchemy's engine for a file that is there; `transact` tells it which transactions write, and those take turns.

    `pragmas` are said to each connection, in their order.
    """

    def connect() -> sqlite3.Connection:
        # transactions are begun by us: the module's own way begins none before a SELECT, and never an IMMEDIATE one
        if not is_database(path):
            raise sqlite3.DatabaseError(NO_DATABASE)
        where = f"{path.absolute().as_uri()}?mode=rw"
        made = sqlite3.connect(where, uri=True, timeout=busy, check_same_thread=False, isolation_level=None)
        for name, value in {"journal_mode": "WAL", **pragmas}.items():
            made.execute(f"PRAGMA {name} = {value}")
        return made

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=CONNECTIONS, pool_timeout=BUSY, hide_parameters=True
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def is_database(path: Path) -> bool:
    """Whether it may be one. (SQLite takes a file of some bytes for an empty database, and writes over it.)"""
    with path.open("rb") as file:
        beginning = file.read(len(BEGINNING))
    return beginning in (b"", BEGINNING)


def make_file(path: Path) -> None:
    """An empty database that only we may read; its companions get the same mode. Raises `OSError`, but not if it is there."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
