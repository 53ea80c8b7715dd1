"""What is done about files of theirs while nobody asks: pages refreshed, use written down, the surplus evicted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from pypid.core.errors import PypidError
from pypid.core.names import ProjectName
from pypid.core.policy import asks_upstream
from pypid.flow import Periodic, start
from pypid.index import Index
from pypid.index.surplus import held, surplus

_log = Logger()

WRITE_DOWN = 3600.0
"""Seconds between two times that it is written down which kept files were used."""
LOOK_AT_SIZE = 60.0
"""Seconds between two looks at how much is kept, if something came since."""
REFRESHES = 4
"""Pages that are refreshed at the same time; clients' questions come in between."""


@define(slots=False, eq=False)
class Upkeep(MultiService):
    """The jobs. `refresh` is for `[upstream] mode = mirror`, else None; `max_cache` in bytes; `disconnect` ends connections."""

    index: Index
    disconnect: Callable[[], Awaitable[object]]
    refresh: timedelta | None = None
    max_cache: int | None = None
    _measured: int = field(default=-1, init=False)
    """How many files had come when it was last looked at how much is kept."""

    def __attrs_post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        self._add(WRITE_DOWN, self._write_down, "writing down which kept files were used")
        if self.refresh is not None:
            self._add(self.refresh.total_seconds(), self.refresh_pages, "refreshing what is kept")
        if self.max_cache is not None:
            self._add(LOOK_AT_SIZE, self.evict, "evicting what is too much ([upstream] max_cache)")

    def _add(self, interval: float, job: Callable[[], Any], what: str) -> None:
        Periodic(self.index.world.clock, interval, job, what).setServiceParent(self)  # type: ignore[no-untyped-call]

    async def end(self) -> None:
        """When nobody asks any more: break off what is being fetched, and write down what is known."""
        await self.index.keeper.close()
        await self.disconnect()
        await self._write_down()

    async def _write_down(self) -> None:
        await self.index.keeper.touches.write_down(self.index.catalog)

    async def refresh_pages(self) -> None:
        """Ask anew what upstream has of each project of which files are kept."""
        turns = DeferredSemaphore(REFRESHES)
        names = await self.index.catalog.their_names()
        asking = [turns.run(self._refreshed, name) for name in names]
        refreshed = sum(await gatherResults(asking))
        _log.info("{refreshed} of {names} kept projects were refreshed", refreshed=refreshed, names=len(names))

    def _refreshed(self, name: ProjectName) -> Deferred[bool]:
        return start(self._refresh(name))

    async def _refresh(self, name: ProjectName) -> bool:
        try:
            ours = await self.index.parts.ours(name)
            if not asks_upstream(self.index.policy, name, ours):
                return False
            return (await self.index.correspondent.theirs(name, anew=True)).reachable
        except PypidError as error:
            _log.warn("{name} could not be refreshed: {error}", name=name, error=error)
            return False

    async def evict(self) -> None:
        """Forget the kept files that nobody wanted for longest, until no more than `max_cache` bytes are kept."""
        came = self.index.keeper.came
        if self.max_cache is None or came == self._measured:
            return
        await self._write_down()
        going = surplus(await held(self.index.blobs, self.index.catalog), self.max_cache)
        for file in going:
            await self.index.keeper.forget(file.project, file.filename)
        if going:
            _log.info(
                "{count} kept files ({size} bytes) that nobody wanted for longest went, to stay within max_cache",
                count=len(going),
                size=sum(file.size for file in going),
            )
        self._measured = came
