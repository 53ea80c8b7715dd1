"""`[publish]`: a static copy of the index that is kept up to date while pypid runs, by one of all
nodes and workers.
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
"""Seconds between two checks for changes."""
ELSEWHERE = 3.0
"""Seconds between two checks whether the publishing node has died."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds between two attempts while the place or the catalog is unreachable: the first, and the
longest.
"""

Job = Callable[[], Awaitable[object]]


@define(slots=False, eq=False)
class Publishing(Service):
    """The service that keeps the place up to date while it runs.

    `while_leader` runs a job unless another node runs it. Nothing is written or removed while the
    catalog is unreachable or permissions are unknown, nor before the catalog has been reconciled
    with the storage.
    """

    index: Index
    authority: Authority
    place: ExportPlace
    options: ExportOptions
    stamp: Stamp
    target: str
    """The name of the place in the log."""
    while_leader: Callable[[Job], Awaitable[bool]]
    holds: Callable[[], bool] = lambda: True
    """Return whether no other node has taken over: two would interrupt each other's copies."""
    away: str | None = field(default=None, init=False)
    """Why nothing can be published now, or None."""
    keeping: TreeKeeper | None = field(default=None, init=False)
    """The tree keeper, while this node publishes."""
    _stopping: bool = field(default=False, init=False)
    _running: Deferred[None] | None = field(default=None, init=False, repr=False)
    _resting: Deferred[None] | None = field(default=None, init=False, repr=False)

    def startService(self) -> None:
        # Twisted's Service is not annotated
        super().startService()  # type: ignore[no-untyped-call]
        self._stopping = False
        self._running = start(self._run())

    def stopService(self) -> Deferred[Any] | None:
        """Stop after the step under way; the next start continues."""
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
                await self.while_leader(self._publish)
            except Exception:
                _log.failure(
                    "publishing to {target} failed; pypid tries again soon", target=self.target
                )
            await self._rest(ELSEWHERE)
        await self.place.close()

    async def _publish(self) -> None:
        """Publish until pypid stops, another node takes over, or the catalog is unreachable, in
        which case another node may see more.
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
                    "publishing to {target} failed; next attempt in {pause} s",
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
            self.index, self.authority, self.place, self.options, self.stamp
        )
        was_whole = False
        try:
            await keeping.begin()
            while not self._stopping and self.holds() and not await self.index.catalog.is_away():
                more = await keeping.step()
                if self.away is not None:
                    _log.info("publishing to {target} works again", target=self.target)
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
            await self.place.prepare(0, self.options)

    def _say(self, error: Exception) -> None:
        """Log the error the first time only, not every second."""
        why = _reason(error)
        if self.away is None:
            _log.error(
                "publishing to {target} is not possible now: {why}. pypid tries again.",
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
