"""Reading cached files from their records in the storage.

They are stored below a prefix of their own (`layout.KEPT`). As with local files the record is the
commit, blobs that no record names are orphans, and the catalog's entries can be read again from
here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import ClassVar

from attrs import evolve, frozen
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import Unreadable
from pypid.core.model import Blob, StoredFile, UpstreamEntry, in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import KEPT, ObjectKind, kept_folder, kept_key, kept_place
from pypid.index.store import records
from pypid.index.store.record_store import RecordKind, StorageState
from pypid.ports import Blobs, Body, Catalog

_log = Logger()

BodyFactory = Callable[[], Awaitable[Body]]
"""Returns the bytes of a file, from their beginning with each call."""
MetadataOf = Callable[[], Awaitable[bytes | None]]
"""Returns the metadata in a file, or None if there is none."""
AT_ONCE = 8
"""Files and metadata written at the same time: no client waits for them, and each keeps a thread
waiting for the disk that others need to answer clients.
"""


async def cached_blobs(
    blobs: Blobs,
) -> AsyncGenerator[tuple[ProjectName, dict[str, Blob]], None]:
    """Yield each project with cached files, and its blobs by key, from one listing. Close it
    explicitly. Raises `StorageDown`.
    """
    async with aclosing(blobs.list(KEPT)) as listing:
        name: ProjectName | None = None
        present: dict[str, Blob] = {}
        async for blob in listing:
            placed = kept_place(blob.key)
            if placed is None:
                continue
            if placed.project != name:
                if name is not None:
                    yield name, present
                name, present = placed.project, {}
            present[blob.key] = blob
        if name is not None:
            yield name, present


@frozen
class CachedRecords:
    """The records of cached files (`RecordKind`): what is lost or unreadable is fetched again.

    Without the catalog there is no upstream listing, so that nothing can be answered.
    """

    blobs: Blobs
    catalog: Catalog
    is_cache: ClassVar[bool] = True

    def folder(self, name: ProjectName) -> str:
        return kept_folder(name)

    async def held(self, name: ProjectName) -> UpstreamEntry:
        return await self.catalog.upstream.get(name)

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[UpstreamEntry], UpstreamEntry],
        mark: str | None = None,
    ) -> UpstreamEntry:
        return await self.catalog.upstream.edit(name, change)

    async def read(self, name: ProjectName, listing: Sequence[Blob]) -> StorageState[UpstreamEntry]:
        files = await cached_files(self.blobs, name, listing)
        return StorageState(lambda entry: evolve(entry, kept=files))

    async def agrees(self, held: UpstreamEntry, name: ProjectName, listing: Sequence[Blob]) -> bool:
        return agrees(held, {blob.key: blob for blob in listing})

    def has_records(self, held: UpstreamEntry) -> bool:
        return bool(held.kept)

    def version(self, held: UpstreamEntry) -> object:
        return held.kept

    def is_same(self, held: UpstreamEntry, found: UpstreamEntry) -> bool:
        return held == found


async def cached_files(
    blobs: Blobs, name: ProjectName, listing: Sequence[Blob]
) -> tuple[StoredFile, ...]:
    """Return the project's cached files in the listing of its folder, `in_order`. Raises
    `StorageDown`.

    A file that is unreadable, or has no bytes of its length, is left out and logged: it can be
    fetched again.
    """
    present = {blob.key: blob for blob in listing}
    files: list[StoredFile] = []
    for where in map(kept_place, present):
        if where is not None and where.project == name and where.kind is ObjectKind.RECORD:
            file = await recorded(blobs, name, where.filename)
            if file is None:
                continue
            found = present.get(file.key)
            if found is None or found.size != file.size:
                _log.warn(
                    "the bytes of the cached file {filename} are missing; it will be fetched again",
                    filename=file.filename,
                )
                continue
            file = replace(file, archived=found.archived)
            files.append(await _with_sidecars(blobs, file, present))
    return in_order(tuple(files))


async def _with_sidecars(blobs: Blobs, file: StoredFile, present: dict[str, Blob]) -> StoredFile:
    """Return the file with the hash of the metadata beside it, and whether there is provenance:
    both may have been added or removed since the record was written.
    """
    file = replace(file, attested=cached_provenance_key(file) in present)
    if cached_metadata_key(file) not in present:
        return replace(file, metadata_sha256=None)
    if file.metadata_sha256 is not None:
        return file
    return replace(
        file, metadata_sha256=records.sha256_of(await small(blobs, cached_metadata_key(file)))
    )


async def recorded(blobs: Blobs, name: ProjectName, filename: str) -> StoredFile | None:
    """Return the file of a record, or None if there is no usable one."""
    where = kept_key(name, filename, ObjectKind.RECORD)
    try:
        file = await records.read_file(blobs, where, name, filename)
        if file is not None and not file.key.startswith(kept_folder(name)):
            raise Unreadable(where, f"it names bytes outside the cache: {file.key!r}")
    except Unreadable as error:
        _log.warn("{error}; the file will be fetched again", error=error)
        return None
    return file


async def small(blobs: Blobs, where: str) -> bytes | None:
    try:
        return await records.read_bytes(blobs, where)
    except Unreadable as error:
        _log.warn("{error}; it counts as missing", error=error)
        return None


def cached_metadata_key(file: StoredFile) -> str:
    """Return the key of the metadata of a cached file: beside its very bytes."""
    return file.key + ObjectKind.METADATA.value


def cached_provenance_key(file: StoredFile) -> str:
    """Return the key of the provenance of a cached file: beside its very bytes."""
    return file.key + ObjectKind.PROVENANCE.value


def cached_keys(file: StoredFile) -> tuple[str, ...]:
    """Return the keys of a cached file's bytes and of the documents beside them."""
    return file.key, cached_metadata_key(file), cached_provenance_key(file)


def with_provenance(entry: UpstreamEntry, where: str) -> UpstreamEntry:
    """Return `entry`, whose cached file with this key has provenance now."""
    kept = (replace(file, attested=True) if file.key == where else file for file in entry.kept)
    return evolve(entry, kept=tuple(kept))


def with_kept(entry: UpstreamEntry, file: StoredFile) -> UpstreamEntry:
    """Return `entry` with this cached file added."""
    others = (other for other in entry.kept if other.filename != file.filename)
    return evolve(entry, kept=in_order((*others, file)))


def without_kept(entry: UpstreamEntry, filename: str) -> UpstreamEntry:
    """Return `entry` without the cached file of this name."""
    return evolve(entry, kept=tuple(file for file in entry.kept if file.filename != filename))


def agrees(entry: UpstreamEntry, present: dict[str, Blob]) -> bool:
    """Return whether the listing of a project's cached files agrees with the catalog's entry."""
    records = {
        placed.filename
        for key in present
        if (placed := kept_place(key)) is not None and placed.kind is ObjectKind.RECORD
    }
    if records != {file.filename for file in entry.kept}:
        return False
    for file in entry.kept:
        found = present.get(file.key)
        if found is None or (found.size, found.archived) != (file.size, file.archived):
            return False
        if (cached_metadata_key(file) in present) != (file.metadata_sha256 is not None):
            return False
        if (cached_provenance_key(file) in present) != file.attested:
            return False
    return True


_: type[RecordKind[UpstreamEntry]] = CachedRecords
