"""A feed: somebody looks, again and again, in a thread of its own, and tells of what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.catalog import engine
from pypid.catalog.engine import Anew, Away, Beat, Unusable
from pypid.flow import Blocking, start

SILENCE = 1.0
"""Seconds without an answer after which the connection is given up: nobody believes in this feed any longer."""
AGAIN = 0.2
"""Seconds between two attempts to find back."""


class Looking(Protocol):
    """One connection that is used for nothing else, opened when it is needed. But for `cut` it is used in one thread."""

    @property
    def pause(self) -> float:
        """Seconds between two looks."""

    def look(self) -> Beat:
        """The state, soon after it changed, or after `HEARTBEAT` at the latest. Raises `Away`, `Unusable` and `Anew`."""

    def cut(self) -> None:
        """Have `look` wait no longer. Called in another thread; does not block."""

    def close(self) -> None:
        """Let go of the connection."""


class LookingFeed:
    """A `Feed`. `feeding` has a thread that nothing else waits for."""

    _log = Logger()

    def __init__(self, looking: Looking, feeding: Blocking, clock: IReactorTime, heard: Callable[[Beat], None]) -> None:
        self._looking = looking
        self._feeding = feeding
        self._clock = clock
        self._heard = heard
        self._stopped = False
        self._lost = False
        self._not_before = 0.0
        self._loop = LoopingCall(lambda: start(self._step()))
        self._loop.clock = clock
        self._ended: Deferred[LoopingCall] = self._loop.start(looking.pause, now=False)

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._loop.stop()
        self._looking.cut()
        await self._ended
        await self._feeding(self._looking.close)

    async def _step(self) -> None:
        if self._clock.seconds() < self._not_before:
            return
        late = self._clock.callLater(SILENCE, self._looking.cut)
        try:
            beat = await self._feeding(self._looking.look)
        except (Away, Unusable, Anew) as error:
            await self._lose(error)
        except Exception:
            self._log.failure("the feed of the shared catalog failed; it is tried again")
            await self._lose(None)
        else:
            self._tell(beat)
        finally:
            if late.active():
                late.cancel()

    async def _lose(self, error: Exception | None) -> None:
        if not self._lost and not self._stopped and error is not None:
            reason = str(error).rstrip(".")
            self._log.warn("The feed of the shared catalog is lost: {reason}. It is tried again.", reason=reason)
        self._lost = True
        self._not_before = self._clock.seconds() + AGAIN
        await self._feeding(self._looking.close)

    def _tell(self, beat: Beat) -> None:
        if self._stopped:
            return
        if self._lost:
            self._log.info("The feed of the shared catalog is back.")
            self._lost = False
        try:
            self._heard(beat)
        except Exception:
            self._log.failure("news of the shared catalog were not taken in")


_: type[engine.Feed] = LookingFeed
