"""Checking the storage for damage by crashes, disk errors or manual edits, with advice for each
finding.

Nothing is changed unless a sweep is requested: then blobs that no record names and that are
invisible to clients are removed, if they are too old to belong to a publish under way. A
distribution that could be adopted is never removed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from contextlib import aclosing, suppress
from datetime import datetime
from enum import Enum

from attrs import define, evolve, field, frozen

from pypid.core.errors import Exists, Missing, PypidError, Unreadable
from pypid.core.model import Blob, StoredFile, UpstreamEntry
from pypid.core.records.documents import Deleted, History, ProjectStatus, Yanked
from pypid.core.records.layout import (
    HELD,
    INDEX_NAMES,
    INDEXES,
    KEPT,
    SET_ASIDE,
    TRACES,
    UPSTREAMS,
    ObjectKind,
    ObjectPlace,
    kept_key,
    kept_place,
    key,
    lies_at,
    overwrite_key,
    part_of,
    place,
    set_aside_key,
    sidecar_key,
)
from pypid.core.records.layout import place as place_of
from pypid.index.context import IndexContext, Pace, digests_of, is_stored
from pypid.index.local.publish import UNDER_WAY
from pypid.index.progress import Progress, Tell
from pypid.index.store import records
from pypid.index.store.reconcile import project_at
from pypid.index.upstream.cache_store import (
    CacheStore,
    cached_keys,
    cached_metadata_key,
    recorded,
    small,
)
from pypid.ports import Blobs

_NEVER_ALONE = (ObjectKind.METADATA, ObjectKind.YANKED, ObjectKind.SIGNATURE, ObjectKind.PROVENANCE)
_Document = Yanked | Deleted | History | ProjectStatus
_DOCUMENTS: Mapping[ObjectKind, type[_Document]] = {
    ObjectKind.YANKED: Yanked,
    ObjectKind.DELETED: Deleted,
    ObjectKind.HISTORY: History,
    ObjectKind.PROJECT: ProjectStatus,
}


class StorageProblem(Enum):
    """The kinds of damage; the values are identifiers for programs."""

    LOST_BYTES = "lost-bytes"
    OTHER_BYTES = "other-bytes"
    LOST_DOCUMENT = "lost-document"
    OTHER_DOCUMENT = "other-document"
    DAMAGED = "damaged"
    NO_RECORD = "no-record"
    LEFT_OVER = "left-over"
    SET_ASIDE = "set-aside"


_ADVICE = {
    StorageProblem.LOST_BYTES: (
        "The file has a record but no content, so it is not listed. Restore it from a backup, or "
        "publish the identical file again. To give it up, delete its record {record}."
    ),
    StorageProblem.OTHER_BYTES: (
        "The content is not what was published. Restore it from a backup. To publish this content "
        "instead, delete the record {record} and run `pypid storage rebuild`."
    ),
    StorageProblem.LOST_DOCUMENT: (
        "The record of {filename} names this metadata file, which is missing. Restore it from a "
        "backup. To create it from the file, delete the record {record} and run "
        "`pypid storage rebuild`."
    ),
    StorageProblem.OTHER_DOCUMENT: (
        "The metadata is not what was published, so installers refuse it. Restore it from a "
        "backup. To create it from the file, delete it and the record {record}, and run "
        "`pypid storage rebuild`."
    ),
    StorageProblem.DAMAGED: (
        "The document cannot be read. Meanwhile a file is not listed or counts as yanked, a "
        "filename counts as used, and a project counts as quarantined. Restore it from a backup, "
        "or set the value again (`pypid project yank`, `pypid project set-status`). To create a "
        "record again, delete it and run `pypid storage rebuild`."
    ),
    StorageProblem.NO_RECORD: (
        "The file has no record: an upload was interrupted, or another program added the file. "
        "`pypid storage rebuild` publishes it, and so does uploading it again. Or delete it."
    ),
    StorageProblem.LEFT_OVER: (
        "No record refers to the file, and no client sees it; a crash or a disk error left it. "
        "`pypid storage check --sweep` deletes it; delete a distribution yourself."
    ),
    StorageProblem.SET_ASIDE: (
        "A file without a record was moved here because another file was published under its "
        "name. Delete it if no user needs it."
    ),
}


_PART_PREFIXES = (INDEXES, UPSTREAMS, INDEX_NAMES)
_BROKE_OFF = (
    "The content of an interrupted upload, which was never acknowledged. No client sees it. Upload "
    "the file again, or delete it."
)
_COPIED = (
    "The published content is missing or was changed. A copy of it is {copy}: `pypid storage check "
    "--hashes --sweep` restores it, and moves the other content aside."
)


@frozen
class Finding:
    """One finding: the key, what is wrong, and what to do. `swept`: it was removed. `mended`:
    published bytes found elsewhere (`copy`) were put back where the record of `file` names them.
    """

    key: str
    wrong: StorageProblem
    advice: str = field(repr=False)
    sweepable: bool = False
    swept: bool = False
    mended: bool = False
    file: StoredFile | None = field(default=None, repr=False)
    copy: str | None = field(default=None, repr=False)


@frozen
class CheckReport:
    """The result of a check: numbers of objects, of published files and of `kept` (cached) ones,
    and all findings by key.
    """

    objects: int
    files: int
    findings: tuple[Finding, ...]
    kept: int = 0


@define
class _Seen:
    """The state of one check."""

    pace: Pace
    progress: Progress
    objects: int = 0
    files: int = 0
    findings: list[Finding] = field(factory=list)
    loose: dict[str, Blob] = field(factory=dict)
    """Distributions outside any project's place, by key."""
    claimed: set[str] = field(factory=set)
    """Keys outside any project's place that records name."""

    def count_object(self) -> None:
        """Count an object of the storage."""
        self.objects += 1

    def count_file(self) -> None:
        """Count a published file, or a cached one that is whole."""
        self.files += 1

    def show_progress(self) -> None:
        """Report the progress, if it is time."""
        self.progress.at(
            lambda: (
                f"checking: {self.objects} objects, {self.files} files, "
                f"{len(self.findings)} findings"
            )
        )


