"""The catalog in a database: SQLite for the processes of one machine, PostgreSQL for several
machines. `open` returns the `Engine`, with threads of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from attrs import evolve

from pypid.catalog.engine import Engine
from pypid.catalog.sql.engine import SqlEngine, SqlSettings
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.databases.places import Place, Server
from pypid.flow import World
from pypid.flow.world import Threads

FILE = "catalog.db"
THREADS = 4
"""As many as there are connections."""


def open(place: Place, world: World, reactor: Any, *, durable: bool = True) -> Engine:
    """Return the engine of the catalog in a database. `durable` as in `SqlSettings`.

    It does not connect yet. Its threads, four and one for its feed, are started when they are
    needed, and end with `Engine.close`. Raises `CannotStart`, with advice, if the driver of a
    server is missing.
    """
    if isinstance(place, Server):
        _check_driver()
    threads, feeding = Threads(reactor, "catalog", THREADS), Threads(reactor, "catalog-feed", 1)

    async def closed() -> None:
        for each in (threads, feeding):
            await each.finish(world.blocking)

    settings = SqlSettings(place, feeding, closed, durable)
    return SqlEngine(settings, evolve(world, blocking=threads))


def _check_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError:  # psycopg itself, or libpq
        raise CannotStart(
            "[database] url names a PostgreSQL database, which needs the extra postgresql. "
            + install_hint("postgresql")
        ) from None
