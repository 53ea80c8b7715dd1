"""The documents in the storage: small ones read and written, and a whole project read from its
listing.

The record is the commit: a file exists if its record is there, and is shown if its bytes are there
as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b, sha256
from typing import ClassVar, Generic, Protocol, TypeVar

import msgspec
from attrs import define, evolve, field, frozen
from msgspec.structs import replace
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Missing, PypidError, StorageDown, Unreadable
from pypid.core.indexes import DEFAULT
from pypid.core.model import (
    MOST_DELETED,
    Blob,
    Event,
    File,
    FileHistory,
    LocalProject,
    Project,
    Status,
    StoredFile,
    in_bounds,
    in_order,
    with_event,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import (
    Deleted,
    History,
    ProjectStatus,
    Yanked,
    dump,
    load,
    load_record,
)
from pypid.core.records.layout import (
    ObjectKind,
    ObjectPlace,
    folder,
    key,
    lies_at,
    place,
    sidecar_key,
)
from pypid.flow import BytesBody, World, whole
from pypid.flow.derived import Flights, Locks
from pypid.index.progress import all_of
from pypid.ports import Blobs, Catalog

# The records of projects in the storage, and what the catalog has of them: for local projects and
# for cached files of upstream projects alike.
#
# The storage is authoritative, and the catalog is derived from it. A `RecordKind` says what
# differs: where the records are, how they become an entry of the catalog, and whether they may be
# lost.

READINGS = 5
"""How often a project is read if other nodes keep changing it meanwhile."""
CHANGE_SAVED = "the change was saved and will become visible shortly. Retrying is safe."

V = TypeVar("V")

_log = Logger()


@define
class ConcurrentChange(Exception):
    """What was read is older than the catalog's entry."""


@define
class CompareAndSet(Generic[V]):
    """An edit that sets the entry to `found` if `is_as_before` confirms that it is unchanged; else
    raises `ConcurrentChange`.
    """

    is_as_before: Callable[[V], bool]
    found: Callable[[V], V]
    old: V | None = None
    """The entry before the edit."""

    def __call__(self, held: V) -> V:
        if not self.is_as_before(held):
            raise ConcurrentChange
        self.old = held
        return self.found(held)


def as_it_is(held: V) -> V:
    """Return the entry unchanged: an edit that makes the catalog load what other nodes changed."""
    return held


@frozen
class StorageState(Generic[V]):
    """A project as its records are. `into` returns an entry of the catalog with that state."""

    into: Callable[[V], V]
    mark: str | None = None
    """The fingerprint of the listing, if the catalog stores one."""
    strays: tuple[Blob, ...] = ()
    """Distributions in the project's folder that no record names."""


class RecordKind(Protocol[V]):
    """What differs between kinds of records. `V` is the entry that an edit of the table gets."""

    @property
    def is_cache(self) -> bool:
        """Whether the files may be lost and fetched again. A project without records is then looked
        up in the storage only once; else a record may appear at any time.
        """

    def folder(self, name: ProjectName) -> str:
        """Return the prefix of all keys of the project."""

    async def held(self, name: ProjectName) -> V:
        """Return the catalog's entry."""

    async def edit(self, name: ProjectName, change: Callable[[V], V], mark: str | None = None) -> V:
        """Edit the catalog's entry."""

    async def read(self, name: ProjectName, listing: Sequence[Blob]) -> StorageState[V]:
        """Read the records in the listing of the project's folder."""

    async def agrees(self, held: V, name: ProjectName, listing: Sequence[Blob]) -> bool:
        """Return whether the entry is what these records would give, without reading them."""

    def has_records(self, held: V) -> bool:
        """Return whether the entry was made from records."""

    def version(self, held: V) -> object:
        """Return what differs after each change of the entry that `StorageState.into` replaces."""

    def is_same(self, held: V, found: V) -> bool:
        """Return whether both entries show the same."""


class UnfinishedPromotions(Protocol):
    """The promotions that are committed, and not listed in the catalog yet
    (`index.promotions`).
    """

    async def finish_interrupted(self) -> None:
        """Finish those that a crash interrupted, once. Awaited before records are read, and without
        any lock. Raises `StorageDown`.
        """

    async def unlisted(
        self, target: str, project: LocalProject, held: LocalProject | None
    ) -> frozenset[str]:
        """Return the names of those files of `project`, as its records are, that a promotion into
        the index `target` will list, and has not listed yet. `held` is the catalog's entry. Raises
        `StorageDown`.
        """


