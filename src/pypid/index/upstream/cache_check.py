"""Checking the cached files for damage by crashes, disk errors or manual edits.

All of it can be fetched again, so a sweep removes every finding, damaged files included. Parts of
the storage without an upstream or an index are found here, too.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import aclosing

from attrs import define, evolve, field, frozen

from pypid.core.errors import PypidError
from pypid.core.model import Blob, StoredFile, UpstreamEntry
from pypid.core.records.layout import (
    INDEX_NAMES,
    INDEXES,
    KEPT,
    TRACES,
    UPSTREAMS,
    ObjectKind,
    ObjectPlace,
    kept_key,
    kept_place,
    part_of,
)
from pypid.core.records.layout import (
    place as place_of,
)
from pypid.index.context import IndexContext, Pace, is_stored
from pypid.index.local.publish import UNDER_WAY
from pypid.index.local.storage_check import CheckReport, Finding, StorageProblem, wrong_with_bytes
from pypid.index.progress import Progress, Tell
from pypid.index.store import records
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.cached_records import (
    cached_keys,
    cached_metadata_key,
    recorded,
    small,
)
from pypid.ports import Blobs

_AGAIN = (
    "`pypid storage check --sweep` or `pypid cache purge {project} {filename}` deletes it; the "
    "next request fetches it again."
)
_ADVICE = {
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


@define
class _Seen:
    """The state of one check."""

    pace: Pace
    progress: Progress
    files: int = 0
    findings: list[tuple[ObjectPlace, Finding]] = field(factory=list)

    def count_file(self) -> None:
        """Count a cached file that is whole."""
        self.files += 1


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
        found = sorted(seen.findings, key=lambda pair: pair[1].key)
        if sweep:
            found = [(place, await self._swept(place, finding)) for place, finding in found]
        return CheckReport(0, 0, tuple(finding for _, finding in found), kept=seen.files)

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
        for place, _ in group:
            if place.kind is ObjectKind.RECORD:
                files[place.filename] = await self._record(seen, place, hashes)
            await seen.pace.keep()
        entry = await self.context.catalog.upstream.get(group[0][0].project)
        for place, blob in self._unclaimed(group, files, entry):
            if await is_stored(self.context.blobs, blob.key):
                self._report(seen, place, blob.key, StorageProblem.LEFT_OVER)

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
        for place, blob in group:
            file = files.get(place.filename)
            is_damaged = file is None and place.filename in files
            if (
                is_damaged
                or (file is not None and blob.key in cached_keys(file))
                or not self._is_old(blob)
            ):
                continue
            # metadata is also fetched without its file, and is valid as long as upstream lists the
            # file
            is_unlisted = (
                place.kind is ObjectKind.METADATA
                and listed is not None
                and place.filename not in listed
            )
            if place.kind in (*_BYTES, ObjectKind.PROVENANCE) or is_unlisted:
                yield place, blob

    def _report(self, seen: _Seen, place: ObjectPlace, key: str, wrong: StorageProblem) -> None:
        advice = _ADVICE[wrong].format(project=place.project, filename=place.filename)
        seen.findings.append((place, Finding(key, wrong, advice, sweepable=True)))

    def _is_old(self, blob: Blob) -> bool:
        return self.context.world.now() - blob.modified >= UNDER_WAY

    # --- sweeping ---

    async def _swept(self, place: ObjectPlace, finding: Finding) -> Finding:
        """Remove the blob of the finding if possible, and return the finding."""
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