@frozen
class Checker:
    """Compares the contents of the storage with its records."""

    context: IndexContext
    tell: Tell | None = None
    """Notified of the progress, like the log."""

    async def check(self, *, sweep: bool = False, hashes: bool = False) -> CheckReport:
        """Check everything; `hashes` reads all the bytes, too. Raises `StorageDown`."""
        seen = _Seen(Pace(self.context.world), Progress(self.context.world.clock, self.tell))
        async with aclosing(self.context.blobs.list()) as listing:
            group: list[Blob] = []
            async for blob in listing:
                if group and blob.key.partition("/")[0] != group[0].key.partition("/")[0]:
                    await self._group(seen, group, hashes)
                    group = []
                if not blob.key.startswith(
                    _PART_PREFIXES
                ):  # they are checked as storages of their own
                    group.append(blob)
                seen.count_object()
            await self._group(seen, group, hashes)
        for where, blob in seen.loose.items():
            if where not in seen.claimed and self._is_old(blob):
                await self._report(seen, await self._loose(where))
        found = sorted(seen.findings, key=lambda finding: finding.key)
        if sweep:
            found = [await self._swept(finding) for finding in found]
        return CheckReport(seen.objects, seen.files, tuple(found))

    # --- finding problems ---

    async def _group(self, seen: _Seen, group: list[Blob], hashes: bool) -> None:
        seen.show_progress()
        placed: list[tuple[ObjectPlace, Blob]] = []
        for blob in group:
            where = place(blob.key)
            if blob.key.startswith(SET_ASIDE):
                await self._report(seen, _finding(blob.key, StorageProblem.SET_ASIDE))
            elif where is not None:
                placed.append((where, blob))
            elif blob.key.startswith((HELD, KEPT)):
                pass  # held bytes go back by themselves; `cache_check` has cached files
            elif project_at(blob.key) is not None:
                seen.loose[blob.key] = blob
            await seen.pace.keep()
        files = {}
        listed = {blob.key for _, blob in placed}
        for where, blob in placed:
            seen.show_progress()
            if where.kind is ObjectKind.RECORD:
                files[where.filename] = await self._record(seen, where, listed, hashes)
            elif where.kind in _DOCUMENTS:
                await self._document(seen, blob, _DOCUMENTS[where.kind])
            await seen.pace.keep()
        for finding in _unclaimed(placed, files, self.context.world.now()):
            await self._report(seen, finding)

    async def _record(
        self, seen: _Seen, where: ObjectPlace, listed: Set[str], hashes: bool
    ) -> StoredFile | None:
        """Check the bytes and documents of a record and return its file; None if the record is
        damaged.
        """
        try:
            file = await records.read_record(self.context.blobs, where.project, where.filename)
        except Unreadable:
            await self._report(
                seen,
                _finding(
                    key(where.project, where.filename, ObjectKind.RECORD), StorageProblem.DAMAGED
                ),
            )
            return None
        if file is None:
            return None  # deleted meanwhile
        seen.count_file()
        if file.key not in listed:
            seen.claimed.add(file.key)
        wrong = await wrong_with_bytes(
            self.context, file, hashes=hashes, if_cut=StorageProblem.OTHER_BYTES
        )
        if (
            wrong is not None
            and await records.read_record(self.context.blobs, where.project, where.filename) == file
        ):
            finding = await self._with_copy(_finding(file.key, wrong, file), file)
            await self._report(seen, finding, is_there=wrong is not StorageProblem.LOST_BYTES)
        elif wrong is None:
            await self._documents_of(seen, file, listed, hashes)
        return file

    async def _with_copy(self, finding: Finding, file: StoredFile) -> Finding:
        """Add the copy from which the published bytes can be restored, if there is one."""
        copy = await self._copy_of(file)
        if copy is None:
            return finding
        return evolve(finding, advice=_COPIED.format(copy=copy), file=file, copy=copy)

    async def _loose(self, where: str) -> Finding:
        """Return the finding for a distribution outside any project's place that no record
        names.
        """
        found = lies_at(where)
        if found is None:
            return _finding(where, StorageProblem.NO_RECORD)
        if await records.tombstone(self.context.blobs, found.project, found.filename) is not None:
            return _finding(where, StorageProblem.LEFT_OVER, sweepable=True)
        try:
            other = await records.read_record(self.context.blobs, found.project, found.filename)
        except Unreadable:
            other = None
        return _finding(
            where, StorageProblem.NO_RECORD if other is None else StorageProblem.LEFT_OVER
        )

    async def _documents_of(
        self, seen: _Seen, file: StoredFile, listed: Set[str], hashes: bool
    ) -> None:
        for where in _promised(file):
            if where not in listed:
                await self._report(
                    seen, _finding(where, StorageProblem.LOST_DOCUMENT, file), is_there=False
                )
            elif hashes and where == sidecar_key(file, ObjectKind.METADATA):
                data = await records.read_bytes(self.context.blobs, where)
                if data is not None and records.sha256_of(data) != file.metadata_sha256:
                    await self._report(seen, _finding(where, StorageProblem.OTHER_DOCUMENT, file))

    async def _document(self, seen: _Seen, blob: Blob, kind: type[_Document]) -> None:
        try:
            await records.read_document(self.context.blobs, kind, blob.key)
        except Unreadable:
            await self._report(seen, _finding(blob.key, StorageProblem.DAMAGED))

    async def _report(self, seen: _Seen, finding: Finding, *, is_there: bool = True) -> None:
        """Add the finding, unless the blob was removed meanwhile."""
        if is_there:
            try:
                await self.context.blobs.stat(finding.key)
            except Missing:
                return
        seen.findings.append(finding)

    def _is_old(self, blob: Blob) -> bool:
        return not blob.is_younger(UNDER_WAY, self.context.world.now())

    # --- sweeping ---

    async def _swept(self, finding: Finding) -> Finding:
        """Remove the blob of the finding if possible, after checking it again under the file's
        locks.
        """
        if finding.file is not None:
            try:
                return evolve(finding, mended=await self._mend(finding.file))
            except PypidError:
                return finding
        where = place(finding.key) or lies_at(finding.key)
        if not finding.sweepable or where is None:
            return finding
        async with (
            self.context.places.hold(f"{where.project}/{where.filename}"),
            self.context.records.locks.hold(where.project),
        ):
            try:
                blob = await self.context.blobs.stat(finding.key)
                file = await records.read_record(self.context.blobs, where.project, where.filename)
                if not self._is_old(blob) or (file is not None and finding.key in _referred(file)):
                    return finding
                if where.kind is ObjectKind.ARTIFACT and not await self._is_deleted(
                    where, finding.key
                ):
                    return finding
                await self.context.blobs.delete(finding.key)
            except Missing:
                pass
            except PypidError:
                return finding
            return evolve(finding, swept=True)

    async def _is_deleted(self, where: ObjectPlace, found: str) -> bool:
        """Return whether these are the bytes of a file whose delete broke off: only they may be
        removed, no others of its name.
        """
        tombstone = await records.tombstone(self.context.blobs, where.project, where.filename)
        return (
            tombstone is not None
            and tombstone.sha256 == (await digests_of(self.context, found)).sha256
        )

    # --- putting published bytes back ---
    #
    # Bytes found where a file was to be published are copied aside (`publish`). If a record names
    # them after all, since its writer was another pypid that shared the storage without a lease,
    # they are the published bytes.

    async def _copy_of(self, file: StoredFile) -> str | None:
        """Return the key of a copy with the hash that the record names, or None."""
        where = file.project, file.filename, file.sha256
        for candidate in (set_aside_key(*where), overwrite_key(*where)):
            if candidate != file.key and await self._has(candidate, file.sha256):
                return candidate
        return None

    async def _mend(self, file: StoredFile) -> bool:
        """Put the bytes back and list the file. Return False if the record changed, nothing is
        wrong, or no copy is left.
        """
        where, sha256 = file.key, file.sha256
        async with self.context.places.hold(f"{file.project}/{file.filename}"):
            if await records.read_record(self.context.blobs, file.project, file.filename) != file:
                return False
            if await self._has(where, sha256):
                return False
            copy = await self._copy_of(file)
            if copy is None:
                return False
            await self._set_aside(file)
            await self.context.blobs.write(where, await self.context.blobs.read(copy), replace=True)
        await self.context.resync(file.project)
        return True

    async def _set_aside(self, file: StoredFile) -> None:
        """Copy the bytes that are in the wrong place aside, if there are any."""
        where = file.key
        with suppress(Missing, Exists):
            other = (await digests_of(self.context, where)).sha256
            aside = set_aside_key(file.project, file.filename, other)
            await self.context.blobs.write(aside, await self.context.blobs.read(where))

    async def _has(self, where: str, sha256: str) -> bool:
        try:
            return (await digests_of(self.context, where)).sha256 == sha256
        except Missing:
            return False


