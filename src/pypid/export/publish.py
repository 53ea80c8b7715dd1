"""`[publish]`: a place where the index lies as files, kept up to date while pypid runs, by one of
all nodes and workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import PypidError, StorageDown
from pypid.export.options import ExportOptions
from pypid.export.targets import ExportPlace, Stamp
from pypid.export.tree_keeper import TreeKeeper
from pypid.export.visibility import Authority
from pypid.flow import start
from pypid.index import Index

_log = Logger()

LEASE = "publish"
LOOK = 0.25
"""Seconds between two looks whether something has changed."""
ELSEWHERE = 3.0
"""Seconds between two looks whether the node that publishes has died."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds between two tries while the place, or the catalog, is away."""

Job = Callable[[], Awaitable[object]]


@define(slots=False, eq=False)
class Publishing(Service):
    """Keeps the place as it should be, from the start of the service to its end.

    `alone` does a job unless another node does it. While the catalog is away, or nobody knows who
    may see what, nothing is written and nothing removed; nor before the catalog has been compared
    with the storage.
    """

    index: Index
    authority: Authority
    place: ExportPlace
    wishes: ExportOptions
    stamp: Stamp
    target: str
    """What the log says of it."""
    alone: Callable[[Job], Awaitable[bool]]
    holds: Callable[[], bool] = lambda: True
    """Whether no other node has taken over: two would break off each other's copies."""
    away: str | None = field(default=None, init=False)
    """Why nothing can be published now."""
    keeping: TreeKeeper | None = field(default=None, init=False)
    """While it is this node that publishes."""
    _stopping: bool = field(default=False, init=False)
    _running: Deferred[None] | None = field(default=None, init=False, repr=False)
    _resting: Deferred[None] | None = field(default=None, init=False, repr=False)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        self._stopping = False
        self._running = start(self._run())

    def stopService(self) -> Deferred[Any] | None:
        """Ends after the step under way; the next start goes on."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        if self._resting is not None:
            self._resting.cancel()
        if self.keeping is not None:
            start(self.keeping.end())
        return self._running

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self.alone(self._publish)
            except Exception:
                _log.failure("publishing to {target} failed; it goes on soon", target=self.target)
            await self._rest(ELSEWHERE)
        await self.place.close()

    async def _publish(self) -> None:
        """Until pypid stops, another node does it, or the catalog is away and another node may see
        more.
        """
        pause = FIRST
        while not self._stopping and self.holds() and not await self.index.catalog.is_away():
            try:
                while not self._stopping and self.holds() and not await self._is_ready():
                    await self._rest(LOOK)
                if not self._stopping and self.holds():
                    await self._keep()
                break
            except (PypidError, OSError) as error:
                self._say(error)
            except Exception as error:
                _log.failure(
                    "publishing to {target} failed; it is tried again in {pause} s",
                    target=self.target,
                    pause=pause,
                )
                self.away = str(error)
            await self._rest(pause)
            pause = min(pause * 2, LONGEST)

    async def _is_ready(self) -> bool:
        is_compared = await self.index.catalog.is_complete() and self.index.lists_are_complete
        return self.authority.closed() is None and is_compared

    async def _keep(self) -> None:
        keeping = self.keeping = TreeKeeper(
            self.index, self.authority, self.place, self.wishes, self.stamp
        )
        was_whole = False
        try:
            await keeping.begin()
            while not self._stopping and self.holds() and not await self.index.catalog.is_away():
                more = await keeping.step()
                if self.away is not None:
                    _log.info("publishing to {target} goes on", target=self.target)
                    self.away = None
                if keeping.is_whole and not was_whole:
                    _log.info(
                        "published to {target}: {projects} projects",
                        target=self.target,
                        projects=len(keeping.exporter.there),
                    )
                was_whole = keeping.is_whole
                if not more:
                    await self._rest(LOOK)
        finally:
            await keeping.end()
            self.keeping = None

    def _say(self, error: Exception) -> None:
        """Once, and not every second."""
        why = _reason(error)
        if self.away is None:
            _log.error(
                "publishing to {target} is not possible now: {why}. It is tried again.",
                target=self.target,
                why=why,
            )
        self.away = why

    async def _rest(self, seconds: float) -> None:
        if self._stopping:
            return
        self._resting = deferLater(self.index.world.clock, seconds)
        try:
            await self._resting
        except CancelledError:
            return
        finally:
            self._resting = None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (
            f"{error.filename}: {error.strerror}"
            if error.filename
            else str(error.strerror or error)
        )
    if isinstance(error, StorageDown) and error.__cause__ is not None:
        return str(error.__cause__)
    return str(error).removesuffix(".")
