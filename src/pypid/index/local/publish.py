"""Publishing: write the artifact, its metadata, then the record, which is the commit; then update
the catalog.

A crash between any two steps leaves at worst blobs that no record names, which are invisible to
clients.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from enum import Enum

from attrs import frozen
from msgspec import structs
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import (
    AlreadyExists,
    Busy,
    CatalogDown,
    Exists,
    Missing,
    NameUsedUp,
    NoSuchIndex,
    NotYetKnown,
    PypidError,
    StorageDown,
    StorageFull,
    Unreadable,
    UploadForbidden,
)
from pypid.core.model import (
    Blob,
    Event,
    FileHistory,
    LocalProject,
    Presence,
    Project,
    StoredFile,
    Upload,
)
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import (
    DESCRIBED,
    ObjectKind,
    key,
    keys_in_layouts,
    overwrite_key,
    place,
    set_aside_key,
    sidecar_key,
)
from pypid.flow import BytesBody, shielded
from pypid.flow.coroutines import is_patient
from pypid.index.context import (
    NOTHING_CHANGED,
    IndexContext,
    Own,
    digests_of,
    with_files,
    with_pasts,
)
from pypid.index.store import records
from pypid.index.store.records import CHANGE_SAVED
from pypid.metrics.counts import PUBLISHED, PUBLISHED_BYTES
from pypid.ports import Body

_log = Logger()

LOOKS, PAUSE = 10, 0.5
"""How often, and after how many seconds each, to check whether another node's publish has finished.
"""


@frozen
class ExistingFile:
    """A file that is already published under the name; `is_whole`: its bytes are there;
    `is_listed`: the catalog has it.
    """

    file: StoredFile
    is_whole: bool
    is_listed: bool = True


# Committing a file: writing its record, which makes its stored bytes a published file, and listing
# it in the catalog.


async def commit(
    context: IndexContext,
    file: StoredFile,
    *,
    replace: bool = False,
    older: StoredFile | None = None,
    is_new: bool = False,
) -> None:
    """Write the record and list the file. `is_new`: the name was never local; `older`: the file
    that it replaces.

    Raises `AlreadyExists` if another process's record was first; what
    `IndexContext.refuse_if_closed` raises, perhaps after the file was listed; `CatalogDown` if
    the record is saved and the file is listed later.
    """
    where = key(file.project, file.filename, ObjectKind.RECORD)
    async with context.records.locks.hold(file.project):
        context.refuse_if_closed()
        # an overwrite keeps the yank: only an un-yank removes it
        yanked = (
            None if is_new else await records.yanked(context.blobs, file.project, file.filename)
        )
        pasts: list[FileHistory] = []
        if older is not None and older.sha256 != file.sha256:
            went = Event(
                file.uploaded or context.world.now(),
                yanked,
                yanked,
                gone=True,
                sha256=older.sha256,
                begun=older.uploaded,
            )
            pasts.append(await records.note(context.blobs, older, went))
        try:
            await context.blobs.write(where, BytesBody(dump_record(file)), replace=replace)
        except Exists:
            raise await _already_exists(context, file) from None
        listed = structs.replace(file, yanked=yanked)
        await context.amend(
            file.project, lambda project: with_pasts(with_files(project, listed), pasts)
        )
        await context.refuse_if_closed_elsewhere(file.project)


async def _already_exists(context: IndexContext, file: StoredFile) -> AlreadyExists:
    try:
        first = await records.read_record(context.blobs, file.project, file.filename)
    except Unreadable:
        first = None
    return AlreadyExists(file.filename, first.blake2b_256 if first else None)


# The file that an upload becomes in the storage: its bytes and its sidecar documents.

BodyFactory = Callable[[], Awaitable[Body]]
"""Returns the bytes of an upload, from their beginning with each call."""


def file_of(upload: Upload, by: str, now: datetime, *, overwrites: bool) -> StoredFile:
    """Return the file that the upload becomes."""
    distribution, digests = upload.distribution, upload.digests
    project, filename = distribution.project, distribution.filename
    return StoredFile(
        project=project,
        filename=filename,
        version=upload.version,
        sha256=digests.sha256,
        md5=digests.md5,
        blake2b_256=digests.blake2b_256,
        size=digests.size,
        uploaded=now,
        requires_python=upload.requires_python,
        metadata_sha256=records.sha256_of(upload.metadata),
        key=overwrite_key(project, filename, digests.sha256)
        if overwrites
        else key(project, filename),
        uploader=by,
        summary=upload.summary,
        attested=upload.provenance is not None,
    )


def documents_of(file: StoredFile, upload: Upload) -> list[tuple[str, bytes]]:
    """Return the documents to store beside the bytes, by key."""
    documents = (
        (ObjectKind.METADATA, upload.metadata),
        (ObjectKind.PROVENANCE, upload.provenance),
    )
    return [(sidecar_key(file, kind), data) for kind, data in documents if data is not None]


def left_by(older: StoredFile, keep: Set[str]) -> list[str]:
    """Return the keys that an overwritten file leaves behind: the new bytes and their documents
    have keys of their own.
    """
    keys = [older.key, *descriptions_of(older)]
    keys += [
        sidecar_key(older, kind)
        for kind in (ObjectKind.METADATA, ObjectKind.SIGNATURE, ObjectKind.PROVENANCE)
    ]
    return [where for where in keys if where not in keep]


def descriptions_of(file: StoredFile) -> tuple[str, ...]:
    """Return the key of the description that a pypicloud wrote beside the file, if it may have."""
    return (file.key + DESCRIBED,) if place(file.key) is None else ()


async def write_bytes(
    context: IndexContext,
    file: StoredFile,
    body: BodyFactory,
    *,
    replace: bool = False,
    is_provisional: bool = False,
) -> Blob:
    """Write the bytes to the file's key, perhaps marked as not committed yet."""
    where, data = file.key, await body()
    if is_provisional and context.provisional is not None:
        return await context.provisional.write_provisional(where, data, replace=replace)
    return await context.blobs.write(where, data, replace=replace)


