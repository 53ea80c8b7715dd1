"""The outside world as factories receive it: clock, threads, randomness, counters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime

from pypid.flow.coroutines import shielded, start
from pypid.metrics.counts import Counts

T = TypeVar("T")


class Blocking(Protocol):
    """A runner of blocking calls, off the reactor thread."""

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]: ...


@frozen
class InTurn:
    """A `Blocking` for computation: one call after the other.

    Such calls take Python's lock from the reactor, for 5 ms at a time; with only one of them the
    reactor gets it back then.
    """

    blocking: Blocking
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        return start(self._in_turn(call, args))

    async def _in_turn(self, call: Callable[..., T], args: tuple[Any, ...]) -> T:
        await self._turn.acquire()
        return await shielded(self._run(call, args))

    async def _run(self, call: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Run the call. A thread cannot be cancelled: the turn ends when the call has ended."""
        try:
            return await self.blocking(call, *args)
        finally:
            self._turn.release()

    @property
    def waiting(self) -> int:
        """The number of calls that wait for their turn."""
        return len(self._turn.waiting)


@frozen
class World:
    """The outside world as factories receive it: nothing else in pypid has a clock, threads or
    randomness.
    """

    clock: IReactorTime
    now: Callable[[], datetime]
    """Return the time of day, aware, UTC."""
    blocking: Blocking
    random: Callable[[int], bytes]
    """Return that many unpredictable bytes."""
    thinking: Blocking = field(
        default=Factory(lambda world: InTurn(world.blocking), takes_self=True), repr=False
    )
    """A `Blocking` for computation that takes longer than some milliseconds: see `InTurn`."""
    counts: Counts = field(factory=Counts, repr=False, eq=False)
    """The counters of everything, for `/metrics`."""


def at_once(call: Callable[..., T], *args: Any) -> Deferred[T]:
    """Run the call here and now: a `Blocking` for tests and tools without a reactor."""
    try:
        return succeed(call(*args))
    except Exception:
        failed: Deferred[T] = Deferred()
        failed.errback()
        return failed
