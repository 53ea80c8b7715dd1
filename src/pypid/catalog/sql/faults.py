"""Translation of exceptions of SQLAlchemy, of a driver or of the system for a catalog."""

from __future__ import annotations

from typing import assert_never

from pypid.catalog.engine import CatalogReset, DatabaseFull, DatabaseUnusable
from pypid.databases.drivers import DatabaseErrorKind, away, error_kind
from pypid.databases.places import Place, SqliteFile


def fault(place: Place, error: BaseException) -> Exception:
    """Return the exception of `catalog.engine` for an error."""
    match error_kind(error):
        case DatabaseErrorKind.DAMAGED:
            return DatabaseUnusable(
                "its file is damaged. Stop pypid, delete the file (it is made again from the "
                "storage), and start."
            )
        case DatabaseErrorKind.FULL:
            disk = "disk" if isinstance(place, SqliteFile) else "server's disk"
            return DatabaseFull(f"there is no room on its {disk}.")
        case DatabaseErrorKind.NO_TABLE:
            return CatalogReset()
        case DatabaseErrorKind.OTHER_COLUMNS:
            return DatabaseUnusable(
                "the tables whose names begin with pypid_catalog are not pypid's: give it a "
                "database of its own."
            )
        case DatabaseErrorKind.AWAY:
            return away(place, error)
        case unknown:
            assert_never(unknown)
