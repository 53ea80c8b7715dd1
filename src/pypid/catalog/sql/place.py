"""The location of a shared catalog."""

from __future__ import annotations

from pathlib import Path

from pypid.databases.places import Named, Place, Server, SqliteFile

__all__ = ["Place", "Server", "SqliteFile", "place_of"]

FILE = "catalog.db"
_CATALOG = Named(
    "the shared catalog",
    "[catalog] url is to be empty (sqlite below [server] state), sqlite:///catalog.db (a file on "
    "this machine, relative to the configuration), sqlite:////folder/catalog.db, or "
    "postgresql://user:password@host/database.",
)


def place_of(url: str, folder: Path) -> Place:
    """Return the place that `[catalog] url` names: `FILE` if it is empty; `folder` is what a file is
    relative to.

    Raises `CannotStart`, whose message contains no part of the URL.
    """
    return _CATALOG.place(url, folder) if url else SqliteFile(folder / FILE)
