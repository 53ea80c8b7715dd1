"""The condition of the parts that pypid works with. It is remembered, so that asking for it never
waits for any of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from typing import Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Missing
from pypid.flow.coroutines import start
from pypid.flow.periodic import ClockedLoop
from pypid.ports import Blobs

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

    `access`: whether the accounts can be asked. `cache`: whether the catalog can be; one in memory
    always can. `shows`: whether what the catalog held before may still be shown. `storage`: whether
    the files can be reached.
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
    """Whether pypid has been asked to stop: no new clients should come."""

    def begin_to_stop(self) -> None:
        """Report from now on that pypid stops."""
        self.stopping = True

    def doubt(self) -> None:
        """Check at once the parts that are taken to be well; called after a part was found
        unavailable.
        """
        for watch in self.watches:
            if watch.is_well:
                watch.look()


@define(slots=False, eq=False)
class HealthWatch(Service):
    """A periodic check of a part: one that fails is unavailable, and one that answers is back.

    `ask` returns False, or raises, where the part is unavailable. It is never asked twice at once:
    a part that hangs (a network disk) would take one thread after the other. After `PATIENCE` it
    counts as unavailable, and its answer counts whenever it comes.
    """

    clock: IReactorTime
    part: str
    ask: Callable[[], Awaitable[bool]] = field(repr=False)
    is_well: bool = True
    _asking: Deferred[None] | None = field(default=None, init=False, repr=False)
    _loop: ClockedLoop = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._loop = ClockedLoop(self.clock, self.look)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(EVERY, now=True)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        if self._asking is not None:
            self._asking.cancel()

    def look(self) -> None:
        """Ask, unless an answer is still awaited. Never waits, never fails."""
        if self._asking is None or self._asking.called:
            self._asking = start(self._ask())

    async def _ask(self) -> None:
        late = self.clock.callLater(PATIENCE, self._found, False)
        try:
            found = await self.ask()
        except Exception as error:
            if isinstance(error, CancelledError) and not self.running:
                return
            _log.debug("{part}: {error}", part=self.part, error=type(error).__name__)
            found = False
        finally:
            if late.active():
                late.cancel()
        self._found(found)

    def _found(self, is_well: bool) -> None:
        if is_well is not self.is_well:
            self.is_well = is_well
            if is_well:
                _log.info("the {part} is there again", part=self.part)
            else:
                _log.warn("the {part} is away: /ready says so", part=self.part)


def whether_there(blobs: Blobs, key: str, *, never_empty: bool) -> Callable[[], Awaitable[bool]]:
    """Return a check that asks for the blob `key`; whether the blob exists does not matter, as long
    as the storage answers.

    But a storage that is `never_empty`, since `key` was written into it, and is empty now is the
    folder of a disk that is not mounted. (One from which only `key` was removed is still readable.)
    """

    async def ask() -> bool:
        try:
            await blobs.stat(key)
        except Missing:
            return not never_empty or await _has_anything(blobs)
        return True

    return ask


def whether_it_answers(answers: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[bool]]:
    """Return a check of a storage that raises `StorageDown` where it is unavailable."""

    async def ask() -> bool:
        await answers()
        return True

    return ask


async def _has_anything(blobs: Blobs) -> bool:
    async with aclosing(blobs.list()) as listing:
        async for _ in listing:
            return True
    return False


class Follows(Protocol):
    """A copy of a shared catalog, as far as its condition goes
    (`catalog.replica_follower.ReplicaFollower`).
    """

    @property
    def away(self) -> object | None:
        """Why the engine could not be asked the last time; None if it could."""

    @property
    def may_be_shown(self) -> bool:
        """Whether the copy is recent enough to be shown."""

    async def current(self) -> bool:
        """Ask the engine, if nothing was heard of it; it notes itself whether it is `away`. Raises
        `CatalogDown`.
        """


def asking(follows: Follows) -> Callable[[], Awaitable[bool]]:
    """Return a check that asks a catalog copy even when there are no clients. The copy records and
    logs the result itself.
    """

    async def ask() -> bool:
        with suppress(CatalogDown):
            await follows.current()
        return True

    return ask
