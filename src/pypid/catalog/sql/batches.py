"""Grouping of concurrent changes into one transaction: one write to the disk, and one notification
of other nodes.

A single change waits for nothing. Many at once (a catalog that is filled, a storm of uploads) would
each wait for the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pypid.catalog.engine import CatalogRow, Conflict, DatabaseAway, DatabaseFull, RowChange
from pypid.flow import start

MOST_CHANGES = 64
MOST_BYTES = 4 << 20
"""Bytes of the lines of one transaction, except for one line that is longer by itself."""

Made: TypeAlias = CatalogRow | Conflict
Make: TypeAlias = Callable[[str, Sequence[RowChange]], Coroutine[Any, Any, list[Made]]]
"""Makes changes, all in one transaction and in order; returns their results."""


@define(eq=False)
class _WaitingChange:
    generation: str
    change: RowChange
    made: Deferred[Made] = field(factory=lambda: Deferred(canceller=lambda _: None), init=False)
    _timeout: IDelayedCall | None = field(default=None, init=False)
    """Runs while it waits for its turn."""

    @property
    def size(self) -> int:
        return len(self.change.line or b"")

    def wait(
        self, clock: IReactorTime, longest: float, give_up: Callable[[_WaitingChange], None]
    ) -> None:
        """Call `give_up` if its turn does not come within `longest` seconds."""
        self._timeout = clock.callLater(longest, give_up, self)

    def take_turn(self) -> None:
        """Note that its turn has come."""
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()

    def settle(self, made: Made | Failure) -> None:
        if not self.made.called:  # its caller still waits
            self.made.callback(made)


@define(eq=False)
class ChangeBatches:
    """Runs one transaction at a time, with the waiting changes that fit. A change that waits for
    `longest` seconds fails.
    """

    make: Make
    clock: IReactorTime
    longest: float
    _waiting: deque[_WaitingChange] = field(factory=deque, init=False, repr=False)
    _is_busy: bool = field(default=False, init=False)

    async def swap(self, generation: str, change: RowChange) -> Made:
        """Change the row together with others (see `Engine.swap`). Goes on if the caller is
        cancelled.
        """
        wanted = _WaitingChange(generation, change)
        self._waiting.append(wanted)
        if self._is_busy:
            wanted.wait(self.clock, self.longest, self._give_up)
        else:
            self._is_busy = True
            start(self._work())
        return await wanted.made

    def _give_up(self, wanted: _WaitingChange) -> None:
        self._waiting.remove(wanted)
        error = DatabaseAway("others change it, and this one's turn did not come")
        wanted.settle(Failure(error))  # type: ignore[no-untyped-call]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._group(self._next())
        finally:
            self._is_busy = False

    def _next(self) -> list[_WaitingChange]:
        """Return the changes that waited longest, all of one generation."""
        group = [self._take()]
        size = group[0].size
        while (
            self._waiting
            and len(group) < MOST_CHANGES
            and self._waiting[0].generation == group[0].generation
        ):
            size += self._waiting[0].size
            if size > MOST_BYTES:
                break
            group.append(self._take())
        return group

    def _take(self) -> _WaitingChange:
        wanted = self._waiting.popleft()
        wanted.take_turn()
        return wanted

    async def _group(self, group: list[_WaitingChange]) -> None:
        try:
            made = await self.make(group[0].generation, [wanted.change for wanted in group])
        except DatabaseFull:
            if len(group) > 1:  # there may be room for some of them
                for wanted in group:
                    await self._group([wanted])
                return
            group[0].settle(Failure())  # type: ignore[no-untyped-call]
        except Exception:
            for wanted in group:
                wanted.settle(Failure())  # type: ignore[no-untyped-call]
        else:
            for wanted, each in zip(group, made, strict=True):
                wanted.settle(each)
