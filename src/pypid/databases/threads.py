"""A small thread pool that waits for a database: separate, so that a database that hangs blocks
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
    """A `Blocking` with at most `most` threads, started when they are first needed. While no
    reactor runs, calls run in the current thread.
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
        """Stop the threads, and wait for their work: call it when there is none. Later calls run in
        the current thread.
        """
        self._ended = True
        if self._pool.started:
            self._pool.stop()

    async def finish(self, blocking: Blocking) -> None:
        """Stop the threads, and wait for their work in a thread of `blocking`, so that the reactor
        can cut it short.
        """
        self._ended = True
        if self._pool.started:
            await blocking(self._pool.stop)


_: type[Blocking] = Threads
