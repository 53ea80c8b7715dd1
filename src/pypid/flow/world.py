"""The outside world: clock, threads, randomness and counters, as everything else receives them.

The outside world as factories receive it: clock, threads, randomness, counters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from attrs import Factory, field, frozen
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

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


# The clock of the process: monotonic, so that setting the machine's wall clock moves no timer and
# no age.
#
# Twisted's reactors schedule by `time.time`. After the wall clock was set back by an hour (NTP, a
# resumed virtual machine) a timer of ten seconds fires an hour late. `use_monotonic_clock` gives a
# reactor another clock, which counts suspension, too.

_log = Logger()

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TWISTED = ("_newTimedCalls", "_pendingTimedCalls")
"""The private names of `ReactorBase` that hold its delayed calls; a test asserts that they
exist.
"""


def boot_seconds() -> float:
    """Return the seconds since the machine booted, including those in which it was suspended."""
    return time.clock_gettime(_CLOCK)


def use_monotonic_clock(reactor: Any) -> bool:
    """Make `reactor` schedule by `boot_seconds`; return whether it does. Calls that are scheduled
    already keep their delay.

    A reactor that schedules in another way than `ReactorBase` keeps its clock, with a warning.
    """
    if reactor.seconds is boot_seconds:
        return True
    if not isinstance(reactor, ReactorBase):  # a test clock
        return False
    if not _is_known(reactor):
        _log.warn(
            (
                "timers follow the wall clock: reactor={reactor} cannot be given another one. Set "
                "the clock by slewing only."
            ),
            reactor=type(reactor).__name__,
        )
        return False
    shift = boot_seconds() - reactor.seconds()
    # Twisted's reactor and its calls take their clock from attributes, and offer nothing else
    for call in (*reactor._newTimedCalls, *reactor._pendingTimedCalls):
        call.time += shift  # equal for all calls: the heap stays a heap
        call.seconds = boot_seconds
    reactor.seconds = boot_seconds
    return True


def _is_known(reactor: ReactorBase) -> bool:
    """Return whether the reactor's timers are those of `ReactorBase`, which reads the clock from
    `self.seconds`.
    """
    return (
        type(reactor).callLater is ReactorBase.callLater
        and type(reactor).timeout is ReactorBase.timeout
        and all(hasattr(reactor, name) for name in _TWISTED)
    )


# Threads for calls that block: the disk, databases, computation.


class Threads:
    """A `Blocking` with at most `most` threads, started when they are needed, and stopped with the
    reactor. While no reactor runs, calls run in the current thread. Used in the reactor thread.

    Twisted's pool has a queue for each thread. Here a thread takes the next call without sleeping
    in between: with eight calls at a time, each costs 10 us of CPU instead of 60.
    """

    def __init__(self, reactor: Any, name: str, most: int = 4) -> None:
        self._reactor = reactor
        self._name = name
        self._most = most
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._ended = False
        self._count = 0
        """Number of calls whose result the reactor thread does not have yet."""

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run the call in one of the threads, in the context of the caller: log lines have its
        request id.
        """
        if not self._reactor.running or self._ended:
            return at_once(call, *args)
        result: Deferred[T] = Deferred()
        context = copy_context()

        def job() -> None:
            outcome: T | Failure
            try:
                outcome = context.run(call, *args)
            except BaseException:
                outcome = Failure()  # type: ignore[no-untyped-call]
            self._reactor.callFromThread(self._settle, result, outcome)

        if len(self._threads) < min(self._count + 1, self._most):
            self._grow()
        self._count += 1
        self._calls.put(job)
        return result

    @property
    def busy(self) -> int:
        """The number of threads that run a call."""
        return min(self._count, len(self._threads))

    @property
    def idle(self) -> int:
        """The number of threads that wait for a call."""
        return len(self._threads) - self.busy

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return self._count - self.busy

    def _grow(self) -> None:
        if not self._threads:
            self._reactor.addSystemEventTrigger("during", "shutdown", self.stop)
        thread = Thread(target=self._work, name=f"{self._name}-{len(self._threads)}")
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            job()
            del job  # what it refers to need not wait for the next call

    def _settle(self, result: Deferred[T], outcome: T | Failure) -> None:
        self._count -= 1
        result.callback(outcome)

    def stop(self) -> None:
        """Stop the threads, and wait for their work. Later calls run in the current thread."""
        self._ended = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    async def finish(self, blocking: Blocking) -> None:
        """Stop the threads, and wait for their work in a thread of `blocking`, so that the reactor
        can cut it short.
        """
        self._ended = True
        await blocking(self.stop)
