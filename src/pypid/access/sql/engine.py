"""SQLAlchemy's engine for a place. Everything here blocks."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pypid.access.sql.faults import Away, Unusable
from pypid.access.sql.place import Place, Server, SqliteFile
from pypid.core.errors import StorageFull

CONNECTIONS = 4
BUSY = 5.0
"""Seconds that a writer waits for another one."""
CONNECTS_WITHIN = 3
STATEMENT_WITHIN = 5
"""Seconds, of a server."""
_BEGINNING = b"SQLite format 3\0"
_NO_DATABASE = "the file is not a database"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Engines:
    """The engine of a place, and the connections that it has open."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._drivers: set[Any] = set()
        match place:
            case SqliteFile():
                self.engine = _sqlite(place)
            case Server():
                self.engine = self._server(place)

    def _server(self, place: Server) -> Engine:
        try:
            engine = create_engine(
                place.url,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=BUSY,
                pool_pre_ping=True,
                pool_recycle=1800,
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
            )
        except ImportError:
            raise Unusable("its driver is not installed: pip install 'pypid[postgresql]'.") from None
        except (ArgumentError, ValueError, TypeError):
            raise Unusable("its URL cannot be used: see [access] url.") from None

        @event.listens_for(engine, "connect")
        def connected(driver: Any, record: Any) -> None:
            self._drivers.add(driver)
            driver.autocommit = True
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                driver.execute(f"SET {setting} = '{STATEMENT_WITHIN}s'")
            driver.autocommit = False

        @event.listens_for(engine, "close")
        @event.listens_for(engine, "close_detached")
        def closed(driver: Any, record: Any = None) -> None:
            self._drivers.discard(driver)

        return engine

    def cut(self) -> None:
        """Have everybody who waits for the server wait no longer: it keeps connections and does not answer. Does not block."""
        for driver in list(self._drivers):
            with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as connection:
                connection.shutdown(socket.SHUT_RDWR)


def _sqlite(place: SqliteFile) -> Engine:
    where = f"{place.path.absolute().as_uri()}?mode=rw"
    synchronous = "FULL" if place.of_record else "NORMAL"

    def connect() -> sqlite3.Connection:
        # transactions are begun by us: the module's own way begins none before a SELECT, and never an IMMEDIATE one
        if not _is_database(place.path):
            raise sqlite3.DatabaseError(_NO_DATABASE)
        made = sqlite3.connect(where, uri=True, timeout=BUSY, check_same_thread=False, isolation_level=None)
        made.execute("PRAGMA journal_mode = WAL")
        made.execute(f"PRAGMA synchronous = {synchronous}")
        made.execute("PRAGMA foreign_keys = ON")
        return made

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=CONNECTIONS, pool_timeout=BUSY, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _is_database(path: Path) -> bool:
    """Whether it may be one. (SQLite takes a file of some bytes for an empty database, and writes over it.)"""
    with path.open("rb") as file:
        beginning = file.read(len(_BEGINNING))
    return beginning in (b"", _BEGINNING)


def make_file(path: Path) -> None:
    """An empty database that only we may read; its companions get the same mode. Raises `OSError`, but not if it is there."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def fault(place: Place, error: BaseException) -> Exception:
    """What an exception of SQLAlchemy, of a driver or of the system is to us."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED or str(cause) == _NO_DATABASE:
            return Unusable(
                "it is damaged. Put a copy of it from a backup in its place; or, if there is none, move it away, and pypid "
                "begins a new one."
            )
        if code == sqlite3.SQLITE_FULL:
            return StorageFull("state folder")
    if getattr(cause, "sqlstate", None) == "53100":
        return StorageFull("accounts database")
    lines = place.clean(str(cause)).strip().splitlines() or [""]
    return Away(f"{type(cause).__name__}: {lines[0][:300]}")


def errors() -> tuple[type[Exception], ...]:
    """What a database, its driver or the file system may raise."""
    found: list[type[Exception]] = [SQLAlchemyError, sqlite3.Error, OSError]
    with suppress(ImportError):
        import psycopg

        found.append(psycopg.Error)
    return tuple(found)


Work = Callable[[Connection], Any]