@frozen
class Refreshed(Generic[V]):
    """A project as the storage has it now, and its `strays` (see `StorageState`)."""

    entry: V
    strays: tuple[Blob, ...] = field(repr=False)
    changed: bool
    """Whether the catalog had a different entry."""
    in_catalog: bool = True
    """Whether the catalog has this state; False while the catalog is unavailable (see
    `RecordStore.pending_updates`).
    """


@define(eq=False)
class RecordStore(Generic[V]):
    """Keeps the catalog in line with the records. Everything raises `StorageDown`.

    The catalog may be older than the storage: it may be a copy that was put back, or files were
    changed while pypid was stopped. Until all of the storage was compared, an entry is therefore
    compared with one listing of its project's folder before it is used for an answer or a change;
    not that of a `shared` catalog, which other nodes keep up to date.
    """

    kind: RecordKind[V]
    blobs: Blobs
    catalog: Catalog
    most_verified: int
    """Maximum number of remembered projects that were compared with the storage."""
    shared: bool = False
    promotions: UnfinishedPromotions | None = field(default=None, repr=False)
    locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Locks by project, held while its records and the catalog's entry change together."""
    pending_updates: set[ProjectName] = field(factory=set, init=False, repr=False)
    """Projects for which the catalog may have missed an update. Until it is applied, the storage is
    authoritative.
    """
    _compared_in: str | None = field(default=None, init=False)
    """The generation of the catalog in which all projects were compared."""
    _verified: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    """Projects that were compared with the storage, the last one last."""
    _verified_in: str = field(default="", init=False, repr=False)
    """The generation of the catalog in which they were: another one has lost what was found."""
    _flights: Flights[ProjectName, V] = field(factory=Flights, init=False, repr=False)

    # --- entries of an earlier run ---

    @property
    def is_compared(self) -> bool:
        """Whether all of the storage was compared."""
        return self.catalog.was_complete or self._compared_in == self.catalog.generation

    def is_verified(self, name: ProjectName, held: V) -> bool:
        """Return whether the catalog's entry may be used without a look at the storage."""
        if self.is_compared or (self.shared and self.kind.has_records(held)):
            return True
        return name in self._verified and self._verified_in == self.catalog.generation

    def note_verified(self, name: ProjectName) -> None:
        """Note that the entry of the project agrees with the storage."""
        if self.is_compared:
            return
        if self._verified_in != self.catalog.generation:
            self._verified_in, self._verified = self.catalog.generation, {}
        self._verified.pop(name, None)
        self._verified[name] = None
        if len(self._verified) > self.most_verified:
            del self._verified[next(iter(self._verified))]

    def note_compared(self, generation: str) -> None:
        """Note that all of the storage was compared with this generation of the catalog."""
        self._compared_in = generation
        self.forget_verified()

    def forget_verified(self) -> None:
        """Release the memory, once all of the storage was compared."""
        self._verified = {}

    async def verify(self, name: ProjectName) -> V:
        """Return the catalog's entry if a listing of the project's folder agrees with it; else read
        the project again. Callers at the same time share one look.
        """
        await self.finish_interrupted()
        return await self._flights.single(name, lambda: self._verify(name))

    async def finish_interrupted(self) -> None:
        """Wait until promotions that a crash interrupted are finished. Raises `StorageDown`."""
        if self.promotions is not None:
            await self.promotions.finish_interrupted()

    async def _verify(self, name: ProjectName) -> V:
        async with self.locks.hold(name):
            held = await self.kind.held(name)
            if self.kind.has_records(held) and name not in self.pending_updates:
                if self.is_verified(name, held):
                    return held
                if await self.kind.agrees(held, name, await self.listing(name)):
                    self.note_verified(name)
                    return await self.kind.held(name)
            return (await self.refresh(name)).entry

    async def listing(self, name: ProjectName) -> Sequence[Blob]:
        """Return the listing of the project's folder."""
        async with aclosing(self.blobs.list(self.kind.folder(name))) as listing:
            return [blob async for blob in listing]

    # --- reading again ---

    async def resync(self, name: ProjectName) -> Refreshed[V]:
        """Read the project from the storage, and update the catalog if it is available."""
        await self.finish_interrupted()
        async with self.locks.hold(name):
            return await self.refresh(name)

    async def refresh(self, name: ProjectName) -> Refreshed[V]:
        """Resync the project; the caller holds its lock.

        If another node changed the entry while the storage was read, the stale result does not
        overwrite it: the project is read again.
        """
        before = self.kind.version(await self.kind.held(name))
        for _ in range(READINGS):
            found = await self.kind.read(name, await self.listing(name))
            edit = self._compare_and_set(before, found)
            try:
                held = await self.kind.edit(name, edit, found.mark)
            except ConcurrentChange:
                with suppress(CatalogDown):  # the next catalog call raises it again
                    before = self.kind.version(await self.kind.edit(name, as_it_is))
            except CatalogDown:
                break
            else:
                self.pending_updates.discard(name)
                if self.kind.is_cache or self.kind.has_records(held):
                    self.note_verified(name)
                return Refreshed(held, found.strays, held != edit.old)
        return await self._without_catalog(name, found)

    async def reading(self, name: ProjectName) -> Callable[[V], V]:
        """Read the project; return the edit that lists it as the storage has it. The edit raises
        `ConcurrentChange` if the entry was changed meanwhile. The caller holds the project's lock.
        """
        before = self.kind.version(await self.kind.held(name))
        found = await self.kind.read(name, await self.listing(name))
        return self._compare_and_set(before, found)

    def _compare_and_set(self, before: object, found: StorageState[V]) -> CompareAndSet[V]:
        return CompareAndSet(lambda held: self.kind.version(held) == before, found.into)

    async def _without_catalog(self, name: ProjectName, found: StorageState[V]) -> Refreshed[V]:
        """Return the storage's state while the catalog cannot be updated."""
        held = await self.kind.held(name)
        entry = found.into(held)
        if self.kind.is_same(held, entry):
            return Refreshed(held, found.strays, changed=False, in_catalog=False)
        self.pending_updates.add(name)
        return Refreshed(entry, found.strays, changed=True, in_catalog=False)

    # --- changes ---

    async def edit(self, name: ProjectName, change: Callable[[V], V]) -> V:
        """Change the catalog's entry after a change of the storage; the caller holds the project's
        lock.

        Raises `CatalogDown` if the catalog cannot be updated: the change remains in the storage and
        becomes visible later.
        """
        try:
            held = await self.kind.edit(name, change)
        except CatalogDown as error:
            self.pending_updates.add(name)
            raise CatalogDown(CHANGE_SAVED) from error
        if self.kind.has_records(held) and not self.kind.is_cache:  # it was verified before
            self.note_verified(name)
        return held

    async def recover(self, name: ProjectName) -> None:
        """Resync the catalog after a change that broke off half-way; if that fails, too, the
        storage is authoritative until then.
        """
        try:
            await self.resync(name)
        except PypidError:
            self.pending_updates.add(name)

    async def sweep(self, keys: Sequence[str]) -> None:
        """Delete blobs that no record names, the last one first; `pypid storage check` finds those
        that cannot be deleted now.
        """
        for where in reversed(list(keys)):
            try:
                await self.blobs.delete(where)
            except PypidError as error:
                _log.warn(
                    "cannot delete {key}, which no record names: {error}", key=where, error=error
                )

    async def flush_pending_updates(self) -> None:
        """Send the pending updates to the catalog, unless it is unavailable."""
        for name in list(self.pending_updates):
            if await self.catalog.is_away():
                return
            await self.resync(name)


