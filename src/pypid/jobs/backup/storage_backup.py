"""The storage in a backup file: copying its objects into one while pypid runs, and back.

Everything that was acknowledged before the copy begins is in the backup. The records, yanks,
tombstones, histories and the status of a project are read between two equal listings, so that no
half of a change is copied. With package files the bytes are copied before the record that names
them; if bytes disappear meanwhile, the project is read again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial

from attrs import Factory, define, field, frozen

from pypid.blobs.keys import pieces
from pypid.core.errors import Archived, Missing, Unreadable
from pypid.core.model import Blob
from pypid.core.records.documents import Recording, StorageIdentity, dump, load, load_record
from pypid.core.records.layout import (
    CLEAN_STOP,
    DESCRIBED,
    HELD,
    KEPT,
    LEASES,
    OF_RECORD,
    OURS_AS_A_WHOLE,
    RECORDING,
    SET_ASIDE,
    SNAPSHOT,
    STORAGE_IDENTITY,
    THEIR_SNAPSHOT,
    ObjectKind,
    held_bytes,
    is_only_ours,
    key,
    lies_at,
)
from pypid.flow import BytesBody, World, whole
from pypid.index.job_group import JobGroup, all_of
from pypid.index.store.held_listing import HeldListing
from pypid.jobs.backup.backup_file import PIECE, STORAGE, BackupWriter
from pypid.jobs.backup.backup_reader import BackupMember
from pypid.ports import Blobs, Body, Describing

AT_ONCE = 8
"""Small objects that are read or written at the same time."""
_ATTEMPTS = 5
_LARGEST = 1 << 20
"""Bytes of the largest object that is read into memory."""
_ITS_OWN = (STORAGE_IDENTITY, SNAPSHOT, THEIR_SNAPSHOT, OF_RECORD, CLEAN_STOP, LEASES)
"""Objects that describe one storage only, or that are derived."""
_RECORD = ObjectKind.RECORD.value
_CHANGING = (
    _RECORD,
    ObjectKind.YANKED.value,
    ObjectKind.DELETED.value,
    ObjectKind.HISTORY.value,
    f"/{ObjectKind.PROJECT.value}",
    DESCRIBED,
)
_BYTES_ONLY = (HELD, SET_ASIDE)
"""Prefixes of package files, not documents, among the objects of the storage as a whole."""
_SIDECARS = (
    ObjectKind.METADATA.value,
    ObjectKind.SIGNATURE.value,
    ObjectKind.PROVENANCE.value,
)


def group_of(where: str) -> str:
    """Return the prefix that the objects of one project share; for others that of their folder."""
    first, slash, rest = where.partition("/")
    if f"{first}/" == KEPT:
        return f"{KEPT}{rest.partition('/')[0]}/"
    return first + slash


def _is_document(blob: Blob) -> bool:
    """Return whether it is a small object that may change."""
    if blob.size > _LARGEST or blob.key.startswith(_BYTES_ONLY):
        return False
    return blob.key.startswith(OURS_AS_A_WHOLE) or blob.key.endswith(_CHANGING)


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
    projects: int = field(default=0, init=False)
    file_count: int = field(default=0, init=False)
    problems: list[str] = field(factory=list, init=False)
    _is_recording: bool = field(default=False, init=False)
    _held: dict[str, str] = field(factory=dict, init=False)
    """The SHA-256 of copied bytes that a block withholds, by key."""
    _held_listing: HeldListing = field(
        default=Factory(lambda self: HeldListing(self.blobs), takes_self=True), init=False
    )

    async def capture(self) -> None:
        """Copy all objects. Raises `StorageDown`, `OSError`."""
        await self._note_recording()
        current, group = "", list[Blob]()
        async with aclosing(self.blobs.list()) as listing:
            async for blob in listing:
                if group_of(blob.key) != current:
                    await self._copy_group(current, group)
                    current, group = group_of(blob.key), []
                group.append(blob)
            await self._copy_group(current, group)

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
            records = _records(documents)
            missing = await self._copy_files(prefix, wanted, records, copied)
            differing = {
                where
                for where in records
                if (copied.get(where) or records[where]) != records[where]
            }
            if not missing and not differing:
                break
            # a file was deleted or replaced since: then its record is another one by now
            listed, wanted = wanted, await self._listed(prefix)
            if attempt == _ATTEMPTS or listed == wanted:
                self.problems += [f"{where}: its content is missing" for where in sorted(missing)]
                self.problems += [f"{where}: its content is damaged" for where in sorted(differing)]
                break
        for where in sorted(documents, key=lambda where: (where.endswith(_RECORD), where)):
            await self._add(where, documents[where])
        self.projects += not prefix.startswith((KEPT, OURS_AS_A_WHOLE)) and bool(documents)

    def _is_wanted(self, blob: Blob) -> bool:
        where = blob.key
        if where.startswith(_ITS_OWN) or where == RECORDING or blob.provisional:
            return False
        held = held_bytes(where)
        if (where if held is None else held.origin).startswith(KEPT):
            return self.files and self.cached
        if self.files or _is_document(blob):
            return True
        return where.endswith(_SIDECARS) and not where.startswith(_BYTES_ONLY)

    async def _listed(self, prefix: str) -> list[Blob]:
        async with aclosing(self.blobs.list(prefix)) as listing:
            return [
                blob
                async for blob in listing
                if group_of(blob.key) == prefix and self._is_wanted(blob)
            ]

    async def _documents(
        self, prefix: str, listed: Sequence[Blob]
    ) -> tuple[dict[str, bytes], Sequence[Blob]]:
        """Return the documents by key, and the listing that they were read in."""
        for _ in range(_ATTEMPTS):
            documents = [blob.key for blob in listed if _is_document(blob)]
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
        self, prefix: str, listed: Sequence[Blob], records: Iterable[str], copied: dict[str, str]
    ) -> set[str]:
        """Copy what is not a document, unless `copied` has it; return the keys that do not
        exist.
        """
        keys = [blob.key for blob in listed if not _is_document(blob)]
        if self.files:
            known = set(keys)
            keys += [where for where in records if where not in known]
        missing = set()
        for where in keys:
            if where not in copied and not await self._is_elsewhere(prefix, where):
                sha256 = await self._stream_file(where)
                if sha256 is None:
                    missing.add(where)
                else:
                    copied[where] = sha256
                self.file_count += where in records
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
            await self.world.blocking(self.writer.begin, STORAGE + where, size, described)
            async with aclosing(pieces(body)) as source:
                async for piece in source:
                    await self.world.blocking(self.writer.write, piece)
                    self.tell()
        finally:
            await body.aclose()
        sha256 = await self.world.blocking(self.writer.end)
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
        return await whole(await self.blobs.read(where), _LARGEST)

    async def _add(self, where: str, data: bytes) -> None:
        await self.world.blocking(self.writer.add, STORAGE + where, data)
        self.tell()


def _documents_of(listed: Sequence[Blob]) -> list[Blob]:
    return [blob for blob in listed if _is_document(blob)]


def _records(documents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file that a record names, by the key of its bytes."""
    found = {}
    for where, data in documents.items():
        if where.endswith(_RECORD):
            with suppress(Unreadable):
                file = load_record(data, where)
                found[file.key] = file.sha256
    return found


