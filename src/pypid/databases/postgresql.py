"""Connections to a PostgreSQL server. Everything here blocks, except for cutting connections."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import ArgumentError

from pypid.core.installation import install_hint
from pypid.databases.faults import DatabaseUnusable
from pypid.databases.places import Server

CONNECTIONS = 4
POOL_WITHIN = 5.0
"""Seconds that a caller waits for a free connection."""
CONNECTS_WITHIN = 3
STATEMENT_WITHIN = 5
"""Seconds that one statement may take on the server."""


class PostgresqlConnections:
    """A pool of a few open connections, all with short timeouts. `setting` names the URL's place in
    the configuration: ``[access] url``.
    """

    def __init__(self, place: Server, setting: str) -> None:
        self._drivers: set[Any] = set()
        pool = {
            "pool_size": CONNECTIONS,
            "max_overflow": 0,
            "pool_timeout": POOL_WITHIN,
            "pool_recycle": 1800,
        }
        self.engine = server_engine(place, setting, pool_pre_ping=True, **pool)
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "close", self._closed)
        event.listen(self.engine, "close_detached", self._closed)

    def _connected(self, driver: Any, record: Any) -> None:
        self._drivers.add(driver)
        for limited in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            driver.execute(f"SET {limited} = '{STATEMENT_WITHIN}s'")
        driver.commit()

    def _closed(self, driver: Any, record: Any = None) -> None:
        self._drivers.discard(driver)

    def cut(self) -> None:
        """End all waiting for the server, by cutting every connection, for when it keeps
        connections open and does not answer. Does not block.
        """
        for driver in list(self._drivers):
            cut(driver)


def server_engine(place: Server, setting: str, **pool: Any) -> Engine:
    """Return SQLAlchemy's engine for a server; nothing is connected yet. Raises `DatabaseUnusable`
    if the driver is missing, or for a bad URL.
    """
    try:
        return create_engine(
            place.url,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECTS_WITHIN,
                "application_name": "pypid",
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": STATEMENT_WITHIN * 1000,
                "prepare_threshold": None,  # a pooler may give each transaction another connection
            },
            **pool,
        )
    except ImportError:
        raise DatabaseUnusable(
            "its driver is not installed. " + install_hint("postgresql")
        ) from None
    except (ArgumentError, ValueError, TypeError):
        raise DatabaseUnusable(f"its URL cannot be used: see {setting}.") from None


def cut(driver: Any) -> None:
    """End all waiting on this connection, by shutting down its socket. Does not block."""
    with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)