_D = TypeVar("_D", bound=msgspec.Struct)

LARGEST_DOCUMENT = 1 << 20
"""Maximum size in bytes of a record, or of another document of pypid's."""
LARGEST_METADATA = 8 << 20
"""Maximum size in bytes of core metadata or a provenance object."""
RECORDS_AT_ONCE = 8
"""Records of a project that are read at the same time."""


@frozen
class StoredProject:
    """A project as the storage holds it; `project` is None if nothing makes the name local."""

    project: LocalProject | None
    mark: str | None
    """The fingerprint of the listing; None if something could not be read, so that the next
    reconciliation tries again.
    """
    strays: tuple[Blob, ...] = field(default=(), repr=False)
    """Artifacts that no record names: a publish under way or broken off, or files that were copied
    there by hand.
    """


# --- small documents ------------------------------------------------------------------------------


async def read_document(blobs: Blobs, kind: type[_D], where: str) -> _D | None:
    """Return the document under the key, or None. Raises `Unreadable`, `StorageDown`."""
    data = await read_bytes(blobs, where, LARGEST_DOCUMENT)
    return None if data is None else load(kind, data, where)


async def read_bytes(blobs: Blobs, where: str, limit: int = LARGEST_METADATA) -> bytes | None:
    """Return a small blob whole, or None. Raises `Unreadable` for one beyond `limit`,
    `StorageDown`.
    """
    try:
        return await whole(await blobs.read(where), limit)
    except Missing:
        return None
    except (ValueError, EOFError) as error:
        raise Unreadable(where, str(error)) from None
    except OSError as error:
        _log.error("Reading {key} failed: {error}", key=where, error=error)
        raise StorageDown("a file in it cannot be read.") from error