# --- restoring ------------------------------------------------------------------------------------


def is_document_of_record(member: BackupMember) -> bool:
    """Return whether the member is a document or a sidecar of a local project, or of the storage as
    a whole.
    """
    where = member.path.removeprefix(STORAGE)
    if where.startswith((KEPT, *_BYTES_ONLY)):
        return False
    return where.startswith(OURS_AS_A_WHOLE) or where.endswith((*_CHANGING, *_SIDECARS))


async def first_record(blobs: Blobs) -> str | None:
    """Return the key of a document of a project, if the storage has any."""
    async with aclosing(blobs.list()) as listing:
        async for blob in listing:
            if _is_document(blob) and not blob.key.startswith((OURS_AS_A_WHOLE, KEPT)):
                return blob.key
    return None


@define(eq=False)
class StorageRestore:
    """Writes members of a backup into `blobs`, small ones several at a time."""

    blobs: Blobs
    world: World
    describing: Describing | None = None
    tell: Callable[[], object] = lambda: None
    _together: JobGroup = field(factory=lambda: JobGroup(AT_ONCE), init=False, repr=False)

    async def put(self, member: BackupMember) -> None:
        """Store the member. It is certain to be stored after `ended`. Raises `StorageFull`,
        `StorageDown`, `OSError`.
        """
        where = member.path.removeprefix(STORAGE)
        if member.size <= _LARGEST:
            body: Body = BytesBody(await self.world.blocking(member.read, _LARGEST))
            await self._together.add(partial(self._write, where, body, member.description))
        else:
            body = _MemberBody(member, self.world)
            await self._write(where, body, member.description)

    async def ended(self) -> None:
        """Wait until all members are stored. Raises as `put`."""
        await self._together.ended()

    async def cancel(self) -> None:
        """End the writes under way."""
        await self._together.cancel()

    async def _write(self, where: str, body: Body, description: Mapping[str, str]) -> None:
        if description and self.describing is not None:
            await self.describing.write_described(where, body, description, replace=True)
        else:
            await self.blobs.write(where, body, replace=True)
        self.tell()


@frozen
class _MemberBody:
    """The content of a member, as a body."""

    member: BackupMember
    world: World

    @property
    def size(self) -> int | None:
        return self.member.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.world.blocking(self.member.read, PIECE):
            yield piece

    async def aclose(self) -> None:
        return None