async def wrong_with_bytes(
    context: IndexContext, file: StoredFile, *, hashes: bool, if_cut: StorageProblem
) -> StorageProblem | None:
    """Return what is wrong with the stored bytes of a file, or None; `if_cut` if they have another
    length. With `hashes` they are read.
    """
    try:
        found = await context.blobs.stat(file.key)
        if found.size != file.size:
            return if_cut
        is_read = hashes and not found.archived
        if is_read and (await digests_of(context, found.key)).sha256 != file.sha256:
            return StorageProblem.OTHER_BYTES
    except Missing:
        return StorageProblem.LOST_BYTES
    return None


def _finding(
    where: str, wrong: StorageProblem, file: StoredFile | None = None, *, sweepable: bool = False
) -> Finding:
    record = "" if file is None else key(file.project, file.filename, ObjectKind.RECORD)
    advice = _ADVICE[wrong].format(record=record, filename="" if file is None else file.filename)
    return Finding(where, wrong, advice, sweepable)


def _promised(file: StoredFile) -> Iterator[str]:
    """Return the keys of the documents that the record promises."""
    kinds = (
        (ObjectKind.METADATA, file.metadata_sha256),
        (ObjectKind.PROVENANCE, file.attested),
    )
    return (sidecar_key(file, kind) for kind, is_promised in kinds if is_promised)