async def write_document(blobs: Blobs, where: str, document: msgspec.Struct) -> None:
    """Write the document under the key, replacing an older one."""
    await blobs.write(where, BytesBody(dump(document)), replace=True)


async def read_record(blobs: Blobs, project: ProjectName, filename: str) -> StoredFile | None:
    """Return the local file that the record commits, or None. Raises `Unreadable`,
    `StorageDown`.
    """
    where = key(project, filename, ObjectKind.RECORD)
    file = await read_file(blobs, where, project, filename)
    if file is not None and file.uploaded is None:
        raise Unreadable(where, "the upload time is missing")
    return file


async def read_file(
    blobs: Blobs, where: str, project: ProjectName, filename: str
) -> StoredFile | None:
    """Return the file of the record at this key, or None. Raises `Unreadable`, also if it is
    another file's or incomplete; `StorageDown`.
    """
    data = await read_bytes(blobs, where, LARGEST_DOCUMENT)
    file = None if data is None else load_record(data, where)
    if file is not None and (file.project, file.filename) != (project, filename):
        raise Unreadable(
            where, f"it is the record of {file.filename!r} of the project {file.project!r}"
        )
    return file


async def yanked(blobs: Blobs, project: ProjectName, filename: str) -> str | None:
    """Return the reason for which the file is yanked; None if it is not. An unreadable mark still
    counts as a yank.
    """
    return (await _marked(blobs, key(project, filename, ObjectKind.YANKED)))[0]


async def _marked(blobs: Blobs, where: str) -> tuple[str | None, bool]:
    """Return the reason of a yank, and whether it could be read."""
    try:
        document = await read_document(blobs, Yanked, where)
    except Unreadable as error:
        # no file is un-yanked by accident
        _log.error("{error}; the file counts as yanked without a reason", error=error)
        return "", False
    return (None if document is None else document.reason), True


async def tombstone(blobs: Blobs, project: ProjectName, filename: str) -> Deleted | None:
    """Return the tombstone of a used file name, or None. An unreadable one lets no bytes come
    back.
    """
    where = key(project, filename, ObjectKind.DELETED)
    try:
        return await read_document(blobs, Deleted, where)
    except Unreadable as error:
        _log.error("{error}; the file name cannot be used again", error=error)
        return Deleted(sha256="", deleted=datetime.fromtimestamp(0, UTC))


async def history_of(blobs: Blobs, project: ProjectName, filename: str) -> FileHistory:
    """Return the history of the file name. Raises `Unreadable`, `StorageDown`."""
    document = await read_document(blobs, History, key(project, filename, ObjectKind.HISTORY))
    return FileHistory(filename, () if document is None else document.events)


async def note(blobs: Blobs, file: File, event: Event) -> FileHistory:
    """Record an event of the file, before it happens; return the history with it."""
    try:
        before = await history_of(blobs, file.project, file.filename)
    except Unreadable as error:
        _log.error("{error}; it is written again", error=error)
        before = FileHistory(file.filename)
    if event.gone:
        event = replace(event, begun=_begun(before, event.begun))
    after = with_event(before, event)
    await write_document(
        blobs, key(file.project, file.filename, ObjectKind.HISTORY), History(after.events)
    )
    return after


def _begun(history: FileHistory, uploaded: datetime | None) -> datetime | None:
    """Return the time since which a local file exists. A promoted file arrived later than it was
    uploaded.
    """
    last = history.events[-1] if history.events else None
    if last is not None and last.gone and None not in (last.begun, uploaded):
        # the deletion was recorded, and then not carried out
        assert last.begun is not None and uploaded is not None
        return max(last.begun, uploaded)
    return history.since(uploaded)


# --- a whole project ------------------------------------------------------------------------------


def mark_of(listing: Sequence[Blob]) -> str:
    """Return a fingerprint of a listing: it changes whenever a blob is added, removed or
    rewritten.
    """
    digest = blake2b(digest_size=16)
    for blob in listing:
        archived = "\0archived" if blob.archived else ""  # its bytes and its ETag do not change
        digest.update(f"{blob.key}\0{blob.size}\0{blob.etag}{archived}\n".encode())
    return digest.hexdigest()


