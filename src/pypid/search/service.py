"""The search index of a running pypid: updated a few times a second, beginning shortly after the
start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from pypid.flow.conditions import Periodic

if TYPE_CHECKING:  # not needed by a start
    from pypid.search.search import Search

LOOK = 0.3
"""Seconds between two looks."""
AFTER = 1.0
"""Seconds after the start: the first page comes first."""


class Searching(Periodic):
    """The service of the search index. `make` is called at the first search, or after `AFTER`; then
    the index is built or updated. `prepare` imports what `make` needs, off the reactor thread.
    """

    def __init__(
        self,
        clock: IReactorTime,
        make: Callable[[], Search],
        prepare: Callable[[], Awaitable[object]],
    ) -> None:
        super().__init__(clock, LOOK, self._look, "keeping the search index in step")
        self._clock, self._make, self._prepare = clock, make, prepare
        self._made: Search | None = None
        self._from = 0.0

    @property
    def search(self) -> Search:
        """The search of this process, created at its first use."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def startService(self) -> None:
        self._from = self._clock.seconds() + AFTER
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Stop after the look under way."""
        return maybeDeferred(super().stopService).addBoth(self._close)

    def _close(self, result: object) -> object:
        if self._made is not None:
            self._made.close()
        return result

    async def _look(self) -> None:
        if self._clock.seconds() >= self._from:
            if self._made is None:
                await self._prepare()
            await self.search.following.look(patient=True)
