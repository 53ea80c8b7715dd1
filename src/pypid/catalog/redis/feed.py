"""A feed over a connection of its own: it waits for an entry of the stream, or for a heartbeat,
and then requests the state.

The entries carry no data: the state, which is requested anyway, has all of it, so a lost or trimmed
entry does no harm. The state names the last entry; an entry that was added before the wait began
ends the wait at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from pypid.catalog import engine
from pypid.catalog.engine import HEARTBEAT, Beat, DatabaseAway, DatabaseUnusable, EngineState
from pypid.catalog.feed_events import AGAIN, SILENCE, FeedEvents
from pypid.catalog.redis.connections import RedisConnections
from pypid.catalog.redis.wire import RedisWire
from pypid.flow import start

BREATH = 0.01
"""Seconds between two looks: in a storm of changes not each one is reported."""

Looked = tuple[EngineState, bytes]
"""The state, and the last entry of the stream."""


class StreamFeed:
    """A `Feed`. `look` requests the state on the connection that it receives."""

    def __init__(
        self,
        connections: RedisConnections,
        news: bytes,
        look: Callable[[RedisWire], Awaitable[Looked]],
        clock: IReactorTime,
        on_beat: Callable[[Beat], None],
    ) -> None:
        self._connections = connections
        self._news = news
        self._look = look
        self._clock = clock
        self._events = FeedEvents(on_beat)
        self._running: Deferred[None] = start(self._run())

    async def stop(self) -> None:
        ended: Deferred[None] = Deferred()
        self._running.addBoth(lambda result: ended.callback(None))
        if self._events.stop():
            self._running.cancel()
        await ended

    async def _run(self) -> None:
        while not self._events.stopped:
            try:
                await self._follow()
            except CancelledError:
                if not self._events.stopped:
                    raise
            except (DatabaseAway, DatabaseUnusable) as error:
                self._events.lose(error)
            except Exception:
                self._events.fail()
            if not self._events.stopped:
                await deferLater(self._clock, AGAIN)

    async def _follow(self) -> None:
        """Report states as long as the connection holds."""
        wire = await self._connections.open(SILENCE)
        try:
            while True:
                requested_at = self._clock.seconds()
                state, last = await self._look(wire)
                self._events.report(Beat(state, requested_at))
                waiting = ("XREAD", "BLOCK", round(HEARTBEAT * 1000), "STREAMS", self._news, last)
                await wire.ask(*waiting, patience=HEARTBEAT + SILENCE)
                await deferLater(self._clock, BREATH)
        finally:
            wire.cut()
            await wire.ended


_: type[engine.Feed] = StreamFeed