async def project_of(blobs: Blobs, name: ProjectName, listing: Sequence[Blob]) -> StoredProject:
    """Read the project from the listing of its folder. Unreadable parts are left out and logged."""
    placed = {
        where: blob
        for blob in listing
        if (where := place(blob.key)) is not None and where.project == name
    }
    reading = _Reading(blobs, {blob.key: blob for blob in listing})
    records = [partial(reading.file, where) for where in placed if where.kind is ObjectKind.RECORD]
    files = [file for file in await all_of(records, RECORDS_AT_ONCE) if file is not None]
    status = await reading.status(name)
    history = await _history(reading, name, placed, {file.filename for file in files})
    known = any(
        where.kind in (ObjectKind.RECORD, ObjectKind.DELETED, ObjectKind.PROJECT)
        for where in placed
    )
    project = Project(
        name=name,
        files=in_order(tuple(files)),
        status=status.status,
        status_reason=status.reason,
        history=history,
    )
    keys = {file.key for file in files}
    strays = tuple(
        blob for blob in listing if blob.key not in keys and _is_artifact(blob.key, name)
    )
    return StoredProject(
        project if known else None, mark_of(listing) if reading.understood else None, strays
    )


async def _history(
    reading: _Reading, name: ProjectName, placed: Mapping[ObjectPlace, Blob], there: Set[str]
) -> tuple[FileHistory, ...]:
    """Return the history of the files; of deleted ones only that of the most recent."""
    noted = {
        where.filename: blob for where, blob in placed.items() if where.kind is ObjectKind.HISTORY
    }
    gone = sorted(noted.keys() - there, key=lambda filename: noted[filename].modified)[
        -MOST_DELETED:
    ]
    wanted = [
        ObjectPlace(name, filename, ObjectKind.HISTORY)
        for filename in (*(noted.keys() & there), *gone)
    ]
    return in_bounds(
        await all_of([partial(reading.history_of, where) for where in wanted], RECORDS_AT_ONCE),
        there,
    )


def _is_artifact(where: str, name: ProjectName) -> bool:
    """Return whether the key is that of a distribution of the project."""
    found = place(where) or lies_at(where)
    return found is not None and (found.project, found.kind) == (name, ObjectKind.ARTIFACT)


@define
class _Reading:
    """Reads the documents of one project, and remembers whether it understood them all."""

    blobs: Blobs
    listed: Mapping[str, Blob]
    understood: bool = True

    async def file(self, where: ObjectPlace) -> StoredFile | None:
        """Return the file of a record, if its bytes are there as well (a page never lists a file
        that cannot be downloaded).
        """
        record = key(where.project, where.filename, ObjectKind.RECORD)
        try:
            file = await read_record(self.blobs, where.project, where.filename)
            if file is None:
                self.understood = False  # deleted since the listing
                return None
            found = await self._find_bytes(file)
            return replace(
                self._with_what_is_there(file),
                yanked=await self._yanked(where),
                archived=found.archived,
            )
        except Unreadable as error:
            _log.error(
                "{error}; its file is not listed. `pypid storage check` explains what to do.",
                error=error,
            )
        except Missing:
            advice = "the file is not listed. `pypid storage check` says what to do."
            _log.error(
                "The record {record} exists, but not the bytes that it names; {advice}",
                record=record,
                advice=advice,
            )
        self.understood = False
        return None

    async def _find_bytes(self, file: StoredFile) -> Blob:
        """Return the blob of the file's bytes. Raises `Missing`, also for bytes of another length:
        those are not the ones that were published.
        """
        # a file outside the project's folder was adopted in place
        found = self.listed.get(file.key) or await self.blobs.stat(file.key)
        if found.size != file.size:
            raise Missing(file.key)
        return found

    def _with_what_is_there(self, file: StoredFile) -> StoredFile:
        """Return the file without promised metadata or provenance that is missing:
        installers stop at a 404.
        """
        promised = (
            (ObjectKind.METADATA, file.metadata_sha256),
            (ObjectKind.PROVENANCE, file.attested),
        )
        gone = {
            kind
            for kind, is_promised in promised
            if is_promised and sidecar_key(file, kind) not in self.listed
        }
        if not gone:
            return file
        self.understood = False
        _log.error(
            "Sidecar files of {filename} are missing: {gone}",
            filename=file.filename,
            gone=[kind.value for kind in gone],
        )
        return replace(
            file,
            metadata_sha256=None if ObjectKind.METADATA in gone else file.metadata_sha256,
            attested=file.attested and ObjectKind.PROVENANCE not in gone,
        )

    async def _yanked(self, where: ObjectPlace) -> str | None:
        document = key(where.project, where.filename, ObjectKind.YANKED)
        if document not in self.listed:
            return None
        reason, understood = await _marked(self.blobs, document)
        self.understood = self.understood and understood
        return reason

    async def history_of(self, where: ObjectPlace) -> FileHistory:
        """Return the history of a file."""
        try:
            return await history_of(self.blobs, where.project, where.filename)
        except Unreadable as error:
            _log.error(
                "{error}; it is unknown when {filename} was yanked or deleted",
                error=error,
                filename=where.filename,
            )
            self.understood = False
            return FileHistory(where.filename)

    async def status(self, name: ProjectName) -> ProjectStatus:
        """Return the project's status document."""
        where = key(name, "", ObjectKind.PROJECT)
        if where not in self.listed:
            return ProjectStatus()
        try:
            return await read_document(self.blobs, ProjectStatus, where) or ProjectStatus()
        except Unreadable as error:
            # it may say "quarantined": no files are offered until an administrator sets the status
            # again
            _log.error("{error}; the project counts as quarantined", error=error)
            self.understood = False
            return ProjectStatus(Status.QUARANTINED, "its status cannot be read")


