"""A store in front of its backend: below a prefix, with permission to write, and with metrics of
its operations (count, duration and outcome).

A named index is a small storage in the folder ``.pypid/index/<name>/`` of the whole one. Keys are
relative to the prefix, also those in listings and errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

from attrs import evolve, field, frozen
from attrs.validators import matches_re
from twisted.internet.defer import CancelledError

from pypid.core.errors import Exists, Missing, StorageDown, StorageFull
from pypid.core.model import ArchiveState, Blob, SignedUrl, Span
from pypid.flow import World
from pypid.metrics.counts import STORAGE, STORAGE_SECONDS, STORAGE_WRITTEN
from pypid.ports import Blobs, Body, Bucket, Describing, Duplicating, Provisional

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

    def wrote(self, blob: Blob) -> None:
        """Record a written blob."""
        self.world.counts.add(STORAGE_WRITTEN, (), blob.size)


@contextmanager
def _errors_of(prefix: str, key: str) -> Iterator[None]:
    """Let errors that the block raises name the relative key instead of the whole one."""
    try:
        yield
    except (Missing, Exists) as error:
        if not prefix or error.key != prefix + key:  # raised by a body that another store sends
            raise
        raise type(error)(key) from None


@frozen
class Store:
    """The `Blobs` of `backend` whose keys begin with `prefix`, which ends with a slash. It has the
    optional abilities that the backend has.

    `permit` is awaited with the whole key before anything is written there. `watch` records metrics
    of the backend. Bodies are passed on as they are: files are sent by the kernel.
    """

    backend: Blobs
    prefix: str = field(default="", validator=matches_re(r"([^/]+/)*"))
    permit: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)
    watch: BlobsWatch | None = field(default=None, repr=False)

    async def read(self, key: str, span: Span | None = None) -> Body:
        with _errors_of(self.prefix, key):
            return await self._over("read", self.backend.read(self.prefix + key, span))

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._written(self.backend.write, key, body, replace)

    async def delete(self, key: str) -> None:
        await self._permitted(key)
        await self._over("delete", self.backend.delete(self.prefix + key))

    async def stat(self, key: str) -> Blob:
        with _errors_of(self.prefix, key):
            return self._relative(await self._over("stat", self.backend.stat(self.prefix + key)))

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        began, error = 0.0 if self.watch is None else self.watch.world.clock.seconds(), None
        try:
            async with aclosing(self.backend.list(self.prefix + prefix)) as listing:
                async for blob in listing:
                    yield self._relative(blob)
        except GeneratorExit:  # the reader stopped early
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self.watch is not None:
                self.watch.note("list", began, error)

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self._over("link", self.backend.link(self.prefix + key, lifetime, filename))

    # --- optional abilities ---

    async def description(self, key: str) -> Mapping[str, str]:
        with _errors_of(self.prefix, key):
            return await self._over("stat", self._able.description(self.prefix + key))

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._written(self._able.write_provisional, key, body, replace)

    async def confirm(self, key: str) -> None:
        await self._able.confirm(self.prefix + key)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        await self._permitted(target)
        duplicating = self._able.duplicate(
            self.prefix + source, self.prefix + target, replace=replace, tell=tell
        )
        with _errors_of(self.prefix, source), _errors_of(self.prefix, target):
            return self._relative(await self._over("duplicate", duplicating))

    @property
    def _able(self) -> Any:
        """The backend, with the optional abilities that it may have."""
        return self.backend

    async def _written(
        self, write: Callable[..., Awaitable[Blob]], key: str, body: Body, replace: bool
    ) -> Blob:
        async with aclosing(body):
            await self._permitted(key)
            with _errors_of(self.prefix, key):
                blob = await self._over("write", write(self.prefix + key, body, replace=replace))
        if self.watch is not None:
            self.watch.wrote(blob)
        return self._relative(blob)

    async def _permitted(self, key: str) -> None:
        if self.permit is not None:
            await self.permit(self.prefix + key)

    async def _over(self, operation: str, call: Awaitable[T]) -> T:
        if self.watch is None:
            return await call
        return await self.watch.over(operation, call)

    def _relative(self, blob: Blob) -> Blob:
        return evolve(blob, key=blob.key.removeprefix(self.prefix)) if self.prefix else blob


def part(whole: Blobs | Provisional, prefix: str) -> Store:
    """Return the part of a store, with its abilities, below `prefix`, which ends with a slash."""
    if isinstance(whole, Store):
        return evolve(whole, prefix=whole.prefix + prefix)
    return Store(cast(Blobs, whole), prefix)


@frozen
class PartOfBucket:
    """The `Bucket` of the blobs below `prefix`."""

    whole: Bucket
    prefix: str = field(validator=matches_re(r"([^/]+/)+"))

    async def archive_state(self, key: str) -> ArchiveState:
        with _errors_of(self.prefix, key):
            return await self.whole.archive_state(self.prefix + key)

    async def move(self, key: str, storage_class: str) -> None:
        with _errors_of(self.prefix, key):
            await self.whole.move(self.prefix + key, storage_class)

    async def copy(self, key: str, target: str) -> None:
        with _errors_of(self.prefix, key):
            await self.whole.copy(self.prefix + key, self.prefix + target)

    async def is_versioned(self) -> bool | None:
        return await self.whole.is_versioned()

    async def restore(self, key: str) -> None:
        with _errors_of(self.prefix, key):
            await self.whole.restore(self.prefix + key)


_: type[Blobs] = Store
_descriptions: type[Describing] = Store
_provisional: type[Provisional] = Store
_duplicates: type[Duplicating] = Store
_bucket: type[Bucket] = PartOfBucket
