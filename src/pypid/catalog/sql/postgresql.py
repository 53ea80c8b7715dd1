"""The shared catalog in PostgreSQL, for several machines. Everything here blocks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, NullPool
from twisted.internet.interfaces import IReactorTime

from pypid.catalog.engine import HEARTBEAT, Beat
from pypid.catalog.sql.faults import fault
from pypid.catalog.sql.feed import StateReader
from pypid.catalog.sql.rows import CHANNEL, CatalogTransaction
from pypid.databases.drivers import errors
from pypid.databases.places import Server
from pypid.databases.postgresql import STATEMENT_WITHIN, PostgresqlConnections, cut, server_engine

SETTING = "[catalog] url"
PAUSE = 0.02
"""Seconds between two looks, so that a storm of changes causes no more."""


class Postgresql(PostgresqlConnections):
    """The connections to a server."""

    def __init__(self, place: Server) -> None:
        super().__init__(place, SETTING)
        self.place = place

    def make(self) -> None:
        """Do nothing: the database of a server exists."""

    def which(self) -> object:
        """Return None: there is only one database."""
        return None

    def state_reader(self, clock: IReactorTime) -> StateReader:
        """Return the feed's connection."""
        return PostgresqlListener(self.place, clock)


class PostgresqlListener:
    """Waits for notifications (``LISTEN``), and reads the state after each, and from time to time
    without any.

    So a notification that is lost, or held back by a pooler, costs only `HEARTBEAT`.
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
            requested_at = self._clock.seconds()
            return Beat(CatalogTransaction(self._connection).state(), requested_at)
        except errors() as error:
            found = fault(self._place, error)
        raise found

    def _open(self) -> Connection:
        engine = server_engine(self._place, SETTING, poolclass=NullPool)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._driver = connection.connection.driver_connection
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_WITHIN}s'")
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return connection

    def cut(self) -> None:
        if self._driver is not None:
            cut(self._driver)

    def close(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(*errors()):
                connection.close()


_: type[StateReader] = PostgresqlListener
