"""What an exception of SQLAlchemy, of a driver or of the system is to us."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pypid.catalog.engine import Anew, Away, Full, Unusable
from pypid.catalog.sql.place import Place

NO_DATABASE = "the file is not a database"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NO_TABLE = ("42P01", "no such table")
_OTHER_COLUMNS = ("42703", "no such column")
_NO_ROOM = "53100"


def fault(place: Place, error: BaseException) -> Exception:
    """The exception of `catalog.engine` that says the same."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = place.clean(str(cause)).strip()
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED or text == NO_DATABASE:
            return Unusable("its file is damaged. Stop pypid, delete the file (it is made again from the storage), and start.")
        if code == sqlite3.SQLITE_FULL:
            return Full("there is no room on its disk.")
        state = text.partition(":")[0]
    if state == _NO_ROOM:
        return Full("there is no room on its server's disk.")
    if state in _NO_TABLE:
        return Anew()
    if state in _OTHER_COLUMNS:
        return Unusable("the tables whose names begin with pypid_catalog are not pypid's: give it a database of its own.")
    return Away(f"{type(cause).__name__}: {text.partition(chr(10))[0][:300]}")


def errors() -> tuple[type[Exception], ...]:
    """What a database, its driver or the file system may raise."""
    found: list[type[Exception]] = [SQLAlchemyError, sqlite3.Error, OSError]
    with suppress(ImportError):
        import psycopg

        found.append(psycopg.Error)
    return tuple(found)
