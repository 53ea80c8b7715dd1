"""Long jobs: their progress, in a line every few seconds for the log and for the client that
started the job; and many small ones at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from attrs import Factory, define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.flow import start
from pypid.flow.conditions import ClockedLoop

_log = Logger()

EVERY = 5.0
"""Seconds between two lines."""

Tell = Callable[[str], None]
"""Callback that receives one line; may be called at any time until the job ends."""


@define
class Progress:
    """Reports the progress of a job, at most every `EVERY` seconds; a shorter job reports
    nothing.
    """

    clock: IReactorTime
    tell: Tell | None = None
    _last: float = field(
        default=Factory(lambda self: self.clock.seconds(), takes_self=True), init=False
    )

    def at(self, line: Callable[[], str]) -> None:
        """Report `line()` if it is time. Call this often; `line` is only called when needed."""
        if self.clock.seconds() - self._last < EVERY:
            return
        self._last = self.clock.seconds()
        text = line()
        _log.info("{said}", said=text)
        if self.tell is not None:
            self.tell(text)


class Repeated(ClockedLoop):
    """Calls `say` at once and then every `interval` seconds, for as long as the ``with`` block
    lasts.
    """

    def __init__(self, clock: IReactorTime, interval: float, say: Callable[[], object]) -> None:
        super().__init__(clock, say)
        self._seconds = interval

    def __enter__(self) -> None:
        self.start(self._seconds).addErrback(
            lambda failure: _log.failure("reporting progress failed", failure=failure)
        )

    def __exit__(self, *of_the_block: object) -> None:
        if self.running:
            self.stop()


# Run many small jobs with bounded concurrency: a remote storage answers each only after a while,
# however small it is.

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, T]]


@define(eq=False)
class JobGroup:
    """Runs at most `most` jobs at once. The first failure is raised by `add` or `ended`, whichever
    comes next.
    """

    most: int
    _running: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _waiting: Deferred[None] | None = field(default=None, init=False, repr=False)
    _failure: BaseException | None = field(default=None, init=False)

    async def add(self, job: Job[None]) -> None:
        """Start the job once a slot is free. For one caller at a time."""
        while len(self._running) >= self.most:
            await self._one_ends()
        self._raise()
        running = start(job())
        self._running.add(running)
        running.addErrback(self._failed)
        running.addBoth(lambda _: self._ended(running))

    async def ended(self) -> None:
        """Wait for all running jobs."""
        while self._running:
            await self._one_ends()
        self._raise()

    async def cancel(self) -> None:
        """Cancel the running jobs and wait until they have ended; raises nothing."""
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
    """Return the results of the jobs, in their order. If one fails, or this is cancelled, the
    others are cancelled.
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
