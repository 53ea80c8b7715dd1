"""Translation of exceptions of SQLAlchemy, of a driver or of the system into database faults."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pypid.databases.faults import DatabaseAway
from pypid.databases.places import Place

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
