"""Periodic jobs as services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.flow.coroutines import start


class ClockedLoop(LoopingCall):
    """A `LoopingCall` on this clock."""

    def __init__(self, clock: IReactorTime, call: Callable[..., Any], *args: Any) -> None:
        super().__init__(call, *args)
        self.clock = clock


class Periodic(Service):
    """A service that runs `job` every `interval` seconds, never twice at once; a job that fails is
    logged and tried again next time.

    `stopService` waits for a job under way.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, interval: float, job: Callable[[], Awaitable[object]], what: str
    ) -> None:
        self._job = job
        self._what = what
        self._interval = interval
        self._loop = ClockedLoop(clock, self._run)
        self._ended: Deferred[LoopingCall] | None = None

    def _run(self) -> Deferred[None]:
        return start(self._once())

    async def _once(self) -> None:
        try:
            await self._job()
        except Exception:
            self._log.failure(
                "{what} failed; it is tried again in {interval} s",
                what=self._what,
                interval=self._interval,
            )

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._ended = self._loop.start(self._interval, now=False)

    def stopService(self) -> Deferred[LoopingCall] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        return self._ended


class PeriodicJobs(MultiService):
    """A service that runs several periodic jobs by one clock."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock = clock

    def add_job(self, interval: float, job: Callable[[], Awaitable[object]], what: str) -> None:
        """Run the job as `Periodic` does, as long as this service runs."""
        job_service = Periodic(self._clock, interval, job, what)
        job_service.setServiceParent(self)  # type: ignore[no-untyped-call]
