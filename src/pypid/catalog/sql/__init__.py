"""The shared catalog in a database: SQLite for the processes of one machine, PostgreSQL for several
machines. `open` returns the `Engine`, with threads of its own.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.catalog.engine import Engine
from pypid.catalog.sql.engine import SqlEngine, SqlSettings
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.databases.places import Named, Place, Server, SqliteFile
from pypid.flow import World
from pypid.flow.world import Threads

FILE = "catalog.db"
_CATALOG = Named(
    "the shared catalog",
    "[catalog] url is to be empty (sqlite below [server] state), sqlite:///catalog.db (a file on "
    "this machine, relative to the configuration), sqlite:////folder/catalog.db, or "
    "postgresql://user:password@host/database.",
)
THREADS = 4
"""As many as there are connections."""


def place_of(url: str, folder: Path) -> Place:
    """Return the place that `[catalog] url` names: `FILE` if it is empty; `folder` is what a file
    is relative to.

    Raises `CannotStart`, whose message contains no part of the URL.
    """
    return _CATALOG.place(url, folder) if url else SqliteFile(folder / FILE)


def open(url: str, folder: Path, world: World, reactor: Any) -> Engine:
    """Return the engine in the database that `[catalog] url` names; if that is empty, the file
    ``catalog.db`` in `folder`.

    It does not connect yet. Its threads, four and one for its feed, are started when they are
    needed, and end with `Engine.close`. Raises `CannotStart`, with advice and without any part of
    the URL, if that is invalid or its driver is missing.
    """
    place = place_of(url, folder)
    if isinstance(place, Server):
        _check_driver()
    threads, feeding = Threads(reactor, "catalog", THREADS), Threads(reactor, "catalog-feed", 1)

    async def closed() -> None:
        for each in (threads, feeding):
            await each.finish(world.blocking)

    return SqlEngine(SqlSettings(place, feeding, closed), evolve(world, blocking=threads))


def _check_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError:  # psycopg itself, or libpq
        raise CannotStart(
            "[catalog] url names a PostgreSQL database, which needs the extra postgresql. "
            + install_hint("postgresql")
        ) from None
