"""SQLAlchemy's engine for an accounts database, and translation of its exceptions. Everything here
blocks.
"""

from __future__ import annotations

from sqlalchemy import Engine

from pypid.core.errors import StorageFull
from pypid.databases.drivers import DatabaseErrorKind, away, error_kind
from pypid.databases.faults import DatabaseUnusable
from pypid.databases.places import Place, Server, SqliteFile
from pypid.databases.postgresql import PostgresqlConnections
from pypid.databases.sqlite import BUSY, NoRoom, sqlite_engine

SETTING = "[access] url"


class Engines:
    """The engine of a place, and its open connections."""

    def __init__(self, place: Place, no_room: NoRoom | None = None) -> None:
        self._connections: PostgresqlConnections | None = None
        match place:
            case SqliteFile():
                self.engine = _sqlite(place, no_room)
            case Server():
                self._connections = PostgresqlConnections(place, SETTING)
                self.engine = self._connections.engine

    def cut(self) -> None:
        """End all waiting for the server, by cutting every connection, for when it keeps
        connections open and does not answer. Does not block.
        """
        if self._connections is not None:
            self._connections.cut()


def _sqlite(place: SqliteFile, no_room: NoRoom | None) -> Engine:
    pragmas = {"synchronous": "FULL" if place.of_record else "NORMAL", "foreign_keys": "ON"}
    return sqlite_engine(place.path, BUSY, pragmas, no_room if place.of_record else None)


def fault(place: Place, error: BaseException) -> Exception:
    """Return pypid's error for an exception of SQLAlchemy, of a driver or of the system."""
    match error_kind(error):
        case DatabaseErrorKind.DAMAGED:
            return DatabaseUnusable(
                "it is damaged. Put a copy of it from a backup in its place. If there is none, "
                "move it away: pypid begins a new one, or says how to go on without these accounts."
            )
        case DatabaseErrorKind.FULL:
            return StorageFull(
                "state folder" if isinstance(place, SqliteFile) else "accounts database"
            )
        case _:
            return away(place, error)
