"""The location of the accounts, the audit log and the downloads."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.databases.places import Named, Place, Server, SqliteFile

__all__ = ["Place", "Server", "SqliteFile", "place_of"]

_ACCOUNTS = Named(
    "the accounts database",
    "[access] url is to be empty (sqlite below [server] state), sqlite:////folder/accounts.db, or "
    "postgresql://user:password@host/database.",
)


def place_of(url: str, file: Path, *, of_record: bool = True) -> Place:
    """Return the place that `[access] url` names, else `file`. Raises `CannotStart`, whose message
    contains no part of the URL.
    """
    place = _ACCOUNTS.place(url) if url else SqliteFile(file)
    return evolve(place, of_record=of_record) if isinstance(place, SqliteFile) else place
