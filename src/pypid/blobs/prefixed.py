"""The part of a store below a prefix, as a store of its own: a named index is a small storage in
the folder ``.pypid/index/<name>/`` of the whole one.

Keys are relative to the prefix, also those in listings and errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta

from attrs import evolve, field, frozen
from attrs.validators import matches_re

from pypid.core.errors import Exists, Missing
from pypid.core.model import ArchiveState, Blob, SignedUrl, Span
from pypid.ports import Blobs, Body, Bucket, Describing, Provisional

_PREFIX = matches_re(r"([^/]+/)+")


@contextmanager
def _errors_of(prefix: str, key: str) -> Iterator[None]:
    """Let errors that the block raises name the relative key instead of the whole one."""
    try:
        yield
    except (Missing, Exists) as error:
        if error.key != prefix + key:  # raised by a body that another store sends
            raise
        raise type(error)(key) from None


def _relative(blob: Blob, prefix: str) -> Blob:
    return evolve(blob, key=blob.key.removeprefix(prefix))


@frozen
class PrefixedBlobs:
    """The `Blobs` of `whole` whose keys begin with `prefix`, which ends with a slash."""

    whole: Blobs
    prefix: str = field(validator=_PREFIX)

    async def read(self, key: str, span: Span | None = None) -> Body:
        with _errors_of(self.prefix, key):
            return await self.whole.read(self.prefix + key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        with _errors_of(self.prefix, key):
            blob = await self.whole.write(self.prefix + key, body, replace=replace)
        return _relative(blob, self.prefix)

    async def delete(self, key: str) -> None:
        await self.whole.delete(self.prefix + key)

    async def stat(self, key: str) -> Blob:
        with _errors_of(self.prefix, key):
            return _relative(await self.whole.stat(self.prefix + key), self.prefix)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        async with aclosing(self.whole.list(self.prefix + prefix)) as listing:
            async for blob in listing:
                yield _relative(blob, self.prefix)

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self.whole.link(self.prefix + key, lifetime, filename)


@frozen
class PrefixedDescriptions:
    """The `Describing` of the blobs below `prefix`."""

    whole: Describing
    prefix: str = field(validator=_PREFIX)

    async def description(self, key: str) -> Mapping[str, str]:
        with _errors_of(self.prefix, key):
            return await self.whole.description(self.prefix + key)


@frozen
class PrefixedProvisional:
    """The `Provisional` of the blobs below `prefix`."""

    whole: Provisional
    prefix: str = field(validator=_PREFIX)

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        with _errors_of(self.prefix, key):
            blob = await self.whole.write_provisional(self.prefix + key, body, replace=replace)
        return _relative(blob, self.prefix)

    async def confirm(self, key: str) -> None:
        await self.whole.confirm(self.prefix + key)


@frozen
class PrefixedBucket:
    """The `Bucket` of the blobs below `prefix`."""

    whole: Bucket
    prefix: str = field(validator=_PREFIX)

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


_: type[Blobs] = PrefixedBlobs
_descriptions: type[Describing] = PrefixedDescriptions
_provisional: type[Provisional] = PrefixedProvisional
_bucket: type[Bucket] = PrefixedBucket