UNDER_WAY = timedelta(minutes=15)
"""Age below which an artifact without a record, on storage with other writers, is taken to belong
to a publish under way.
"""


class PublishOutcome(Enum):
    """The outcome of a publish."""

    PUBLISHED = "published"
    OVERWRITTEN = "overwritten"
    UNCHANGED = "unchanged"
    """The same bytes were published before; nothing was done (twine >= 6.2 has no other way to
    retry).
    """


def check_open(ours: Project | Presence) -> None:
    """Raise `UploadForbidden` if the project's status refuses uploads (PEP 792)."""
    if isinstance(ours, Project) and not ours.status.takes_uploads:
        raise UploadForbidden(
            f"The project {ours.name!r} is {ours.status.value} and does not accept uploads. Ask an "
            "administrator to set its status to active."
        )


@frozen
class Publisher:
    """Stores uploads, one at a time for each file name. `uploaded` is the upload time of a file
    that another index had, None: now. `own` makes the user the owner of a new project.
    """

    context: IndexContext
    uploaded: datetime | None = None
    own: Own | None = None

    async def publish(
        self, upload: Upload, body: BodyFactory, by: str, *, overwrite: bool = False
    ) -> PublishOutcome:
        """Store the upload durably and list it; `body` returns its bytes, from the beginning with
        each call.

        Once begun it runs to its end even if the client disconnects. Raises `AlreadyExists`,
        `NameUsedUp`, `UploadForbidden`, `Busy`, `NotYetKnown` (it may be among pypicloud files that
        are being adopted), what `IndexContext.refuse_if_closed_elsewhere` raises, `StorageFull`,
        `StorageDown`; then nothing of it is visible (after `StorageDown` it may become visible
        later, whole). Of several nodes that publish one name, the first record in the storage wins,
        whether or not their shared catalog is available.
        """
        before = is_patient.set(True)  # the client waits, and would have to send everything again
        try:
            return await self._counted(upload, shielded(self._publish(upload, body, by, overwrite)))
        finally:
            is_patient.reset(before)

    async def _counted(
        self, upload: Upload, publishing: Awaitable[PublishOutcome]
    ) -> PublishOutcome:
        """Await the upload and count its outcome. "refused" means rejected by the publishing rules;
        "failed" means an error on the server's side.
        """
        counts, outcome = self.context.world.counts, "failed"
        try:
            done = await publishing
            outcome = done.value
        except (StorageDown, StorageFull, CatalogDown):
            raise
        except PypidError:
            outcome = "refused"
            raise
        finally:
            counts.add(PUBLISHED, (outcome,))
        if done is not PublishOutcome.UNCHANGED:
            counts.add(PUBLISHED_BYTES, (), upload.digests.size)
        return done

    async def _publish(
        self, upload: Upload, body: BodyFactory, by: str, overwrite: bool
    ) -> PublishOutcome:
        name, filename = upload.distribution.project, upload.distribution.filename
        place = f"{name}/{filename}"
        async with self.context.places.hold(place), self._announced(place) as is_alone:
            self.context.refuse_if_closed()
            if await self.context.catalog.is_away():
                return await self._decided_by_storage(upload, overwrite)
            ours = await self.context.local_project(name)
            if self.context.is_taking_over() and await self._may_be_there(ours, upload):
                raise NotYetKnown(name)
            check_open(ours)
            older = await self._find(ours, upload)
            if older is None:
                await self._clear_name(upload, overwrite)
            else:
                return await self._beside_older(older, upload, body, by, overwrite)
            try:
                return await self._store(upload, body, by, None, is_alone=is_alone)
            except (AlreadyExists, Busy):  # another process was faster
                first = await self._awaited(upload)
                if first is None:
                    raise
            return await self._beside_older(first, upload, body, by, overwrite)

    async def _beside_older(
        self, older: ExistingFile, upload: Upload, body: BodyFactory, by: str, overwrite: bool
    ) -> PublishOutcome:
        if older.file.sha256 == upload.digests.sha256:
            if not older.is_whole:
                return await self._restore(older.file, upload, body)
            if not older.is_listed:  # an acknowledged file must also be listed
                raise CatalogDown(CHANGE_SAVED)
            await self._confirm(older.file.key)  # a crash may have left its mark
            return PublishOutcome.UNCHANGED
        if not overwrite:
            raise AlreadyExists(upload.distribution.filename, older.file.blake2b_256)
        return await self._store(upload, body, by, older.file)

    async def _decided_by_storage(self, upload: Upload, overwrite: bool) -> PublishOutcome:
        """Decide about an upload while the catalog is unavailable. Nothing is stored, since it
        could not be listed; an existing record still decides who was first.
        """
        name, filename = upload.distribution.project, upload.distribution.filename
        check_open(await self.context.resync(name))
        recorded = await self._recorded(upload)
        if recorded is None or (overwrite and recorded.sha256 != upload.digests.sha256):
            raise CatalogDown(NOTHING_CHANGED)
        if recorded.sha256 != upload.digests.sha256:
            raise AlreadyExists(filename, recorded.blake2b_256)
        if name in self.context.records.pending_updates or not await self._is_whole(recorded):
            raise CatalogDown(CHANGE_SAVED)
        return PublishOutcome.UNCHANGED

    # --- existing files ---

    async def _find(self, ours: LocalProject | Presence, upload: Upload) -> ExistingFile | None:
        """Return the file of this name from the catalog, or from its record (another node's, a
        moment ago), which takes precedence.
        """
        name, filename = upload.distribution.project, upload.distribution.filename
        held = ours.file(filename) if isinstance(ours, Project) else None
        is_same = held is not None and held.sha256 == upload.digests.sha256
        if (
            held is not None
            and not self.context.others_write
            and (not is_same or await self._is_whole(held))
        ):
            return ExistingFile(held, is_whole=True)
        recorded = await self._recorded(upload)
        if recorded is None:
            if held is not None:
                await self.context.resync(name)  # the catalog lags behind
            return None
        if (
            self.context.others_write
            and held is not None
            and (held.key, held.sha256) == (recorded.key, recorded.sha256)
        ):
            return ExistingFile(recorded, await self._is_whole(recorded))
        return await self._listed(recorded)

    async def _awaited(self, upload: Upload) -> ExistingFile | None:
        """Wait for the file that another node is publishing under the name; None if that takes
        longer than `LOOKS` checks.
        """
        for look in range(LOOKS + 1 if self.context.others_write else 1):
            if look:
                await deferLater(self.context.world.clock, PAUSE)
            recorded = await self._recorded(upload)
            if recorded is not None:
                return await self._listed(recorded)
        return None

    async def _listed(self, recorded: StoredFile) -> ExistingFile:
        """Return the recorded file after a refresh of the catalog, which lags behind."""
        await self.context.resync(recorded.project)
        is_listed = recorded.project not in self.context.records.pending_updates
        return ExistingFile(recorded, await self._is_whole(recorded), is_listed)

    async def _recorded(self, upload: Upload) -> StoredFile | None:
        """Return the file of this name according to its record."""
        name, filename = upload.distribution.project, upload.distribution.filename
        try:
            return await records.read_record(self.context.blobs, name, filename)
        except Unreadable as error:
            _log.error("{error}; `pypid storage check` explains what to do.", error=error)
            raise StorageDown(f"the record of {filename!r} is damaged.") from None

    async def _is_whole(self, file: StoredFile) -> bool:
        """Return whether the bytes of a published file are still there."""
        try:
            found = await self.context.blobs.stat(file.key)
            return found.size == file.size
        except Missing:
            return False

    async def _may_be_there(self, ours: LocalProject | Presence, upload: Upload) -> bool:
        """Return whether a pypicloud may have left a file of this name that is not adopted yet."""
        name, filename = upload.distribution.project, upload.distribution.filename
        if not isinstance(ours, Project):
            return True
        if ours.file(filename) is not None:
            return False
        for where in keys_in_layouts(name, upload.version, filename):
            with suppress(Missing):
                await self.context.blobs.stat(where)
                return True
        return False

    async def _clear_name(self, upload: Upload, overwrite: bool) -> None:
        """Check a name without a published file: if it was once published, only the same bytes may
        come back (tombstone).
        """
        name, filename = upload.distribution.project, upload.distribution.filename
        tombstone = await records.tombstone(self.context.blobs, name, filename)
        if tombstone is None:
            return
        if tombstone.sha256 != upload.digests.sha256 and not overwrite:
            raise NameUsedUp(filename)
        # a delete that broke off may have left the yank of the former file
        await self.context.blobs.delete(key(name, filename, ObjectKind.YANKED))

    async def _restore(self, file: StoredFile, upload: Upload, body: BodyFactory) -> PublishOutcome:
        """Put back the very bytes that the record names and the storage has lost."""
        _log.warn(
            "The bytes of {filename} were lost, and are restored from an upload",
            filename=file.filename,
        )
        await self._set_aside(file.key, file, is_alone=True)
        await write_bytes(self.context, file, body, replace=True)
        if (
            upload.metadata is not None
            and records.sha256_of(upload.metadata) == file.metadata_sha256
        ):
            await self.context.blobs.write(
                sidecar_key(file, ObjectKind.METADATA), BytesBody(upload.metadata), replace=True
            )
        await self.context.resync(file.project)
        if file.project in self.context.records.pending_updates:
            raise CatalogDown(CHANGE_SAVED)
        return PublishOutcome.PUBLISHED

    # --- storing ---

    def _announced(self, place: str) -> AbstractAsyncContextManager[bool]:
        announced = self.context.announced
        return nullcontext(False) if announced is None else announced(place)

    async def _store(
        self,
        upload: Upload,
        body: BodyFactory,
        by: str,
        older: StoredFile | None,
        *,
        is_alone: bool = False,
    ) -> PublishOutcome:
        now = self.uploaded or self.context.world.now()
        file = named = file_of(upload, by, now, overwrites=older is not None)
        written: list[str] = []
        is_recorded = False
        try:
            artifact = await self._write_all(file, upload, body, written, is_alone=is_alone)
            file = structs.replace(file, key=artifact.key)
            if not await self._is_mine(file, artifact):
                written.clear()
                raise Busy(f"Another client is publishing {file.filename!r} right now.", 30)
            if self.own is not None:  # last: an owner is in force with the first file
                await self.own(file.project, await self.context.is_new(file.project))
            is_recorded = True  # perhaps: a write may fail and have written anyway
            await commit(self.context, file, replace=older is not None, older=older)
        except CatalogDown:  # its record is there, and other clients may have been answered by it
            raise
        except BaseException as error:
            await self._undo(
                file,
                written,
                is_ours=is_recorded and not isinstance(error, AlreadyExists),
                # a deleted index does not have the older file any more
                replaces=older is not None and not isinstance(error, NoSuchIndex),
            )
            raise
        await self._confirm(artifact.key)
        # bytes found at this file's key were copied aside; if their writer is still alive, this
        # record was first
        replaced = named if older is None and file.key != named.key else older
        if replaced is not None:
            keep = {file.key, *(where for where, _ in documents_of(file, upload))}
            await self.context.records.sweep(left_by(replaced, keep))
        return PublishOutcome.PUBLISHED if older is None else PublishOutcome.OVERWRITTEN

    async def _write_all(
        self,
        file: StoredFile,
        upload: Upload,
        body: BodyFactory,
        written: list[str],
        *,
        is_alone: bool,
    ) -> Blob:
        """Write the bytes and the sidecars, and add to `written` the keys that were written. Return
        the blob of the bytes.
        """
        artifact, is_new = await self._write_artifact(file, body, is_alone=is_alone)
        if is_new:
            written.append(artifact.key)
        file = structs.replace(file, key=artifact.key)
        for where, data in documents_of(file, upload):
            written.append(where)  # before the write: it may fail and have written anyway
            await self.context.blobs.write(where, BytesBody(data), replace=True)
        return artifact

    async def _confirm(self, key: str) -> None:
        """Remove the mark of bytes whose record is durable."""
        if self.context.provisional is not None:
            # a mark that stays matters only if the record is deleted
            with suppress(StorageDown, StorageFull):
                await self.context.provisional.confirm(key)

    async def _write_artifact(
        self, file: StoredFile, body: BodyFactory, *, is_alone: bool = False
    ) -> tuple[Blob, bool]:
        """Write the bytes only if absent. Return the blob, and whether there was none before.

        Bytes without a record belong to a publish under way, to one that broke off, or were copied
        there by hand. They are never replaced by other bytes: the process that wrote them may be
        asleep, or unknown to this one, and commit its record later. So the new bytes are stored
        under their hash, and each record names bytes of its own, whichever is first.
        """
        try:
            return await write_bytes(self.context, file, body, is_provisional=True), True
        except Exists:
            is_same = await self._set_aside(
                file.key, file, is_alone=is_alone or self.context.is_sole
            )
        if is_same and not self.context.others_write:
            return await write_bytes(
                self.context,
                file,
                body,
                replace=True,
                is_provisional=await self._is_marked(file.key),
            ), False
        apart = overwrite_key(file.project, file.filename, file.sha256)
        return await write_bytes(
            self.context, structs.replace(file, key=apart), body, replace=True
        ), True

    async def _is_marked(self, where: str) -> bool:
        """Return whether the bytes are of a publish that was not committed, or missing. The mark
        stays as it is: bytes that were copied there by hand can still be adopted if this publish
        fails.
        """
        try:
            return (await self.context.blobs.stat(where)).provisional
        except Missing:
            return True

    async def _set_aside(self, where: str, file: StoredFile, *, is_alone: bool) -> bool:
        """Copy the bytes under the key aside, unless they are the very file or missing; return
        whether no other bytes are there.

        Raises `Busy` if another process may be publishing the file. `is_alone`: no other process
        is, so the one that began has died.
        """
        try:
            there = await self.context.blobs.stat(where)
            if (
                self.context.others_write
                and there.is_younger(UNDER_WAY, self.context.world.now())
                and not is_alone
            ):
                raise Busy(f"Another client is publishing {file.filename!r} right now.", 30)
            if self.context.others_write and await self._is_being_deleted(file):
                raise Busy(f"Another client is deleting {file.filename!r} right now.", 30)
            sha256 = (await digests_of(self.context, where)).sha256
            if sha256 == file.sha256:
                return True
            aside = set_aside_key(file.project, file.filename, sha256)
            with suppress(Exists):
                await self.context.blobs.write(aside, await self.context.blobs.read(where))
        except Missing:
            return True
        _log.warn(
            "There were bytes without a record at the key {key} of a new file; they were "
            "moved to {aside}",
            key=where,
            aside=aside,
        )
        return False

    async def _is_being_deleted(self, file: StoredFile) -> bool:
        """Return whether another node has just deleted the file: it removes the bytes last, and
        would remove their replacement as well.
        """
        tombstone = await records.tombstone(self.context.blobs, file.project, file.filename)
        return tombstone is not None and self.context.world.now() - tombstone.deleted < UNDER_WAY

    async def _is_mine(self, file: StoredFile, artifact: Blob) -> bool:
        """Return whether the artifact to commit is still there: another process may have replaced
        it. Raises what `IndexContext.refuse_if_closed_elsewhere` raises if it was removed.
        """
        try:
            return (await self.context.blobs.stat(artifact.key)).etag == artifact.etag
        except Missing:
            await self.context.refuse_if_closed_elsewhere(file.project)
            return False

    # --- undoing an upload that failed ---

    async def _undo(
        self, file: StoredFile, written: list[str], *, is_ours: bool, replaces: bool
    ) -> None:
        """Remove what was written, the record first if it may be this process's: it may exist
        although its write failed.
        """
        try:
            if not await self._is_withdrawn(file, is_ours, replaces):
                return
        except PypidError as error:
            _log.error(
                "It is unknown whether {filename} was published: {error}",
                filename=file.filename,
                error=error,
            )
            return  # keep all of it, so that a record's bytes are there
        await self.context.records.sweep(written)

    async def _is_withdrawn(self, file: StoredFile, is_ours: bool, replaces: bool) -> bool:
        """Return whether no record names the bytes any more."""
        recorded = await records.read_record(self.context.blobs, file.project, file.filename)
        is_named = recorded is not None and recorded.key == file.key
        if is_named and (recorded != file or not is_ours):
            return False  # another node has committed the same key, perhaps with the same bytes
        if is_named and not replaces:
            await self.context.blobs.delete(key(file.project, file.filename, ObjectKind.RECORD))
        if is_ours:
            await self.context.records.recover(file.project)
        return not (is_named and replaces)