def sha256_of(data: bytes | None) -> str | None:
    """Return the SHA-256 of a small document that is served, in lower-case hex; None for None."""
    return None if data is None else sha256(data).hexdigest()


# --- the kind of these records --------------------------------------------------------------------

FEW = 1000
"""Largest number of objects whose fingerprint is computed on the reactor thread: it takes about a
millisecond.
"""


RECENT = timedelta(days=1)
"""Age of the last change of a project below which a promotion may not have listed its files yet."""


@frozen
class LocalRecords:
    """A project is local if it has a record, a tombstone or a status; None stands for no project.

    While the catalog is unavailable, the storage alone answers.
    """

    blobs: Blobs
    catalog: Catalog
    world: World
    promotions: UnfinishedPromotions | None = None
    index: str = DEFAULT
    is_cache: ClassVar[bool] = False

    def folder(self, name: ProjectName) -> str:
        return folder(name)

    async def held(self, name: ProjectName) -> LocalProject | None:
        try:
            held = await self.catalog.local.get(name)
        except CatalogDown:  # an edit raises it again
            return None
        return held if isinstance(held, Project) else None

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        mark: str | None = None,
    ) -> LocalProject | None:
        return await self.catalog.local.edit(name, change, mark=mark)

    async def read(
        self, name: ProjectName, listing: Sequence[Blob]
    ) -> StorageState[LocalProject | None]:
        found = await project_of(self.blobs, name, listing)
        left_out = await self._left_out(found.project, listing)
        if left_out:
            listed = [blob for blob in listing if blob.key not in left_out]
            found = evolve(await project_of(self.blobs, name, listed), mark=None)
        return StorageState(lambda _: found.project, found.mark, found.strays)

    async def _left_out(self, project: LocalProject | None, listing: Sequence[Blob]) -> Set[str]:
        """Return the keys of records that are left out: another process will list their files
        together with others.
        """
        now = self.world.now()
        is_old = not any(blob.is_younger(RECENT, now) for blob in listing)
        if project is None or self.promotions is None or is_old:
            return frozenset()
        names = await self.promotions.unlisted(
            self.index, project, held=await self.held(project.name)
        )
        return {key(project.name, filename, ObjectKind.RECORD) for filename in names}

    async def agrees(
        self, held: LocalProject | None, name: ProjectName, listing: Sequence[Blob]
    ) -> bool:
        """Return whether the listing is the one that the entry was read from."""
        mark = (
            mark_of(listing) if len(listing) <= FEW else await self.world.thinking(mark_of, listing)
        )
        return mark == await self.catalog.local.mark(name)

    def has_records(self, held: LocalProject | None) -> bool:
        return held is not None

    def version(self, held: LocalProject | None) -> object:
        return None if held is None else held.serial

    def is_same(self, held: LocalProject | None, found: LocalProject | None) -> bool:
        if held is None or found is None:
            return held is found
        return evolve(found, serial=held.serial) == held
