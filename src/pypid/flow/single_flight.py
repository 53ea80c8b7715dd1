"""Jobs and locks by key: callers share a job that is under way, or wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore

from pypid.flow.coroutines import start

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Flights(Generic[K, T]):
    """Shared jobs by key: while a job is under way, other callers wait for the same result.

    The job runs to its end even if all callers go away.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[T]]] = {}

    def __contains__(self, key: K) -> bool:
        """Return whether a job for this key is under way."""
        return key in self._waiting

    async def single(self, key: K, job: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `job`, or of the job for `key` that is under way."""
        mine: Deferred[T] = Deferred(canceller=lambda _: None)
        if key in self._waiting:
            self._waiting[key].append(mine)
            return await mine
        self._waiting[key] = [mine]

        def land(settle: Callable[[Deferred[T]], None]) -> None:
            for waiter in self._waiting.pop(key):
                if not waiter.called:
                    settle(waiter)

        start(job()).addCallbacks(
            lambda value: land(lambda waiter: waiter.callback(value)),
            lambda failure: land(lambda waiter: waiter.errback(failure)),
        )
        return await mine


class JobLimit:
    """At most so many jobs at a time; the others wait for their turn."""

    def __init__(self, most: int) -> None:
        self._semaphore = DeferredSemaphore(most)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Take a turn; callers get it in the order of their calls."""
        await self._semaphore.acquire()
        try:
            yield
        finally:
            self._semaphore.release()


class Locks(Generic[K]):
    """A lock for each key, which exists only while it is held or wanted."""

    def __init__(self) -> None:
        self._locks: dict[K, tuple[DeferredLock, int]] = {}

    def held(self, key: K) -> bool:
        """Return whether the lock is held or wanted."""
        return key in self._locks

    async def until_released(self) -> None:
        """Wait until all locks that are held or requested now are released."""
        for key in [*self._locks]:
            async with self.hold(key):
                pass

    @asynccontextmanager
    async def hold(self, key: K) -> AsyncIterator[None]:
        """Hold the key's lock; callers get it in the order of their calls."""
        lock, wanted = self._locks.get(key, (DeferredLock(), 0))
        self._locks[key] = (lock, wanted + 1)
        try:
            await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, wanted = self._locks[key]
            if wanted == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, wanted - 1)
