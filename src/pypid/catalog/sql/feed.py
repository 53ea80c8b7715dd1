"""A feed that polls or listens in a thread of its own, and reports the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from pypid.catalog import engine
from pypid.catalog.engine import Beat, CatalogReset, DatabaseAway, DatabaseUnusable
from pypid.catalog.feed_events import AGAIN, SILENCE, FeedEvents
from pypid.flow import Blocking, start
from pypid.flow.periodic import ClockedLoop


class StateReader(Protocol):
    """One connection for the feed alone, opened when it is needed. Except for `cut` it is used in
    one thread.
    """

    @property
    def pause(self) -> float:
        """Seconds between two looks."""

    def look(self) -> Beat:
        """Return the state, soon after it changed, or after `HEARTBEAT` at the latest. Raises
        `DatabaseAway`, `DatabaseUnusable` and `CatalogReset`.
        """

    def cut(self) -> None:
        """End the waiting of `look`. Called in another thread; does not block."""

    def close(self) -> None:
        """Close the connection."""


class PollingFeed:
    """A `Feed`. `feeding` has a thread that is used for nothing else."""

    def __init__(
        self,
        reader: StateReader,
        feeding: Blocking,
        clock: IReactorTime,
        on_beat: Callable[[Beat], None],
    ) -> None:
        self._reader = reader
        self._feeding = feeding
        self._clock = clock
        self._events = FeedEvents(on_beat)
        self._not_before = 0.0
        self._loop = ClockedLoop(clock, lambda: start(self._step()))
        self._ended: Deferred[LoopingCall] = self._loop.start(reader.pause, now=False)

    async def stop(self) -> None:
        if not self._events.stop():
            return
        self._loop.stop()
        self._reader.cut()
        await self._ended
        await self._feeding(self._reader.close)

    async def _step(self) -> None:
        if self._clock.seconds() < self._not_before:
            return
        late = self._clock.callLater(SILENCE, self._reader.cut)
        try:
            beat = await self._feeding(self._reader.look)
        except (DatabaseAway, DatabaseUnusable, CatalogReset) as error:
            self._events.lose(error)
            await self._let_go()
        except Exception:
            self._events.fail()
            await self._let_go()
        else:
            self._events.report(beat)
        finally:
            if late.active():
                late.cancel()

    async def _let_go(self) -> None:
        self._not_before = self._clock.seconds() + AGAIN
        await self._feeding(self._reader.close)


_: type[engine.Feed] = PollingFeed