def _referred(file: StoredFile) -> set[str]:
    """Return all keys that belong to the record, with that of a PGP signature of former uploads."""
    return {
        *_promised(file),
        file.key,
        key(file.project, file.filename, ObjectKind.YANKED),
        sidecar_key(file, ObjectKind.SIGNATURE),
    }


def _unclaimed(
    placed: Sequence[tuple[ObjectPlace, Blob]],
    files: Mapping[str, StoredFile | None],
    now: datetime,
) -> Iterator[Finding]:
    """Yield findings for what no record refers to. `files` are those of the records, by name; None
    for a damaged one: it may refer to anything.
    """
    referred = {where for file in files.values() if file is not None for where in _referred(file)}
    places = {where for where, _ in placed}
    for where, blob in placed:
        is_ours = where.kind in (
            ObjectKind.RECORD,
            ObjectKind.DELETED,
            ObjectKind.HISTORY,
            ObjectKind.PROJECT,
        )
        is_damaged = where.filename in files and files[where.filename] is None
        if is_ours or is_damaged or blob.key in referred or blob.is_younger(UNDER_WAY, now):
            continue
        file = files.get(where.filename)
        is_deleted = (
            file is None
            and ObjectPlace(where.project, where.filename, ObjectKind.DELETED) in places
        )
        if where.kind is ObjectKind.ARTIFACT:
            if blob.provisional and file is None and not is_deleted:
                yield Finding(blob.key, StorageProblem.NO_RECORD, _BROKE_OFF)
                continue
            wrong = (
                StorageProblem.NO_RECORD
                if file is None and not is_deleted
                else StorageProblem.LEFT_OVER
            )
            yield _finding(blob.key, wrong, sweepable=is_deleted)
            continue
        # documents beside a file that was not published by pypid belong to the user who put them
        # there
        has_bytes = (
            ObjectPlace(where.project, where.filename, ObjectKind.ARTIFACT) in places
            and not is_deleted
        )
        is_older = file is not None and sidecar_key(file, where.kind) != blob.key
        if (
            where.kind is ObjectKind.OVERWRITE
            or is_older
            or (where.kind in _NEVER_ALONE and file is None and not has_bytes)
        ):
            yield _finding(blob.key, StorageProblem.LEFT_OVER, sweepable=True)


