"""Storing and removing cached files: bytes, metadata, then the record, which is the commit; then
the catalog.

A crash between two steps leaves at worst bytes that no record names, which the next fetch of the
same file uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from attrs import Factory, define, field
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Exists, Missing, StorageFull
from pypid.core.model import Digests, File, StoredFile, UpstreamEntry, as_stored
from pypid.core.packaging.expected_digest import is_copy
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_record, load_record
from pypid.core.records.layout import (
    ObjectKind,
    cached_overwrite_key,
    kept_folder,
    kept_key,
    kept_place,
)
from pypid.flow import Blocking, BytesBody
from pypid.flow.signals import Signal
from pypid.flow.single_flight import JobLimit, Locks
from pypid.index.context import stored_digests
from pypid.index.store import records
from pypid.index.store.record_store import RecordStore
from pypid.index.upstream.cached_records import (
    AT_ONCE,
    BodyFactory,
    CachedRecords,
    MetadataOf,
    agrees,
    cached_blobs,
    cached_keys,
    cached_metadata_key,
    cached_provenance_key,
    recorded,
    small,
    with_kept,
    with_provenance,
    without_kept,
)
from pypid.ports import Blobs, Catalog

_log = Logger()

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
    """Whether the catalog is shared by several nodes; it has no dump then."""
    others_write: bool = True
    """Whether other processes may store files, unknown to this catalog."""
    _writes: JobLimit = field(factory=lambda: JobLimit(AT_ONCE), init=False, repr=False)
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
        """Return the catalog's entry. Until all projects were compared, an entry of a dump is
        compared with a listing before its first use, and a project without cached files is looked
        up in the storage.

        A dump may be old or missing: unknown is not absent.
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
        async with self._writes.taken(), self.places.hold(f"{file.project}/{file.filename}"):
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
            self._writes.taken(),
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
            self._writes.taken(),
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
