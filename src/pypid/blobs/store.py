"""A store in front of its backend: below a prefix, with permission to write, and with metrics of
its operations (count, duration and outcome).

A named index is a small storage in the folder ``.pypid/index/<name>/`` of the whole one. Keys are
relative to the prefix, also those in listings and errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from attrs import define, evolve, field, frozen
from attrs.validators import matches_re
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from pypid.core.errors import CannotStart, Exists, Missing, StorageDown, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import World
from pypid.flow.derived import Flights
from pypid.metrics.counts import STORAGE, STORAGE_SECONDS, STORAGE_WRITTEN
from pypid.ports import Blobs, Body, Provisional

_log = Logger()

PAUSE = timedelta(seconds=5)
"""How long opening is not retried after a failure: clients do not each wait for the same time-out.
"""

B = TypeVar("B")


@define(eq=False)
class Awaited(Generic[B]):
    """A backend that `open` opens on first use, so that pypid can start without it: what a catalog
    dump knows of a bucket is served while the bucket, or the network, is down.

    While `open` raises `CannotStart`, `there` raises `StorageDown`, and the cause is logged.
    """

    open: Callable[[], Awaitable[B]]
    world: World
    opened: B | None = field(default=None, init=False)
    """The backend, once it is open."""
    _flights: Flights[None, B] = field(factory=Flights, init=False, repr=False)
    _failed: float | None = field(default=None, init=False)

    async def there(self) -> B:
        """Return the opened backend. Raises `StorageDown`."""
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


def _away() -> StorageDown:
    return StorageDown("it could not be opened yet.", retry_after=10)


def outcome_of(error: BaseException) -> str:
    """Return the outcome label of an operation. Missing and exists are not faults of the store."""
    match error:
        case Missing():
            return "missing"
        case Exists():
            return "exists"
        case StorageFull():
            return "full"
        case StorageDown():
            return "down"
        case CancelledError():
            return "cancelled"
        case _:
            return "failed"


@frozen
class Store:
    """The `Blobs` of `backend` whose keys begin with `prefix`, which ends with a slash. It has the
    optional abilities that the backend has.

    `permit` is awaited with the whole key before anything is written there, and `announce` with the
    relative one before a body is. `watch` receives metrics of the backend. Bodies are passed on as
    they are: files are sent by the kernel.
    """

    backend: Blobs | Awaited[Any]
    prefix: str = field(default="", validator=matches_re(r"([^/]+/)*"))
    permit: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)
    announce: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)
    watch: World | None = field(default=None, repr=False)

    async def read(self, key: str, span: Span | None = None) -> Body:
        with self._watched("read", key):
            body: Body = await (await self._there()).read(self.prefix + key, span)
            return body

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._written("write", key, body, replace)

    async def delete(self, key: str) -> None:
        await self._permitted(key)
        with self._watched("delete"):
            await (await self._there()).delete(self.prefix + key)

    async def stat(self, key: str) -> Blob:
        with self._watched("stat", key):
            return self._relative(await (await self._there()).stat(self.prefix + key))

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        with self._watched("list"):
            async with aclosing((await self._there()).list(self.prefix + prefix)) as listing:
                async for blob in listing:
                    yield self._relative(blob)

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        with self._watched("link"):
            there = await self._there()
            link: SignedUrl | None = await there.link(self.prefix + key, lifetime, filename)
            return link

    # --- optional abilities ---

    async def description(self, key: str) -> Mapping[str, str]:
        with self._watched("stat", key):
            there = await self._there()
            found: Mapping[str, str] = await there.description(self.prefix + key)
            return found

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._written("write_provisional", key, body, replace)

    async def confirm(self, key: str) -> None:
        await (await self._there()).confirm(self.prefix + key)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        await self._permitted(target)
        with self._watched("duplicate", source, target):
            there, keys = await self._there(), (self.prefix + source, self.prefix + target)
            return self._relative(await there.duplicate(*keys, replace=replace, tell=tell))

    async def _there(self) -> Any:
        """Return the backend, with the optional abilities that it may have."""
        return await self.backend.there() if isinstance(self.backend, Awaited) else self.backend

    async def _written(self, ability: str, key: str, body: Body, replace: bool) -> Blob:
        async with aclosing(body):
            if self.announce is not None:
                await self.announce(key)
            await self._permitted(key)
            with self._watched("write", key):
                write = getattr(await self._there(), ability)
                blob: Blob = await write(self.prefix + key, body, replace=replace)
        if self.watch is not None:
            self.watch.counts.add(STORAGE_WRITTEN, (), blob.size)
        return self._relative(blob)

    async def _permitted(self, key: str) -> None:
        if self.permit is not None:
            await self.permit(self.prefix + key)

    @contextmanager
    def _watched(self, operation: str, *keys: str) -> Iterator[None]:
        """Record metrics of the block; its errors name these keys as relative ones."""
        began = 0.0 if self.watch is None else self.watch.clock.seconds()
        outcome = "ok"
        try:
            yield
        except GeneratorExit:  # the reader of a listing stopped early
            raise
        except BaseException as error:
            outcome = outcome_of(error)
            if isinstance(error, (Missing, Exists)) and self.prefix:
                for key in keys:
                    if error.key == self.prefix + key:  # else: of a body that another store sends
                        raise type(error)(key) from None
            raise
        finally:
            if self.watch is not None:
                spent = max(0.0, self.watch.clock.seconds() - began)
                self.watch.counts.add(STORAGE, (operation, outcome))
                self.watch.counts.observe(STORAGE_SECONDS, (operation,), spent)

    def _relative(self, blob: Blob) -> Blob:
        return evolve(blob, key=blob.key.removeprefix(self.prefix)) if self.prefix else blob


def part(whole: Blobs | Provisional, prefix: str) -> Store:
    """Return the part of a store, with its abilities, below `prefix`, which ends with a slash."""
    if isinstance(whole, Store):
        return evolve(whole, prefix=whole.prefix + prefix)
    return Store(cast(Blobs, whole), prefix)
