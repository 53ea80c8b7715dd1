"""Copying the whole contents of one storage into another: from a folder into a bucket, or between
buckets.

Bytes first, then yanks and project statuses, records last: an interrupted copy has no record
without its bytes and marks. Calling it again continues it.

Files of named indexes come first, since a listing has them first. A file of the same name and size
whose record has the SHA-256 of the bytes that were copied is duplicated inside the target: a hard
link in a folder, a copy on the server in a bucket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
from attrs import define, field, frozen
from msgspec import UNSET

from pypid.blobs import store
from pypid.core.errors import Exists, Missing, Unreadable
from pypid.core.model import Blob
from pypid.core.records.documents import Recording, StorageIdentity, dump
from pypid.core.records.layout import (
    CATALOG_DUMPS,
    DESCRIBED,
    INDEXES,
    OF_RECORD,
    RECORDING,
    STORAGE_IDENTITY,
    ObjectKind,
    ObjectPlace,
    is_only_ours,
    key,
    lies_at,
    part_of,
    place,
)
from pypid.flow import BytesBody, World
from pypid.flow.derived import Locks
from pypid.index.progress import JobGroup, Progress, Tell
from pypid.index.store import records
from pypid.ports import Blobs, Body, Describing, Duplicating

AT_ONCE = 8
"""Objects copied at the same time."""
_ITS_OWN = (STORAGE_IDENTITY, CATALOG_DUMPS, OF_RECORD)
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
    """The result of a copy, in numbers of objects. `size`: the bytes that were transferred;
    `duplicated` of the copied objects needed none. `differ` are keys whose object in the target has
    another size.
    """

    copied: int
    there: int
    size: int
    differ: tuple[str, ...] = field(repr=False)
    duplicated: int = 0


@define
class Copier:
    """Copies from `source` to `target`. An object of the same size that is already there stays;
    nothing is replaced or removed.
    """

    source: Blobs
    target: Blobs
    world: World
    duplicating: Duplicating
    """The ability of `target` to store bytes under a second key."""
    tell: Tell | None = None
    describing: Describing | None = None
    """The descriptions of the source, if it has them: what a pypicloud wrote about a file that is
    not adopted yet becomes a document beside it.
    """
    _copied: int = field(default=0, init=False)
    _there: int = field(default=0, init=False)
    _size: int = field(default=0, init=False)
    _duplicated: int = field(default=0, init=False)
    _differ: list[str] = field(factory=list, init=False, repr=False)
    _of_indexes: dict[str, tuple[str, str]] = field(factory=dict, init=False, repr=False)
    """The keys and SHA-256 of copied files of named indexes, by file name and size."""
    _names: Locks[str] = field(factory=Locks, init=False, repr=False)

    async def copy(self) -> Copied:
        """Copy everything. Raises `StorageDown`, `StorageFull`; objects copied until then stay, and
        are not copied again.
        """
        progress = Progress(self.world.clock, self.tell)
        await self._pass(progress, lambda key: not key.endswith((*_MARKS, _RECORDS)))
        await self._pass(progress, lambda key: key.endswith(_MARKS))
        await self._pass(progress, lambda key: key.endswith(_RECORDS))
        await self._note_since()
        differ = tuple(sorted(self._differ))
        return Copied(self._copied, self._there, self._size, differ, self._duplicated)

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
                            f"{self._copied} objects copied ({self._size} bytes), "
                            f"{self._duplicated} of them inside the target, {self._there} were "
                            f"there"
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
        found = place(blob.key.removeprefix(part_of(blob.key)))
        name = blob.key if found is None else found.filename
        try:
            async with self._names.hold(name):  # equal files have one name
                if found is not None and await self._duplicate(blob, found):
                    self._duplicated += 1
                else:
                    self._size += (await self._write(blob.key, f"{name} {blob.size}")).size
        except Missing:  # deleted since the listing
            return
        except Exists:
            self._there += 1
            return
        self._copied += 1

    async def _duplicate(self, blob: Blob, found: ObjectPlace) -> bool:
        """Duplicate an equal file of a named index in the target; return whether there is one."""
        key, digest = self._of_indexes.get(f"{found.filename} {blob.size}", ("", ""))
        if not key or await self._description(blob.key):
            return False
        prefix = part_of(blob.key)
        part = store.part(self.source, prefix) if prefix else self.source
        try:
            file = await records.read_record(part, found.project, found.filename)
        except Unreadable:
            return False
        if file is None or (prefix + file.key, file.sha256) != (blob.key, digest):
            return False
        # with `replace` a crash leaves no empty object at the key; it was free a moment ago
        await self.duplicating.duplicate(key, blob.key, replace=True)
        return True

    async def _description(self, where: str) -> Mapping[str, str]:
        """Return the description of a file without a record."""
        at = lies_at(where)
        if self.describing is None or at is None or is_only_ours(where):
            return {}
        with suppress(Missing):
            await self.source.stat(key(at.project, at.filename, ObjectKind.RECORD))
            return {}
        return await self.describing.description(where)

    async def _write(self, key: str, name_and_size: str) -> Blob:
        described = await self._description(key)
        body = await self.source.read(key)
        if key.startswith(INDEXES):
            hashed = _HashedBody(body)
            written = await self.target.write(key, hashed)
            self._of_indexes.setdefault(name_and_size, (key, hashed.digest.hexdigest()))
            return written
        written = await self.target.write(key, body)
        if described:
            with suppress(Exists):
                texts = BytesBody(msgspec.json.encode(described))
                await self.target.write(key + DESCRIBED, texts)
        return written


@frozen
class _HashedBody:
    """A body whose bytes are hashed as they are read."""

    body: Body
    digest: Any = field(factory=sha256, repr=False)

    @property
    def size(self) -> int | None:
        return self.body.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self.body:
            self.digest.update(piece)
            yield piece

    async def aclose(self) -> None:
        await self.body.aclose()
