"""The storage in a backup file: copying its objects into one while pypid runs, and back.

Everything that was acknowledged before the copy begins is in the backup. The records, yanks,
tombstones, histories and the status of a project are read between two equal listings, so that no
half of a change is copied. With package files the bytes are copied before the record that names
them; if bytes disappear meanwhile, the project is read again.

Named indexes are copied before the default one. A file whose record has the hash of a file of a
named index becomes a link to it: a promotion adds no bytes, whether the storage is a folder or a
bucket.

Promotions that are not complete when the copy begins come last (`stored_objects`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial

from attrs import Factory, define, evolve, field

from pypid.blobs.keys import pieces
from pypid.blobs.prefixed import PrefixedBlobs, PrefixedDescriptions
from pypid.core.errors import Archived, Missing, Unreadable
from pypid.core.model import Blob, StoredFile
from pypid.core.records.documents import Recording, StorageIdentity, dump, load, load_record
from pypid.core.records.layout import (
    CATALOG_DUMPS,
    CLEAN_STOP,
    HELD,
    INDEX_NAMES,
    INDEXES,
    KEPT,
    LEASES,
    OF_RECORD,
    OURS_AS_A_WHOLE,
    RECORDING,
    STORAGE_IDENTITY,
    ObjectKind,
    held_bytes,
    is_only_ours,
    key,
    lies_at,
    part_of,
    sidecar_key,
)
from pypid.core.records.promotions import id_of_key
from pypid.flow import World, whole
from pypid.index.job_group import all_of
from pypid.index.store.held_listing import HeldListing
from pypid.jobs.backup.backup_file import (
    STORAGE,
    BackupWriter,
    linkable,
)
from pypid.jobs.backup.stored_objects import (
    BYTES_ONLY,
    LARGEST,
    RECORD,
    SIDECAR_KINDS,
    SIDECARS,
    complete_promotions,
    group_of,
    is_changing_document,
    other_promotions,
)
from pypid.ports import Blobs, Describing

AT_ONCE = 8
"""Small objects that are read or written at the same time."""
_ATTEMPTS = 5
_ITS_OWN = (STORAGE_IDENTITY, CATALOG_DUMPS, OF_RECORD, CLEAN_STOP, LEASES, INDEX_NAMES)
"""Objects that describe one storage only, or that are derived."""


@define(eq=False)
class StorageCapture:
    """Copies the objects of `blobs` to `writer`: documents, and with `files` also package files;
    with `cached` those of upstream projects, too.
    """

    blobs: Blobs
    writer: BackupWriter
    world: World
    files: bool
    cached: bool
    describing: Describing | None = None
    tell: Callable[[], object] = lambda: None
    """Called often, for progress."""
    prefix: str = ""
    """The prefix of the keys in the whole storage, if `blobs` are those of a named index."""
    linkable: dict[str, str] = field(factory=dict, repr=False)
    """The paths in the backup of files of named indexes, by SHA-256 and size."""
    projects: int = field(default=0, init=False)
    file_count: int = field(default=0, init=False)
    problems: list[str] = field(factory=list, init=False)
    _complete: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    """The ids of promotions that were complete when this copy began."""
    _held: dict[str, str] = field(factory=dict, init=False)
    """The SHA-256 of copied bytes that a block withholds, by key."""
    _held_listing: HeldListing = field(
        default=Factory(lambda self: HeldListing(self.blobs), takes_self=True), init=False
    )

    async def capture(self) -> None:
        """Copy all objects. Raises `StorageDown`, `OSError`."""
        self._complete = await complete_promotions(self.blobs)
        await self._note_recording()
        current, group = "", list[Blob]()
        prefixes = dict[str, None]()
        async with aclosing(self.blobs.list()) as listing:
            async for blob in listing:
                if prefix := part_of(blob.key):
                    prefixes[prefix] = None
                    continue
                if group_of(blob.key) != current:
                    await self._copy_group(current, group)
                    await self._copy_parts(prefixes)
                    current, group = group_of(blob.key), []
                group.append(blob)
            await self._copy_group(current, group)
        await self._copy_parts(prefixes)
        async for promotion in other_promotions(self.blobs, self.world, self._complete):
            for file in promotion.files:
                await self._copy_promoted(promotion.prefix, file)
            for where, data in promotion.documents.items():
                await self._add(where, data)

    async def _copy_promoted(self, prefix: str, file: StoredFile) -> None:
        """Copy a file and its sidecars in the target of a promotion, unless they were deleted."""
        where = prefix + file.key
        with suppress(Missing):
            if self.files:
                size = (await self.blobs.stat(where)).size
                if await self._link(where, file.sha256, size) is None:
                    await self._stream(where)
        for kind in SIDECAR_KINDS:
            with suppress(Missing):
                await self._stream(prefix + sidecar_key(file, kind))

    async def _copy_parts(self, prefixes: dict[str, None]) -> None:
        """Copy the named indexes and upstreams with these prefixes, and clear the prefixes."""
        for prefix in prefixes:
            await self._copy_part(prefix)
        prefixes.clear()

    async def _copy_part(self, prefix: str) -> None:
        """Copy the objects of a named index or upstream."""
        blobs = PrefixedBlobs(self.blobs, prefix)
        describing = self.describing and PrefixedDescriptions(self.describing, prefix)
        part = evolve(self, blobs=blobs, describing=describing, prefix=prefix)
        await part.capture()
        self.projects += part.projects
        self.file_count += part.file_count
        self.problems += [prefix + problem for problem in part.problems]

    async def _note_recording(self) -> None:
        """Add the document that says since when changes are recorded in this storage."""
        begun = []
        for where, kind, name in (
            (RECORDING, Recording, "since"),
            (STORAGE_IDENTITY, StorageIdentity, "recorded"),
        ):
            with suppress(Missing, Unreadable):
                begun.append(getattr(load(kind, await self._read(where), where), name))
        times = [time for time in begun if isinstance(time, datetime)]
        if times:
            await self._add(RECORDING, dump(Recording(min(times))))

    # --- one project ---

    async def _copy_group(self, prefix: str, listed: Sequence[Blob]) -> None:
        """Copy the objects of one project, or of another folder of the storage."""
        wanted: Sequence[Blob] = [blob for blob in listed if self._is_wanted(blob)]
        if not wanted:
            return
        copied: dict[str, str] = {}
        for attempt in range(1, _ATTEMPTS + 1):
            documents, wanted = await self._documents(prefix, wanted)
            hashes = _hashes(documents)
            missing = await self._copy_files(prefix, wanted, hashes, copied)
            differing = {
                where for where in hashes if (copied.get(where) or hashes[where]) != hashes[where]
            }
            if not missing and not differing:
                break
            # a file was deleted or replaced since: then its record is another one by now
            listed, wanted = wanted, await self._listed(prefix)
            if attempt == _ATTEMPTS or listed == wanted:
                self.problems += [f"{where}: its content is missing" for where in sorted(missing)]
                self.problems += [f"{where}: its content is damaged" for where in sorted(differing)]
                break
        for where in sorted(documents, key=lambda where: (where.endswith(RECORD), where)):
            await self._add(where, documents[where])
        is_local = bool(documents) and not prefix.startswith((KEPT, OURS_AS_A_WHOLE))
        self.projects += is_local
        if is_local and self.prefix.startswith(INDEXES):
            # not copied: the markers were listed before, and a project may be new since
            marker = f"{INDEX_NAMES}{prefix}{self.prefix.split('/')[2]}"
            await self.world.blocking(self.writer.add, STORAGE + marker, b"")

    def _is_wanted(self, blob: Blob) -> bool:
        where = blob.key
        if where.startswith(_ITS_OWN) or where == RECORDING or blob.provisional:
            return False
        if (id := id_of_key(where)) and id not in self._complete:
            return False
        held = held_bytes(where)
        if (where if held is None else held.origin).startswith(KEPT):
            return self.files and self.cached
        if self.files or is_changing_document(blob):
            return True
        return where.endswith(SIDECARS) and not where.startswith(BYTES_ONLY)

    async def _listed(self, prefix: str) -> list[Blob]:
        async with aclosing(self.blobs.list(prefix)) as listing:
            return [
                blob
                async for blob in listing
                if group_of(blob.key) == prefix and not part_of(blob.key) and self._is_wanted(blob)
            ]

    async def _documents(
        self, prefix: str, listed: Sequence[Blob]
    ) -> tuple[dict[str, bytes], Sequence[Blob]]:
        """Return the documents by key, and the listing that they were read in."""
        for _ in range(_ATTEMPTS):
            documents = [blob.key for blob in listed if is_changing_document(blob)]
            found = await all_of((partial(self._read_if_there, at) for at in documents), AT_ONCE)
            self.tell()
            again = await self._listed(prefix)
            unchanged = _documents_of(again) == _documents_of(listed)
            listed = again
            if unchanged:
                break
        return {
            at: data for at, data in zip(documents, found, strict=True) if data is not None
        }, listed

    async def _copy_files(
        self,
        prefix: str,
        listed: Sequence[Blob],
        hashes: Mapping[str, str],
        copied: dict[str, str],
    ) -> set[str]:
        """Copy what is not a document, unless `copied` has it; return the keys that do not
        exist.
        """
        sizes = {blob.key: blob.size for blob in listed if not is_changing_document(blob)}
        keys = list(sizes)
        if self.files:
            keys += [where for where in hashes if where not in sizes]
        missing = set()
        for where in keys:
            if where not in copied and not await self._is_elsewhere(prefix, where):
                sha256 = None
                if where in hashes and where in sizes:
                    sha256 = await self._link(where, hashes[where], sizes[where])
                sha256 = sha256 or await self._stream_file(where)
                if sha256 is None:
                    missing.add(where)
                else:
                    copied[where] = sha256
                self.file_count += where in hashes
        return missing

    async def _is_elsewhere(self, prefix: str, where: str) -> bool:
        """Return whether another project's record names the file, which copies it then."""
        place = lies_at(where)
        if place is None or f"{place.project}/" == prefix or group_of(where) != prefix:
            return False
        try:
            await self.blobs.stat(key(place.project, place.filename, ObjectKind.RECORD))
        except Missing:
            return False
        return True

    async def _link(self, where: str, sha256: str, size: int) -> str | None:
        """Add the file as a link to an equal one; return its SHA-256, or None if there is none. The
        description of a link is that of the other file, so a file with another one is no link.
        """
        target = self.linkable.get(f"{sha256} {size}")
        if target is None or await self._description(where):
            return None
        if target != self._path(where):
            await self.world.blocking(self.writer.link, self._path(where), target, sha256)
        return sha256

    async def _stream_file(self, where: str) -> str | None:
        """Copy the bytes of a file, also while a block withholds them; return their SHA-256, or
        None if they do not exist.
        """
        with suppress(Missing):
            return await self._stream(where)
        for listing in (self._held_listing, HeldListing(self.blobs)):  # the first may be outdated
            with suppress(Missing):
                if (held := await listing.find(where)) is not None:
                    return self._held.get(held.key) or await self._stream(held.key)
        return None

    async def _stream(self, where: str) -> str:
        """Copy one object of any size; return its SHA-256. Raises `Missing`."""
        described = await self._description(where)
        try:
            body = await self.blobs.read(where)
        except Archived:
            self.problems.append(f"{where}: it is in an archive storage class")
            return ""
        try:
            size = body.size if body.size is not None else (await self.blobs.stat(where)).size
            await self.world.blocking(self.writer.begin, self._path(where), size, described)
            async with aclosing(pieces(body)) as source:
                async for piece in source:
                    await self.world.blocking(self.writer.write, piece)
                    self.tell()
        finally:
            await body.aclose()
        sha256 = await self.world.blocking(self.writer.end)
        if self.writer.has_links and linkable(self._path(where)):
            self.linkable[f"{sha256} {size}"] = self._path(where)
        if where.startswith(HELD):
            self._held[where] = sha256
        return sha256

    async def _description(self, where: str) -> Mapping[str, str]:
        if self.describing is None or (is_only_ours(where) and not where.startswith(HELD)):
            return {}
        return await self.describing.description(where)

    async def _read_if_there(self, where: str) -> bytes | None:
        try:
            return await self._read(where)
        except Missing:
            return None

    async def _read(self, where: str) -> bytes:
        return await whole(await self.blobs.read(where), LARGEST)

    def _path(self, where: str) -> str:
        return f"{STORAGE}{self.prefix}{where}"

    async def _add(self, where: str, data: bytes) -> None:
        await self.world.blocking(self.writer.add, self._path(where), data)
        self.tell()


def _documents_of(listed: Sequence[Blob]) -> list[Blob]:
    return [blob for blob in listed if is_changing_document(blob)]


def _hashes(documents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file that a record names, by the key of its bytes."""
    found = {}
    for where, data in documents.items():
        if where.endswith(RECORD):
            with suppress(Unreadable):
                file = load_record(data, where)
                found[file.key] = file.sha256
    return found
