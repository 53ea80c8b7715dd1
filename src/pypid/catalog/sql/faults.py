"""Translation of exceptions of SQLAlchemy, of a driver or of the system for a catalog."""

from __future__ import annotations

from typing import assert_never

from pypid.catalog.engine import CatalogReset, DatabaseFull, DatabaseUnusable
from pypid.databases.drivers import Trouble, away, trouble
from pypid.databases.places import Place, SqliteFile


def fault(place: Place, error: BaseException) -> Exception:
    """Return the exception of `catalog.engine` for an error."""
    match trouble(error):
        case Trouble.DAMAGED:
            return DatabaseUnusable(
                "its file is damaged. Stop pypid, delete the file (it is made again from the "
                "storage), and start."
            )
        case Trouble.FULL:
            disk = "disk" if isinstance(place, SqliteFile) else "server's disk"
            return DatabaseFull(f"there is no room on its {disk}.")
        case Trouble.NO_TABLE:
            return CatalogReset()
        case Trouble.OTHER_COLUMNS:
            return DatabaseUnusable(
                "the tables whose names begin with pypid_catalog are not pypid's: give it a "
                "database of its own."
            )
        case Trouble.AWAY:
            return away(place, error)
        case unknown:
            assert_never(unknown)
