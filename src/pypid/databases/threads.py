"""The threads that wait for a database: few, and of its own, so that one that hangs holds up
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pypid.flow import Blocking, at_once

T = TypeVar("T")


class Threads:
    """A `Blocking` with at most `most` threads, made when they are first needed. While no reactor
    runs: here and now.
    """

    def __init__(self, reactor: Any, name: str, most: int = 4) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=most, name=name)
        self._ended = False

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run the call in one of the threads."""
        if not self._reactor.running or self._ended:
            return at_once(call, *args)
        if not self._pool.started:
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, call, *args)

    def stop(self) -> None:
        """End the threads; waits for what they do, so call it when that is nothing. What is called
        later runs here and now.
        """
        self._ended = True
        if self._pool.started:
            self._pool.stop()

    async def finish(self, blocking: Blocking) -> None:
        """The same, but waits elsewhere, in a thread of `blocking`: the reactor can cut short what
        still goes on.
        """
        self._ended = True
        if self._pool.started:
            await blocking(self._pool.stop)


_: type[Blocking] = Threads
