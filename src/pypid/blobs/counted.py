"""Stores with metrics of their operations: count, duration and outcome."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import TypeVar

from attrs import field, frozen
from twisted.internet.defer import CancelledError

from pypid.core.errors import Exists, Missing, StorageDown, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import World
from pypid.metrics.families import STORAGE, STORAGE_SECONDS, STORAGE_WRITTEN
from pypid.ports import Blobs, Body, Describing, Duplicating, Provisional

T = TypeVar("T")


def outcome_of(error: BaseException | None) -> str:
    """Return the outcome label of an operation. Missing and exists are not faults of the store."""
    match error:
        case None:
            return "ok"
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
class BlobsWatch:
    """Records metrics of the operations on one store."""

    world: World

    async def over(self, operation: str, call: Awaitable[T]) -> T:
        """Await the operation and record its outcome."""
        began, error = self.world.clock.seconds(), None
        try:
            return await call
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.note(operation, began, error)

    def note(self, operation: str, began: float, error: BaseException | None) -> None:
        """Record the end of an operation."""
        counts = self.world.counts
        counts.add(STORAGE, (operation, outcome_of(error)))
        counts.observe(STORAGE_SECONDS, (operation,), max(0.0, self.world.clock.seconds() - began))

    def wrote(self, blob: Blob) -> Blob:
        """Record a written blob and return it."""
        self.world.counts.add(STORAGE_WRITTEN, (), blob.size)
        return blob


@frozen
class CountedBlobs:
    """A `Blobs` with metrics in front of another one. Bodies are passed on as they are: files are
    sent by the kernel.
    """

    behind: Blobs
    _watch: BlobsWatch = field(repr=False)

    async def read(self, key: str, span: Span | None = None) -> Body:
        return await self._watch.over("read", self.behind.read(key, span))

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return self._watch.wrote(
            await self._watch.over("write", self.behind.write(key, body, replace=replace))
        )

    async def delete(self, key: str) -> None:
        await self._watch.over("delete", self.behind.delete(key))

    async def stat(self, key: str) -> Blob:
        return await self._watch.over("stat", self.behind.stat(key))

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        began, error = self._watch.world.clock.seconds(), None
        try:
            async with aclosing(self.behind.list(prefix)) as listing:
                async for blob in listing:
                    yield blob
        except GeneratorExit:  # the reader stopped early
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._watch.note("list", began, error)

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self._watch.over("link", self.behind.link(key, lifetime, filename))


@frozen
class CountedDescriptions:
    """A `Describing` with metrics in front of another one."""

    behind: Describing
    _watch: BlobsWatch = field(repr=False)

    async def description(self, key: str) -> Mapping[str, str]:
        return await self._watch.over("stat", self.behind.description(key))


@frozen
class CountedProvisional:
    """A `Provisional` with metrics in front of another one."""

    behind: Provisional
    _watch: BlobsWatch = field(repr=False)

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        writing = self.behind.write_provisional(key, body, replace=replace)
        return self._watch.wrote(await self._watch.over("write", writing))

    async def confirm(self, key: str) -> None:
        await self.behind.confirm(key)


@frozen
class CountedDuplicates:
    """A `Duplicating` with metrics in front of another one."""

    behind: Duplicating
    _watch: BlobsWatch = field(repr=False)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        duplicating = self.behind.duplicate(source, target, replace=replace, tell=tell)
        return await self._watch.over("duplicate", duplicating)


_: type[Blobs] = CountedBlobs
_provisional: type[Provisional] = CountedProvisional
_descriptions: type[Describing] = CountedDescriptions
_duplicates: type[Duplicating] = CountedDuplicates
