"""Connections to the server: opened when they are needed, a few stay open, each used by one
question at a time.
"""

# Twisted's endpoint for Unix sockets is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredSemaphore,
    TimeoutError,
)
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from pypid.catalog.engine import DatabaseAway, DatabaseUnusable
from pypid.catalog.redis.faults import loss
from pypid.catalog.redis.place import Host, RedisPlace
from pypid.catalog.redis.wire import PATIENCE, RedisWire

_log = Logger()

CONNECTIONS = 4
REACHED_WITHIN = 3.0
"""Seconds for a connection to be made."""
IDLE = 30.0
"""Seconds after which an idle connection is not used again: a firewall may have dropped it
silently.
"""
OLDEST = 5
"""The first Redis with streams, whose scripts may write after a command with a varying result."""


class _Wires(Factory):
    noisy = False

    def __init__(self, place: RedisPlace, clock: IReactorTime) -> None:
        self._made = place, clock

    def buildProtocol(self, addr: object) -> RedisWire:
        return RedisWire(*self._made)


class RedisConnections:
    """The connections of one node. `reactor` makes them; waiting is by `clock`."""

    def __init__(self, place: RedisPlace, reactor: Any, clock: IReactorTime) -> None:
        self.place = place
        self._reactor = reactor
        self._clock = clock
        self._free = DeferredSemaphore(CONNECTIONS)
        self._idle: list[RedisWire] = []
        self._all: set[RedisWire] = set()
        self._connecting: set[Deferred[Any]] = set()
        self._closings = 0
        self._policy = "noeviction"

    @asynccontextmanager
    async def one(self) -> AsyncIterator[RedisWire]:
        """Yield a connection for exclusive use. Raises `DatabaseAway` and `DatabaseUnusable`, if
        none is available.
        """
        turn = self._free.acquire()
        try:
            await turn.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            raise DatabaseAway(
                f"{self.place.server} does not answer: others wait already"
            ) from None
        closings = self._closings
        try:
            wire = self._kept() or await self.open()
            try:
                yield wire
            finally:
                if wire.is_open and closings == self._closings:
                    self._idle.append(wire)
                else:  # and the idle ones lead to the same server
                    self._cut(wire, *self._idle)
        finally:
            self._free.release()

    def _kept(self) -> RedisWire | None:
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open and wire.silent_for() < IDLE:
                return wire
            wire.cut()
        return None

    def _cut(self, *wires: RedisWire) -> None:
        self._idle.clear()
        for wire in wires:
            wire.cut()

    async def open(self, patience: float = PATIENCE) -> RedisWire:
        """Return a new connection, which the caller `cut`s. Raises `DatabaseAway` and
        `DatabaseUnusable`.
        """
        wire = await self._reached()
        self._all.add(wire)
        wire.ended.addCallback(lambda _: self._all.discard(wire))
        try:
            await self._enter(wire, patience)
        except BaseException:
            wire.cut()
            raise
        return wire

    async def _reached(self) -> RedisWire:
        closings = self._closings
        connecting: Deferred[Any] = self._endpoint().connect(_Wires(self.place, self._clock))
        self._connecting.add(connecting)
        try:
            wire: RedisWire = await connecting.addTimeout(REACHED_WITHIN, self._clock)
            return wire
        except CancelledError:
            if closings == self._closings:  # and not by `close`
                raise
            raise DatabaseAway("it was closed") from None
        except Exception as error:
            raise loss(self.place, error) from None
        finally:
            self._connecting.discard(connecting)

    def _endpoint(self) -> IStreamClientEndpoint:
        server = self.place.server
        if not isinstance(server, Host):
            return UNIXClientEndpoint(self._reactor, server.path, timeout=REACHED_WITHIN)
        endpoint = HostnameEndpoint(self._reactor, server.name, server.port, timeout=REACHED_WITHIN)
        return wrapClientTLS(optionsForClientTLS(server.name), endpoint) if server.tls else endpoint

    async def _enter(self, wire: RedisWire, patience: float) -> None:
        """Log in, and check that the server can be used."""
        info = await wire.log_in(patience)
        if not wire.run or not info.get("redis_version", "0").partition(".")[0].isdecimal():
            raise DatabaseUnusable(
                "it does not say which process it is (INFO, run_id), so pypid cannot tell "
                "whether it lost data."
            )
        if int(info["redis_version"].partition(".")[0]) < OLDEST:
            raise DatabaseUnusable(
                f"it is a Redis {info['redis_version'][:20]}. Use Redis {OLDEST} or later."
            )
        self._note_policy(info.get("maxmemory_policy", "noeviction"))

    def _note_policy(self, policy: str) -> None:
        was, self._policy = self._policy, policy
        if policy not in ("noeviction", was):
            _log.warn(
                "The Redis of the shared catalog throws keys away where memory is short "
                "(maxmemory-policy {policy}): then the catalog is reset, and compared with "
                "the storage again, or leases end too early. Set it to noeviction.",
                policy=policy,
            )

    async def close(self) -> None:
        """End all connections. Callers that wait for an answer get `DatabaseAway`."""
        self._closings += 1
        for connecting in list(self._connecting):
            connecting.cancel()
        self._cut(*self._all)
        await DeferredList([wire.ended for wire in self._all])
