"""Storing and removing cached files: bytes, metadata, then the record, which is the commit; then
the catalog.

A crash between two steps leaves at worst bytes that no record names, which the next fetch of the
same file uses.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import ClassVar

from attrs import Factory, define, evolve, field, frozen
from msgspec.structs import replace
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Exists, Missing, StorageFull, Unreadable
from pypid.core.model import Blob, Digests, File, StoredFile, UpstreamEntry, as_stored, in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import is_copy
from pypid.core.records.documents import dump_record, load_record
from pypid.core.records.layout import (
    KEPT,
    ObjectKind,
    ObjectPlace,
    cached_overwrite_key,
    kept_folder,
    kept_key,
    kept_place,
)
from pypid.flow import Blocking, BytesBody, World
from pypid.flow.derived import Locks, Signal
from pypid.index.context import Pace, stored_digests
from pypid.index.store import records
from pypid.index.store.records import RecordStore, StorageState
from pypid.ports import Blobs, Body, Catalog

# Reading cached files from their records in the storage.
#
# They are stored below a prefix of their own (`layout.KEPT`). As with local files the record is
# the commit, blobs that no record names are orphans, and the catalog's entries can be read again
# from here.

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


MOST_LOOKED = 10_000
"""Maximum number of remembered names that were looked up in the storage: clients may make up any
number of them.
"""


@define(eq=False)
class CacheStore:
    """Stores and removes cached files, and updates the catalog.

    Several processes may do so in one storage at once. Everything raises `StorageDown`.
    """

    blobs: Blobs
    catalog: Catalog
    blocking: Blocking
    file_cached: Signal[[int]] = field(factory=Signal, repr=False)
    """Emitted with the number of bytes stored."""
    shared: bool = False
    """Whether the catalog is shared by several nodes."""
    others_write: bool = True
    """Whether other processes may store files, unknown to this catalog."""
    _writes: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(AT_ONCE), init=False, repr=False
    )
    """Taken before any lock."""
    places: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by ``<project>/<filename>``, held while bytes are written or removed; taken before the
    project's, never after.
    """
    records: RecordStore[UpstreamEntry] = field(
        default=Factory(
            lambda store: RecordStore(
                CachedRecords(store.blobs, store.catalog),
                store.blobs,
                store.catalog,
                MOST_LOOKED,
                store.shared,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )

    async def entry(self, name: ProjectName) -> UpstreamEntry:
        """Return the catalog's entry. Until all projects were compared, an entry is compared with a
        listing before its first use, and a project without cached files is looked up in the
        storage.

        The catalog may be older than the storage: unknown is not absent.
        """
        entry = await self.catalog.upstream.get(name)
        return entry if self.records.is_verified(name, entry) else await self.records.verify(name)

    async def find(self, file: File) -> StoredFile | None:
        """Return the cached copy of these very bytes, if there is one, from the catalog or from its
        record (another process's).
        """
        entry = await self.catalog.upstream.get(file.project)
        held = entry.kept_file(file.filename)
        if held is not None and is_copy(held, file):
            return held
        if not self.others_write and self.records.is_verified(file.project, entry):
            return None
        found = await recorded(self.blobs, file.project, file.filename)
        if found is None or not is_copy(found, file):
            return None
        if not await self._is_whole(found.key, found.size, None):
            return None
        await self.records.resync(file.project)
        return found

    async def _learn(
        self, name: ProjectName, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> None:
        """Update the catalog after a change of the storage; if it is unavailable,
        `RecordStore.flush_pending_updates` does it later.
        """
        with suppress(CatalogDown):
            await self.records.edit(name, change)

    async def keep(
        self, file: File, digests: Digests, body: BodyFactory, metadata: MetadataOf
    ) -> StoredFile:
        """Store the verified bytes; `body` returns them, from the beginning with each call. Return
        the cached file. `metadata` is not called if the announced metadata is stored already.

        The same bytes stored by another process meanwhile are used as well. Raises `StorageFull`.
        """
        async with self._writes, self.places.hold(f"{file.project}/{file.filename}"):
            there = await recorded(self.blobs, file.project, file.filename)
            where, wrote = await self._write_bytes(file, digests, body, there)
            kept = as_stored(
                file,
                key=where,
                sha256=digests.sha256,
                md5=digests.md5,
                blake2b_256=digests.blake2b_256,
                size=digests.size,
            )
            try:
                kept, described = await self._write_metadata(kept, metadata)
                async with self.records.locks.hold(file.project):
                    # as it will be read again: without the mutable fields
                    kept = await self._commit(load_record(dump_record(kept), where), replaces=there)
                    await self._learn(file.project, lambda entry: with_kept(entry, kept))
            except StorageFull:
                if wrote:
                    await self.records.sweep((where, where + ObjectKind.METADATA.value))
                raise
        self.file_cached.emit(digests.size + described)
        return kept

    async def _write_bytes(
        self, file: File, digests: Digests, body: BodyFactory, there: StoredFile | None
    ) -> tuple[str, bool]:
        """Write the bytes unless they are there; return their key, and whether this call wrote
        them. Existing bytes are never replaced.

        A blob under a name is complete (`Blobs.write`), and has the same bytes if a crash left it,
        or another process wrote it.
        """
        plain = kept_key(file.project, file.filename)
        with suppress(Exists):
            await self.blobs.write(plain, await body())
            return plain, True
        if (
            there is not None
            and there.sha256 == digests.sha256
            and await self._is_whole(there.key, digests.size, None)
        ):
            return there.key, False
        if await self._is_whole(plain, digests.size, digests.sha256):
            return plain, False
        other = cached_overwrite_key(file.project, file.filename, digests.sha256)
        if not await self._is_whole(other, digests.size, digests.sha256):
            await self.blobs.write(other, await body(), replace=True)
        return other, True

    async def _is_whole(self, where: str, size: int | None, sha256: str | None) -> bool:
        """Return whether there is a blob of this length and, if given, of this hash."""
        try:
            if (await self.blobs.stat(where)).size != size:
                return False
            return (
                sha256 is None
                or sha256 == (await stored_digests(self.blobs, self.blocking, where)).sha256
            )
        except Missing:
            return False

    async def _write_metadata(
        self, kept: StoredFile, metadata: MetadataOf
    ) -> tuple[StoredFile, int]:
        """Write the metadata beside the bytes, if it is what upstream announces; or find it there
        already. Return the file, and how many bytes were written.
        """
        where = cached_metadata_key(kept)
        there = records.sha256_of(await small(self.blobs, where))
        if there is not None and there == kept.metadata_sha256:
            return kept, 0  # a client has requested it already
        data = await metadata()
        found = records.sha256_of(data)
        if data is not None and kept.metadata_sha256 in (None, found):
            if there != found:
                await self.blobs.write(where, BytesBody(data), replace=True)
            return replace(kept, metadata_sha256=found), len(data)
        if there is not None:
            await self.blobs.delete(where)  # it belonged to other bytes of this name
        return replace(kept, metadata_sha256=None), 0

    async def _commit(self, kept: StoredFile, replaces: StoredFile | None) -> StoredFile:
        """Write the record. If another process's was first and has the same bytes, return its
        file.
        """
        where = kept_key(kept.project, kept.filename, ObjectKind.RECORD)
        if replaces == kept:
            return kept
        try:
            await self.blobs.write(
                where, BytesBody(dump_record(kept)), replace=replaces is not None
            )
        except Exists:
            first = await recorded(self.blobs, kept.project, kept.filename)
            if first is not None and first.sha256 == kept.sha256:
                return first
            await self.blobs.write(where, BytesBody(dump_record(kept)), replace=True)
        if replaces is not None and replaces.key != kept.key:
            await self.records.sweep(cached_keys(replaces))
        return kept

    async def forget(self, name: ProjectName, filename: str) -> None:
        """Remove a cached file from the storage: record, bytes and sidecars, then the catalog's
        entry.
        """
        async with self.places.hold(f"{name}/{filename}"), self.records.locks.hold(name):
            await self.blobs.delete(kept_key(name, filename, ObjectKind.RECORD))
            async with aclosing(self.blobs.list(kept_folder(name) + filename)) as listing:
                found = [blob.key async for blob in listing]
            for where in found:
                placed = kept_place(where)
                if placed is not None and placed.filename == filename:
                    await self.blobs.delete(where)
            await self._learn(name, lambda entry: without_kept(entry, filename))

    async def discard(
        self, name: ProjectName, filename: str, where: str, unwanted: Callable[[], Awaitable[bool]]
    ) -> None:
        """Remove one blob that belongs to a file, if it is `unwanted` once the file's lock is
        held.
        """
        async with self.places.hold(f"{name}/{filename}"):
            if await unwanted():
                await self.blobs.delete(where)
        await self.records.resync(name)

    # --- metadata ---

    async def metadata(self, file: File) -> bytes | None:
        """Return the stored metadata of the file, if it has the expected hash."""
        if file.metadata_sha256 is None:
            return None
        held = (await self.catalog.upstream.get(file.project)).kept_file(file.filename)
        keys = [cached_metadata_key(held)] if held is not None else []
        for where in dict.fromkeys(
            [*keys, kept_key(file.project, file.filename, ObjectKind.METADATA)]
        ):
            data = await small(self.blobs, where)
            if records.sha256_of(data) == file.metadata_sha256:
                return data
        return None

    async def keep_metadata(
        self, file: File, data: bytes, learn: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> None:
        """Store the metadata of a file, which itself need not be cached; `learn` is the edit of the
        catalog's entry.
        """
        async with (
            self._writes,
            self.places.hold(f"{file.project}/{file.filename}"),
            self.records.locks.hold(file.project),
        ):
            held = (await self.catalog.upstream.get(file.project)).kept_file(file.filename)
            where = kept_key(file.project, file.filename, ObjectKind.METADATA)
            if held is not None and is_copy(held, file):
                where = cached_metadata_key(held)
            await self.blobs.write(where, BytesBody(data), replace=True)
            await self._learn(file.project, learn)
        self.file_cached.emit(len(data))

    # --- provenance ---

    async def provenance(self, file: File) -> bytes | None:
        """Return the stored provenance object of the file, if these very bytes are cached."""
        held = await self.find(file)
        return None if held is None else await small(self.blobs, cached_provenance_key(held))

    async def keep_provenance(self, file: File, data: bytes) -> StoredFile | None:
        """Store the provenance object of a cached file. Return the file; None if it is no longer
        cached: provenance is not stored without its file.
        """
        async with (
            self._writes,
            self.places.hold(f"{file.project}/{file.filename}"),
            self.records.locks.hold(file.project),
        ):
            held = await recorded(self.blobs, file.project, file.filename)
            if held is None or not is_copy(held, file):
                return None
            await self.blobs.write(cached_provenance_key(held), BytesBody(data), replace=True)
            await self._learn(file.project, lambda entry: with_provenance(entry, held.key))
        self.file_cached.emit(len(data))
        return replace(held, attested=True)

    # --- comparing with the storage ---

    async def compare(self) -> int:
        """Bring the catalog in line with the storage; return how many projects had to be read.

        Uses one listing; a project is read only if listing and catalog disagree. Raises
        `CatalogDown`.
        """
        generation = self.catalog.generation
        read = 0
        seen: set[ProjectName] = set()
        async with aclosing(cached_blobs(self.blobs)) as projects:
            async for name, present in projects:
                seen.add(name)
                if not agrees(await self.catalog.upstream.get(name), present):
                    await self._resync_or_fail(name)
                    read += 1
        for summary in await self.catalog.upstream.summaries():
            if summary.name not in seen:
                await self._resync_or_fail(summary.name)
                read += 1
        self.records.note_compared(generation)
        return read

    async def _resync_or_fail(self, name: ProjectName) -> None:
        await self.records.resync(name)
        if name in self.records.pending_updates:
            raise CatalogDown("what is kept was not compared with it.")


# When cached files were last accessed: in memory to the second, and periodically in the catalog,
# to the hour.
#
# So the least recently used can be evicted first (`[upstream] max_cache`). Storing each download
# would be a write for each read.

HOUR = 3600

Times = dict[ProjectName, dict[str, int]]
"""Seconds since 1970, by file name."""


@define(eq=False)
class LastAccess:
    """Last access times. `touch` costs nothing; `write_down` is for a periodic job, and for
    shutdown.
    """

    now: Callable[[], datetime]
    _unwritten: Times = field(factory=dict, init=False, repr=False)
    _written: Times = field(factory=dict, init=False, repr=False)
    """Times written less than an hour ago, still to the second: within the last hour, their order
    matters.
    """

    def touch(self, name: ProjectName, filename: str) -> None:
        """Note that the file is accessed now."""
        self._unwritten.setdefault(name, {})[filename] = int(self.now().timestamp())

    def wanted(self, entry: UpstreamEntry) -> Mapping[str, int]:
        """Return when files of the project were last accessed: in seconds since 1970, rounded to
        the hour if long ago.
        """
        hours = {filename: hour * HOUR for filename, hour in entry.touched}
        return {**hours, **self._written.get(entry.name, {}), **self._unwritten.get(entry.name, {})}

    async def write_down(self, catalog: Catalog) -> None:
        """Write the accesses since the last call to the catalog; if a shared one is unavailable,
        keep them for the next call.
        """
        self._forget(int(self.now().timestamp()) - HOUR)
        while self._unwritten:
            name, times = self._unwritten.popitem()
            hours = {filename: seconds // HOUR for filename, seconds in times.items()}
            try:
                await catalog.upstream.edit(name, partial(with_touched, hours=hours))
            except BaseException as error:
                self._unwritten[name] = {**times, **self._unwritten.get(name, {})}
                if isinstance(error, CatalogDown):
                    return
                raise
            self._written.setdefault(name, {}).update(times)

    def _forget(self, before: int) -> None:
        """Drop the seconds of times that are older than this: the hour in the catalog is precise
        enough.
        """
        recent = {
            name: {filename: seconds for filename, seconds in times.items() if seconds >= before}
            for name, times in self._written.items()
        }
        self._written = {name: times for name, times in recent.items() if times}


def with_touched(entry: UpstreamEntry, hours: dict[str, int]) -> UpstreamEntry:
    """Return `entry` with the last access of these files (those that are cached) set to these
    hours, unless it is later already.
    """
    kept = {file.filename for file in entry.kept}
    known = {filename: hour for filename, hour in entry.touched if filename in kept}
    for filename, hour in hours.items():
        if filename in kept:
            known[filename] = max(hour, known.get(filename, 0))
    return evolve(entry, touched=tuple(sorted(known.items())))


# The inventory of the cache: the size of each cached file in the storage, and when it was last
# accessed.
#
# Only blobs below `layout.KEPT` are read: local files are no part of it.


@frozen
class InventoryEntry:
    """All blobs of one cached file together. `size` in bytes; `wanted` is the last access, in
    seconds since 1970. `upstream`: the name of its `[upstream:NAME]`; "" for `[upstream]`.

    `recorded`: the file can be served. Otherwise only its metadata is cached, which an installer
    has requested, or the blobs were left by a crash.
    """

    project: ProjectName
    filename: str
    size: int
    wanted: int
    recorded: bool = False
    upstream: str = ""


@define
class _Sum:
    size: int = 0
    stored: int = 0
    recorded: bool = False

    def add(self, place: ObjectPlace, blob: Blob) -> None:
        self.size += blob.size
        self.stored = max(self.stored, int(blob.modified.timestamp()))
        self.recorded = self.recorded or place.kind is ObjectKind.RECORD


_Sums = Mapping[tuple[ProjectName, str], _Sum]


@frozen
class CacheInventory:
    """Lists the cached files. There may be a hundred thousand: it yields the reactor regularly."""

    blobs: Blobs
    catalog: Catalog
    last_access: LastAccess
    world: World
    upstream: str = ""
    """The name of the upstream that the files are from."""

    async def lying(self, project: ProjectName | None = None) -> Sequence[InventoryEntry]:
        """Return all cached files (of one project), by name, including blobs that no record names;
        the time of storing counts as the last access.

        Raises `StorageDown`.
        """
        pace = Pace(self.world)
        sums: dict[tuple[ProjectName, str], _Sum] = {}
        async with aclosing(
            self.blobs.list(KEPT if project is None else kept_folder(project))
        ) as listing:
            async for blob in listing:
                place = kept_place(blob.key)
                if place is not None and place.filename:
                    sums.setdefault((place.project, place.filename), _Sum()).add(place, blob)
                await pace.keep()
        return await self.world.thinking(_in_order, sums, self.upstream)

    async def taken(
        self, files: Sequence[InventoryEntry] | None = None, project: ProjectName | None = None
    ) -> Sequence[InventoryEntry]:
        """Return the cached files (or `files` of them) with their last access. This reads the
        catalog's entry of each project.
        """
        pace = Pace(self.world)
        known: list[InventoryEntry] = []
        for name, held in groupby(
            await self.lying(project) if files is None else files, attrgetter("project")
        ):
            wanted = self.last_access.wanted(await self.catalog.upstream.get(name))
            known += [
                evolve(file, wanted=max(file.wanted, wanted.get(file.filename, 0))) for file in held
            ]
            await pace.keep()
        return known


def _in_order(sums: _Sums, upstream: str) -> list[InventoryEntry]:
    return [
        InventoryEntry(*key, found.size, found.stored, found.recorded, upstream)
        for key, found in sorted(sums.items(), key=itemgetter(0))
    ]