# Checking the cached files for damage by crashes, disk errors or manual edits.
#
# All of it can be fetched again, so a sweep removes every finding, damaged files included. Parts
# of the storage without an upstream or an index are found here, too.

_AGAIN = (
    "`pypid storage check --sweep` or `pypid cache purge {project} {filename}` deletes it; the "
    "next request fetches it again."
)
_CACHE_ADVICE = {
    StorageProblem.LOST_BYTES: (
        f"The file has a record but no content, or only a part, so it is not served. {_AGAIN}"
    ),
    StorageProblem.OTHER_BYTES: (
        f"The content is not what was fetched, so installers refuse it. {_AGAIN}"
    ),
    StorageProblem.OTHER_DOCUMENT: (
        f"The metadata is not what was fetched, so it is not served. {_AGAIN}"
    ),
    StorageProblem.DAMAGED: (
        f"The record cannot be read, so the file is not served from the cache. {_AGAIN}"
    ),
    StorageProblem.LEFT_OVER: (
        "No record refers to the file, and no client sees it; a crash or a disk error left it, or "
        "upstream no longer has the file. `pypid storage check --sweep` deletes it."
    ),
}
_UNUSED = (
    "The configuration has no [upstream:{name}] any more, so no client gets these cached files and "
    "no limit counts them. `pypid storage check --sweep` deletes them."
)
_NO_INDEX = (
    "There is no index {name}, so no client gets these files, and the names of their projects stay "
    "private. `pypid index delete {name} --force` deletes them. To serve them again, add "
    "[index:{name}] to the configuration."
)
_BYTES = (ObjectKind.ARTIFACT, ObjectKind.OVERWRITE)


