"""The condition of the parts that pypid works with. Periodic checks record it, so that reading it
never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from typing import Any

from attrs import Factory, define, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.core.errors import Missing
from pypid.flow.coroutines import start
from pypid.ports import Blobs

# Periodic jobs as services.


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


_log = Logger()

EVERY = 5.0
"""Seconds between two checks."""
PATIENCE = 3.0
"""Seconds within which an answer must come."""


def _always() -> bool:
    return True


@define(slots=False, eq=False)
class Condition:
    """The last known condition of each part. Reading it never waits, since it is read often.

    `access`: whether the accounts can be read. `cache`: whether the catalog can be read; one in
    memory always can. `shows`: whether what the catalog held before may still be shown. `storage`:
    whether the files can be reached.
    """

    access: Callable[[], bool] = _always
    cache: Callable[[], bool] = _always
    shows: Callable[[], bool] = _always
    storage: Callable[[], bool] = _always
    differs: Callable[[], Collection[str]] = tuple
    """What this node differs in from another node of the same index: ``settings``, ``clock``."""
    watches: tuple[HealthWatch, ...] = ()
    """The watches of the parts, once they run."""
    stopping: bool = False
    """Whether pypid is about to stop: no new clients should come."""

    def begin_to_stop(self) -> None:
        """Report from now on that pypid stops."""
        self.stopping = True

    def doubt(self) -> None:
        """Check at once the parts that are taken to be well; called after a part was found
        unavailable.
        """
        for watch in self.watches:
            if watch.is_well:
                watch.check_now()


@define(slots=False, eq=False)
class HealthWatch(Service):
    """A periodic check of a part, which records and logs when the part becomes unavailable or is
    back.

    `check` returns False, or raises, where the part is unavailable. It never runs twice at once: a
    part that hangs (a network disk) would take one thread after the other. After `PATIENCE` the
    part counts as unavailable; the result of the check counts whenever it comes.
    """

    clock: IReactorTime
    part: str
    check: Callable[[], Awaitable[bool]] = field(repr=False)
    is_well: bool = True
    _has_failed: bool = field(default=False, init=False)
    """Whether a check has failed. A bucket counts as unavailable before its first check, too, and
    is not available *again* after it.
    """
    _checking: Deferred[None] | None = field(default=None, init=False, repr=False)
    _loop: ClockedLoop = field(
        default=Factory(lambda self: ClockedLoop(self.clock, self.check_now), takes_self=True),
        init=False,
        repr=False,
    )

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(EVERY, now=True)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        if self._checking is not None:
            self._checking.cancel()

    def check_now(self) -> None:
        """Start a check, unless one is under way. Never waits, never fails."""
        if self._checking is None or self._checking.called:
            self._checking = start(self._check())

    async def _check(self) -> None:
        late = self.clock.callLater(PATIENCE, self._record, False)
        try:
            is_well = await self.check()
        except Exception as error:
            if isinstance(error, CancelledError) and not self.running:
                return
            _log.debug("{part}: {error}", part=self.part, error=type(error).__name__)
            is_well = False
        finally:
            if late.active():
                late.cancel()
        self._record(is_well)

    def _record(self, is_well: bool) -> None:
        self._has_failed = self._has_failed or not is_well
        if is_well is not self.is_well:
            self.is_well = is_well
            if not is_well:
                _log.warn("the {part} is unavailable, and /ready reports it", part=self.part)
            elif self._has_failed:
                _log.info("the {part} is available again", part=self.part)


def check_of_blob(blobs: Blobs, key: str, *, never_empty: bool) -> Callable[[], Awaitable[bool]]:
    """Return a check of the storage that looks up the blob `key`; whether the blob exists does not
    matter.

    But a storage that is `never_empty`, since `key` was written into it, and is empty now is the
    folder of a disk that is not mounted. (One from which only `key` was removed is still readable.)
    """

    async def check() -> bool:
        try:
            await blobs.stat(key)
        except Missing:
            return not never_empty or await _has_anything(blobs)
        return True

    return check


def check_of_answer(
    ask: Callable[[], Awaitable[object]], *recorded: type[Exception]
) -> Callable[[], Awaitable[bool]]:
    """Return a check that succeeds if `ask` does. An error that is `recorded` elsewhere does not
    count: the copy of a shared catalog logs itself that the catalog is unavailable.
    """

    async def check() -> bool:
        with suppress(*recorded):
            await ask()
        return True

    return check


async def _has_anything(blobs: Blobs) -> bool:
    async with aclosing(blobs.list()) as listing:
        async for _ in listing:
            return True
    return False
