"""Many small jobs of which some run at once: a storage far away answers each after a while, however
small it is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pypid.flow import start

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, T]]


@define(eq=False)
class JobGroup:
    """Runs jobs, at most `most` at once. The first failure is raised by `add` or `ended`, whichever
    comes next.
    """

    most: int
    _running: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _waiting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _failure: BaseException | None = field(default=None, init=False)

    async def add(self, job: Job[None]) -> None:
        """Begin the job, once there is room for it. For one caller at a time."""
        while len(self._running) >= self.most:
            await self._one_ends()
        self._raise()
        running = start(job())
        self._running.add(running)
        running.addErrback(self._failed)
        running.addBoth(lambda _: self._ended(running))

    async def ended(self) -> None:
        """Wait for all that runs."""
        while self._running:
            await self._one_ends()
        self._raise()

    async def cancel(self) -> None:
        """Break off what runs, and wait until it has ended; nothing is raised."""
        for running in list(self._running):
            running.cancel()
        while self._running:
            await self._one_ends()

    def _failed(self, failure: Failure) -> None:
        self._failure = self._failure or failure.value

    def _ended(self, running: Deferred[None]) -> None:
        self._running.discard(running)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _one_ends(self) -> None:
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure


async def all_of(jobs: Iterable[Job[T]], most: int) -> list[T]:
    """The results of the jobs, in their order. If one fails, or this is cancelled, the others are
    broken off.
    """
    results: dict[int, T] = {}
    together = JobGroup(most)

    def storing(number: int, job: Job[T]) -> Job[None]:
        async def run() -> None:
            results[number] = await job()

        return run

    try:
        for number, job in enumerate(jobs):
            await together.add(storing(number, job))
        await together.ended()
    except BaseException:
        await together.cancel()
        raise
    return [results[number] for number in sorted(results)]
