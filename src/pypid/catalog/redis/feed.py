"""A feed: on a connection of its own it waits for an entry of the stream, or a heartbeat, and then asks for the state.

The entries say nothing: what they would tell is in the state, which is asked for anyway, and so one that is lost, or trimmed,
is not missed. The state names the last entry, so that one which comes before we wait ends the wait at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.catalog import engine
from pypid.catalog.engine import HEARTBEAT, Away, Beat, State, Unusable
from pypid.catalog.redis.connections import Connections
from pypid.catalog.redis.wire import Wire
from pypid.flow import start

SILENCE = 1.0
"""Seconds without an answer, beyond the wait, after which the connection is given up: nobody believes in this feed then."""
AGAIN = 0.2
"""Seconds between two attempts to find back."""
BREATH = 0.01
"""Seconds between two looks: in a storm of changes nobody needs to hear of each."""

Looked = tuple[State, bytes]
"""The state, and the last entry of the stream."""


class StreamFeed:
    """A `Feed`. `look` asks for the state on the connection that it is given."""

    _log = Logger()

    def __init__(
        self,
        connections: Connections,
        news: bytes,
        look: Callable[[Wire], Awaitable[Looked]],
        clock: IReactorTime,
        heard: Callable[[Beat], None],
    ) -> None:
        self._connections = connections
        self._news = news
        self._look = look
        self._clock = clock
        self._heard = heard
        self._stopped = False
        self._lost = False
        self._running: Deferred[None] = start(self._run())

    async def stop(self) -> None:
        ended: Deferred[None] = Deferred()
        self._running.addBoth(lambda result: ended.callback(None))
        if not self._stopped:
            self._stopped = True
            self._running.cancel()
        await ended

    async def _run(self) -> None:
        while not self._stopped:
            try:
                await self._follow()
            except CancelledError:
                if not self._stopped:
                    raise
            except (Away, Unusable) as error:
                if not self._lost and not self._stopped:
                    reason = error.reason.rstrip(".")
                    self._log.warn("The feed of the shared catalog is lost: {reason}. It is tried again.", reason=reason)
                self._lost = True
            except Exception:
                self._log.failure("the feed of the shared catalog failed; it is tried again")
                self._lost = True
            if not self._stopped:
                await deferLater(self._clock, AGAIN)

    async def _follow(self) -> None:
        """As long as the connection holds."""
        wire = await self._connections.open(SILENCE)
        try:
            while True:
                asked = self._clock.seconds()
                state, last = await self._look(wire)
                self._tell(Beat(state, asked))
                waiting = ("XREAD", "BLOCK", round(HEARTBEAT * 1000), "STREAMS", self._news, last)
                await wire.ask(*waiting, patience=HEARTBEAT + SILENCE)
                await deferLater(self._clock, BREATH)
        finally:
            wire.cut()
            await wire.ended

    def _tell(self, beat: Beat) -> None:
        if self._lost:
            self._log.info("The feed of the shared catalog is back.")
            self._lost = False
        try:
            self._heard(beat)
        except Exception:
            self._log.failure("news of the shared catalog were not taken in")


_: type[engine.Feed] = StreamFeed
