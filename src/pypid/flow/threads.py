"""Threads for calls that block: the disk, databases, computation."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pypid.flow.world import Blocking, at_once

T = TypeVar("T")


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


_: type[Blocking] = Threads