async def unused_parts(
    blobs: Blobs, used: Container[str], *, sweep: bool = False
) -> Sequence[Finding]:
    """Find the caches of named upstreams, and the files and private names of named indexes, whose
    prefix is not in `used`; `sweep` deletes caches. The traces of deleted files alone have no
    effect. Raises `StorageDown`.
    """
    found: dict[str, Finding] = {}
    for kind in (INDEX_NAMES, INDEXES, UPSTREAMS):
        async with aclosing(blobs.list(kind)) as listing:
            async for blob in listing:
                prefix = part_of(blob.key) or f"{INDEXES}{blob.key.rpartition('/')[2]}/"
                where = place_of(blob.key.removeprefix(prefix))
                if prefix in used or (where is not None and where.kind in TRACES):
                    continue
                is_cache = kind == UPSTREAMS
                advice = (_UNUSED if is_cache else _NO_INDEX).format(name=prefix.split("/")[2])
                found[prefix] = Finding(
                    prefix, StorageProblem.LEFT_OVER, advice, is_cache, sweep and is_cache
                )
                if sweep and is_cache:
                    await blobs.delete(blob.key)
    return tuple(found.values())


@frozen
class CacheChecker:
    """Compares the blobs below `layout.KEPT` with their records."""

    context: IndexContext
    kept: CacheStore
    tell: Tell | None = None
    """Notified of the progress, like the log."""

    async def check(self, *, sweep: bool = False, hashes: bool = False) -> CheckReport:
        """Check everything; `hashes` reads all the bytes, too. The objects are not counted. Raises
        `StorageDown`.
        """
        seen = _Seen(Pace(self.context.world), Progress(self.context.world.clock, self.tell))
        group: list[tuple[ObjectPlace, Blob]] = []
        async with aclosing(self.context.blobs.list(KEPT)) as listing:
            async for blob in listing:
                place = kept_place(blob.key)
                if (
                    place is not None and place.filename
                ):  # foreign files below the prefix are ignored
                    if group and group[0][0].project != place.project:
                        await self._project(seen, group, hashes)
                        group = []
                    group.append((place, blob))
            await self._project(seen, group, hashes)
        found = sorted(seen.findings, key=lambda finding: finding.key)
        if sweep:
            found = [await self._swept(finding) for finding in found]
        return CheckReport(0, 0, tuple(found), kept=seen.files)

    # --- finding problems ---

    async def _project(
        self, seen: _Seen, group: Sequence[tuple[ObjectPlace, Blob]], hashes: bool
    ) -> None:
        seen.progress.at(
            lambda: f"checking the cache: {seen.files} files, {len(seen.findings)} findings"
        )
        if not group:
            return
        files: dict[str, StoredFile | None] = {}
        for found_place, _ in group:
            if found_place.kind is ObjectKind.RECORD:
                files[found_place.filename] = await self._record(seen, found_place, hashes)
            await seen.pace.keep()
        entry = await self.context.catalog.upstream.get(group[0][0].project)
        for found_place, blob in self._unclaimed(group, files, entry):
            if await is_stored(self.context.blobs, blob.key):
                self._report(seen, found_place, blob.key, StorageProblem.LEFT_OVER)

    async def _record(self, seen: _Seen, place: ObjectPlace, hashes: bool) -> StoredFile | None:
        """Check the file of a record and return it; None if there is no usable one."""
        where = kept_key(place.project, place.filename, ObjectKind.RECORD)
        file = await recorded(self.context.blobs, place.project, place.filename)
        if file is None:
            if await is_stored(self.context.blobs, where):
                self._report(seen, place, where, StorageProblem.DAMAGED)
            return None
        wrong = await self._wrong_with(file, hashes)
        if wrong is None:
            seen.count_file()
        elif await recorded(self.context.blobs, place.project, place.filename) == file:
            key = cached_metadata_key(file) if wrong is StorageProblem.OTHER_DOCUMENT else file.key
            self._report(seen, place, key, wrong)
        return file

    async def _wrong_with(self, file: StoredFile, hashes: bool) -> StorageProblem | None:
        wrong = await wrong_with_bytes(
            self.context, file, hashes=hashes, if_cut=StorageProblem.LOST_BYTES
        )
        if wrong is None and hashes and await self._has_other_metadata(file):
            return StorageProblem.OTHER_DOCUMENT
        return wrong

    async def _has_other_metadata(self, file: StoredFile) -> bool:
        """Return whether the metadata beside the file is not that of its record; missing metadata
        is not promised either.
        """
        data = (
            None
            if file.metadata_sha256 is None
            else await small(self.context.blobs, cached_metadata_key(file))
        )
        return data is not None and records.sha256_of(data) != file.metadata_sha256

    def _unclaimed(
        self,
        group: Sequence[tuple[ObjectPlace, Blob]],
        files: Mapping[str, StoredFile | None],
        entry: UpstreamEntry,
    ) -> Iterator[tuple[ObjectPlace, Blob]]:
        """Yield what no record refers to, and is not being stored just now. (What a damaged record
        refers to is removed with it.)
        """
        listing = entry.listing
        listed = None if listing is None else {file.filename for file in listing.files or ()}
        for found_place, blob in group:
            file = files.get(found_place.filename)
            is_damaged = file is None and found_place.filename in files
            if (
                is_damaged
                or (file is not None and blob.key in cached_keys(file))
                or not self._is_old(blob)
            ):
                continue
            # metadata is also fetched without its file, and is valid as long as upstream lists the
            # file
            is_unlisted = (
                found_place.kind is ObjectKind.METADATA
                and listed is not None
                and found_place.filename not in listed
            )
            if found_place.kind in (*_BYTES, ObjectKind.PROVENANCE) or is_unlisted:
                yield found_place, blob

    def _report(self, seen: _Seen, place: ObjectPlace, key: str, wrong: StorageProblem) -> None:
        advice = _CACHE_ADVICE[wrong].format(project=place.project, filename=place.filename)
        seen.findings.append(Finding(key, wrong, advice, sweepable=True))

    def _is_old(self, blob: Blob) -> bool:
        return self.context.world.now() - blob.modified >= UNDER_WAY

    # --- sweeping ---

    async def _swept(self, finding: Finding) -> Finding:
        """Remove the blob of the finding if possible, and return the finding."""
        place = kept_place(finding.key)
        assert place is not None  # each finding is below `KEPT`
        try:
            if finding.wrong in (StorageProblem.LEFT_OVER, StorageProblem.OTHER_DOCUMENT):
                await self._remove(place, finding)
            else:
                await self.kept.forget(place.project, place.filename)
        except PypidError:
            return finding
        return evolve(finding, swept=not await is_stored(self.context.blobs, finding.key))

    async def _remove(self, place: ObjectPlace, finding: Finding) -> None:
        async def is_wrong_still() -> bool:
            file = await recorded(self.context.blobs, place.project, place.filename)
            if finding.wrong is StorageProblem.OTHER_DOCUMENT:
                return (
                    file is not None
                    and finding.key == cached_metadata_key(file)
                    and await self._has_other_metadata(file)
                )
            return file is None or finding.key not in cached_keys(file)

        await self.kept.discard(place.project, place.filename, finding.key, is_wrong_still)
