"""The search index of a running pypid: kept in step a few times a second, from some moments after
its start on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from pypid.flow import Periodic

if TYPE_CHECKING:  # for nothing that a start does
    from pypid.search.search import Search

LOOK = 0.3
"""Seconds between two looks."""
AFTER = 1.0
"""Seconds after the start: the first page comes first."""


class Searching(Periodic):
    """`make` is called when somebody searches, or it is time; then the index is made or brought up
    to date.
    """

    def __init__(self, clock: IReactorTime, make: Callable[[], Search]) -> None:
        super().__init__(clock, LOOK, self._look, "keeping the search index in step")
        self._clock, self._make = clock, make
        self._made: Search | None = None
        self._from = 0.0

    @property
    def search(self) -> Search:
        """The one that there is."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def startService(self) -> None:
        self._from = self._clock.seconds() + AFTER
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Ends after the look under way."""
        return maybeDeferred(super().stopService).addBoth(self._close)

    def _close(self, result: object) -> object:
        if self._made is not None:
            self._made.close()
        return result

    async def _look(self) -> None:
        if self._clock.seconds() >= self._from:
            await self.search.following.look()
