"""Read the names of users and groups from the accounts database, beside a running pypid or without
one. Nothing is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, NullPool, create_engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from pypid.access.sql.tables import groups, users
from pypid.core.configuration.doubts import AccountNames
from pypid.databases.drivers import away
from pypid.databases.places import Place, Server
from pypid.databases.postgresql import server_engine

_LOCKED = 5.0
"""Seconds to wait for a writer."""


def read_names(place: Place) -> AccountNames:
    """Return the names; none if no pypid has used the database yet. Blocks.

    Raises `DatabaseAway` and `DatabaseUnusable`.
    """
    if not place.is_there():
        return AccountNames(frozenset(), frozenset())
    with _connected(place) as connection:
        if not inspect(connection).has_table(users.name):  # no pypid has used the database yet
            return AccountNames(frozenset(), frozenset())
        return AccountNames(
            frozenset(connection.scalars(select(users.c.name))),
            frozenset(connection.scalars(select(groups.c.name))),
        )


@contextmanager
def _connected(place: Place) -> Iterator[Connection]:
    if isinstance(place, Server):
        engine = server_engine(place, "[access] url", poolclass=NullPool)
    else:
        address = f"{place.path.resolve().as_uri()}?mode=ro"
        engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(address, uri=True, timeout=_LOCKED),
            poolclass=NullPool,
            hide_parameters=True,
        )
    try:
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise away(place, error) from None
    finally:
        engine.dispose()
