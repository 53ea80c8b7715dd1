"""Copying the whole contents of one storage into another: from a folder into a bucket, or between
buckets.

Bytes first, then yanks and project statuses, records last: an interrupted copy has no record
without its bytes and marks. Calling it again continues it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial

import msgspec
from attrs import define, field, frozen
from msgspec import UNSET

from pypid.core.errors import Exists, Missing, Unreadable
from pypid.core.model import Blob
from pypid.core.records.documents import Recording, StorageIdentity, dump
from pypid.core.records.layout import (
    DESCRIBED,
    HELD,
    OF_RECORD,
    RECORDING,
    SNAPSHOT,
    STORAGE_IDENTITY,
    THEIR_SNAPSHOT,
    ObjectKind,
    is_only_ours,
)
from pypid.flow import BytesBody, World
from pypid.index.job_group import JobGroup
from pypid.index.progress import Progress, Tell
from pypid.index.store import records
from pypid.ports import Blobs, Describing

AT_ONCE = 8
"""Objects copied at the same time."""
_ITS_OWN = (STORAGE_IDENTITY, SNAPSHOT, THEIR_SNAPSHOT, OF_RECORD)
"""Prefixes of documents that describe one storage only."""
_MARKS = (
    ObjectKind.YANKED.value,
    ObjectKind.DELETED.value,
    ObjectKind.HISTORY.value,
    f"/{ObjectKind.PROJECT.value}",
)
_RECORDS = ObjectKind.RECORD.value


@frozen
class Copied:
    """The result of a copy, in numbers of objects. `differ` are keys whose object in the target has
    another size.
    """

    copied: int
    there: int
    size: int
    differ: tuple[str, ...] = field(repr=False)


@define
class Copier:
    """Copies from `source` to `target`. An object of the same size that is already there stays;
    nothing is replaced or removed.
    """

    source: Blobs
    target: Blobs
    world: World
    tell: Tell | None = None
    descriptions: tuple[Describing | None, Describing | None] = (None, None)
    """The blob descriptions of source and target, if supported: what a pypicloud wrote about a file
    in a bucket is copied with it, also into a folder.
    """
    _copied: int = field(default=0, init=False)
    _there: int = field(default=0, init=False)
    _size: int = field(default=0, init=False)
    _differ: list[str] = field(factory=list, init=False, repr=False)

    async def copy(self) -> Copied:
        """Copy everything. Raises `StorageDown`, `StorageFull`; objects copied until then stay, and
        are not copied again.
        """
        progress = Progress(self.world.clock, self.tell)
        await self._pass(progress, lambda key: not key.endswith((*_MARKS, _RECORDS)))
        await self._pass(progress, lambda key: key.endswith(_MARKS))
        await self._pass(progress, lambda key: key.endswith(_RECORDS))
        await self._note_since()
        return Copied(self._copied, self._there, self._size, tuple(sorted(self._differ)))

    async def _note_since(self) -> None:
        """Note in the target, perhaps a new storage, since when changes were recorded in the
        source.
        """
        with suppress(Unreadable):
            identity = await records.read_document(self.source, StorageIdentity, STORAGE_IDENTITY)
            if identity is not None and identity.recorded is not UNSET:
                with suppress(Exists):
                    await self.target.write(
                        RECORDING, BytesBody(dump(Recording(identity.recorded)))
                    )

    async def _pass(self, progress: Progress, wanted: Callable[[str], bool]) -> None:
        together = JobGroup(AT_ONCE)
        try:
            async with aclosing(self.source.list()) as listing:
                async for blob in listing:
                    if wanted(blob.key) and not blob.key.startswith(_ITS_OWN):
                        await together.add(partial(self._one, blob))
                    progress.at(
                        lambda: (
                            f"{self._copied} objects copied ({self._size} bytes), {self._there} "
                            f"were there"
                        )
                    )
            await together.ended()
        except BaseException:
            await together.cancel()
            raise

    async def _one(self, blob: Blob) -> None:
        with suppress(Missing):
            if (await self.target.stat(blob.key)).size != blob.size:
                self._differ.append(blob.key)
            else:
                self._there += 1
            return
        try:
            written = await self._write(blob.key)
        except Missing:  # deleted since the listing
            return
        except Exists:
            self._there += 1
            return
        self._copied += 1
        self._size += written.size

    async def _write(self, key: str) -> Blob:
        source, target = self.descriptions
        is_described = not is_only_ours(key) or (key.startswith(HELD) and target is not None)
        described = await source.description(key) if source is not None and is_described else {}
        body = await self.source.read(key)
        if not described:
            return await self.target.write(key, body)
        if target is not None:
            return await target.write_described(key, body, described)
        written = await self.target.write(key, body)
        texts = {
            name.replace("-", "_"): text
            for name, text in described.items()
            if name not in ("name", "version")
        }
        with suppress(Exists):
            await self.target.write(key + DESCRIBED, BytesBody(msgspec.json.encode(texts)))
        return written
