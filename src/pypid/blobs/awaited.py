"""A store that is opened on first use, with retries, so that pypid can start without it.

What is known of a bucket from a catalog dump is served while the bucket, or the network, is down.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from attrs import define, field
from twisted.logger import Logger

from pypid.core.errors import CannotStart, StorageDown
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import World
from pypid.flow.derived import Flights
from pypid.ports import Blobs, Body, Describing, Duplicating

_log = Logger()

PAUSE = timedelta(seconds=5)
"""How long opening is not retried after a failure: clients do not each wait for the same time-out.
"""


class _Backend(Blobs, Describing, Duplicating, Protocol):
    """A store in a bucket."""


B = TypeVar("B", bound=_Backend)


@define(eq=False)
class Awaited(Generic[B]):
    """A `Blobs` that `open` opens. While that raises `CannotStart`, everything raises
    `StorageDown`, and the cause is logged.
    """

    open: Callable[[], Awaitable[B]]
    world: World
    opened: B | None = field(default=None, init=False)
    """The store, once it is open."""
    _flights: Flights[None, B] = field(factory=Flights, init=False, repr=False)
    _failed: float | None = field(default=None, init=False)

    async def there(self) -> B:
        """Return the opened store. Raises `StorageDown`."""
        if self.opened is not None:
            return self.opened
        if (
            self._failed is not None
            and self.world.clock.seconds() < self._failed + PAUSE.total_seconds()
        ):
            raise _away()
        return await self._flights.single(None, self._open)

    async def _open(self) -> B:
        try:
            self.opened = await self.open()
        except CannotStart as error:
            _log.error("The storage cannot be opened; pypid tries again: {error}", error=error)
            self._failed = self.world.clock.seconds()
            raise _away() from None
        return self.opened

    async def read(self, key: str, span: Span | None = None) -> Body:
        return await (await self.there()).read(key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            return await (await self.there()).write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        await (await self.there()).delete(key)

    async def stat(self, key: str) -> Blob:
        return await (await self.there()).stat(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        async with aclosing((await self.there()).list(prefix)) as listing:
            async for blob in listing:
                yield blob

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await (await self.there()).link(key, lifetime, filename)

    async def description(self, key: str) -> Mapping[str, str]:
        return await (await self.there()).description(key)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        return await (await self.there()).duplicate(source, target, replace=replace, tell=tell)


def _away() -> StorageDown:
    return StorageDown("it could not be opened yet.", retry_after=10)


_: type[_Backend] = Awaited[_Backend]
