"""Entries that wait for a database: written in order, in batches, and again after a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from attrs import define, field

from pypid.core.errors import PypidError
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow.single_flight import Flights

E = TypeVar("E")


@define(eq=False)
class WriteQueue(Generic[E]):
    """The queue. `write` stores a batch of at most `at_once` entries; `on_failure` is called with
    each new reason why it fails, and `on_recovery` once it works again.
    """

    write: Callable[[Sequence[E]], Awaitable[None]]
    at_once: int
    on_failure: Callable[[str], None]
    on_recovery: Callable[[], None]
    waiting: deque[E] = field(factory=deque, init=False)
    reason: str | None = field(default=None, init=False)
    """Why the last attempt failed, if it did."""
    _flights: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    async def flush(self) -> None:
        """Write the entries that wait, unless that fails."""
        if self.waiting:
            await self._flights.single(None, self._flush)

    async def _flush(self) -> None:
        while self.waiting:
            batch = [self.waiting[at] for at in range(min(self.at_once, len(self.waiting)))]
            try:
                await self.write(batch)
            except (DatabaseAway, DatabaseUnusable, PypidError) as error:
                if self.reason != str(error):
                    self.on_failure(str(error))
                self.reason = str(error)
                return
            for _ in batch:
                self.waiting.popleft()
        if self.reason is not None:
            self.reason = None
            self.on_recovery()
