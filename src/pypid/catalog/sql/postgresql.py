"""A PostgreSQL, for several machines. Everything here blocks."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import ArgumentError
from twisted.internet.interfaces import IReactorTime

from pypid.catalog.engine import HEARTBEAT, Beat, Unusable
from pypid.catalog.sql.faults import errors, fault
from pypid.catalog.sql.feed import Looking
from pypid.catalog.sql.place import Server
from pypid.catalog.sql.rows import CHANNEL, read

CONNECTIONS = 4
POOL_WITHIN = 5.0
CONNECTS_WITHIN = 3
STATEMENT_WITHIN = 5
"""Seconds, of a server."""
PAUSE = 0.02
"""Seconds: so many looks, and not more, follow a storm of changes."""


class Postgresql:
    """The connections to a server."""

    def __init__(self, place: Server) -> None:
        self.place = place
        self._drivers: set[Any] = set()
        self.engine = _engine(place, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=POOL_WITHIN, pool_pre_ping=True)
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "close", self._closed)
        event.listen(self.engine, "close_detached", self._closed)

    def _connected(self, driver: Any, record: Any) -> None:
        self._drivers.add(driver)
        driver.autocommit = True
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            driver.execute(f"SET {setting} = '{STATEMENT_WITHIN}s'")
        driver.autocommit = False

    def _closed(self, driver: Any, record: Any = None) -> None:
        self._drivers.discard(driver)

    def make(self) -> None:
        """It is there."""

    def which(self) -> object:
        """There is only one."""
        return None

    def cut(self) -> None:
        """Have everybody who waits for the server wait no longer: it keeps connections and does not answer. Does not block."""
        for driver in list(self._drivers):
            _cut(driver)

    def looking(self, clock: IReactorTime) -> Looking:
        """What a feed looks with."""
        return Listening(self.place, clock)


class Listening:
    """Listens (``LISTEN``), and asks for the state after each notification, and from time to time without any.

    So a notification that is lost, or that a pooler keeps, costs `HEARTBEAT` and nothing else.
    """

    pause = PAUSE

    def __init__(self, place: Server, clock: IReactorTime) -> None:
        self._place = place
        self._clock = clock
        self._connection: Connection | None = None
        self._driver: Any = None

    def look(self) -> Beat:
        try:
            if self._connection is None:
                self._connection = self._open()
            else:
                for _ in self._driver.notifies(timeout=HEARTBEAT - 2 * PAUSE, stop_after=1):
                    pass
            asked = self._clock.seconds()
            return Beat(read(self._connection), asked)
        except errors() as error:
            found = fault(self._place, error)
        raise found

    def _open(self) -> Connection:
        engine = _engine(self._place, poolclass=NullPool)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._driver = connection.connection.driver_connection
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_WITHIN}s'")
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return connection

    def cut(self) -> None:
        if self._driver is not None:
            _cut(self._driver)

    def close(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(*errors()):
                connection.close()


def _engine(place: Server, **pool: Any) -> Engine:
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
        raise Unusable("its driver is not installed: pip install 'pypid[postgresql]'.") from None
    except (ArgumentError, ValueError, TypeError):
        raise Unusable("its URL cannot be used: see [cache] url.") from None


def _cut(driver: Any) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


_: type[Looking] = Listening
