"""Reconciling the catalog with the storage: in the background, one project at a time, reading only
what differs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial

from attrs import Factory, define, field, frozen
from twisted.logger import Logger

from pypid.core.errors import BadFilename, BadName, CatalogDown, StorageDown
from pypid.core.model import Blob, LocalProject, Project, StoredFile
from pypid.core.packaging.names import (
    OLD_SDIST_SUFFIXES,
    SDIST_SUFFIXES,
    ProjectName,
    project_and_version,
    project_name,
)
from pypid.core.records.layout import (
    DESCRIBED,
    KEPT,
    OURS_AS_A_WHOLE,
    ObjectKind,
    folder,
    is_only_ours,
    listed_as,
    place,
)
from pypid.index.context import IndexContext, Pace
from pypid.index.progress import JobGroup, Progress, Tell
from pypid.index.store import records

_log = Logger()

_SUFFIXES = (".whl", ".egg", *SDIST_SUFFIXES, *OLD_SDIST_SUFFIXES)
_OVERWRITE = ObjectKind.OVERWRITE.value
_RECORD = ObjectKind.RECORD.value
PROJECTS_AT_ONCE = 8
"""Projects read at the same time."""
MOST_FOREIGN = 10_000
_DOCUMENTS = (_RECORD, ObjectKind.DELETED.value, f"/{ObjectKind.PROJECT.value}")
"""Kinds of documents that make a name local."""


@frozen
class Reconciled:
    """The result of a reconciliation. `strays` are distributions that no record names; see
    `index.local.adoption`.
    """

    projects: int
    changed: int
    strays: tuple[Blob, ...] = field(default=(), repr=False)
    foreign: tuple[Blob, ...] = field(default=(), repr=False)
    """Blobs that are neither distributions nor pypid's, up to `MOST_FOREIGN`, and all that a
    pypicloud lists by their name; collected only if a pypicloud may have listed them.
    """
    ours: frozenset[ProjectName] = field(default=frozenset(), repr=False)
    """The projects with listed local documents: records and the like."""
    read: int = 0
    """How many projects were read, whether they had changed or not."""
    named_strays: Mapping[str, tuple[Blob, ...]] = field(factory=dict, repr=False)
    """The strays of named indexes, by the prefix of the index, which their keys do not have."""


@define
class ReconcileProgress:
    """Progress of a reconciliation: numbers of listed objects and of projects read."""

    objects: int = 0
    projects: int = 0

    def add_object(self) -> None:
        """Count a listed object."""
        self.objects += 1

    def add_project(self) -> None:
        """Count a project that was read."""
        self.projects += 1


@define
class _Walk:
    """One reconciliation of everything, and its state."""

    context: IndexContext
    progress: Progress
    counted: ReconcileProgress
    reconcile_project: Callable[[ProjectName], Awaitable[Reconciled]]
    pace: Pace = field(default=Factory(lambda self: Pace(self.context.world), takes_self=True))
    reading: JobGroup = field(factory=lambda: JobGroup(PROJECTS_AT_ONCE))
    seen: set[ProjectName] = field(factory=set)
    loose: dict[str, Blob] = field(factory=dict)
    """Distributions without a record beside them, by key: strays, or files adopted in place."""
    elsewhere: set[ProjectName] = field(factory=set)
    """Projects that may have files whose bytes are not in the project's folder."""
    changed: set[ProjectName] = field(factory=set)
    read: int = 0
    foreign: int = 0
    some_foreign: list[Blob] = field(factory=list)
    failure: StorageDown | None = None
    """Why a project could not be read; all others are still compared."""

    async def run(self) -> Reconciled:
        """Compare all of the storage; see `Reconciler.reconcile`."""
        async with aclosing(self.context.blobs.list()) as listing:
            group: list[Blob] = []
            current = ""
            async for blob in listing:
                top = blob.key.partition("/")[0]
                if top != current:
                    await self._group(current, group)
                    current, group = top, []
                group.append(blob)
                self.counted.add_object()
            await self._group(current, group)
        await self.reading.ended()
        await self._forget_gone()
        await self.reading.ended()
        strays = await self._unclaimed()
        if self.failure is not None:
            raise self.failure
        if self.foreign:
            _log.info(
                (
                    "{count} objects in the storage are neither distributions nor pypid's; they "
                    "were skipped"
                ),
                count=self.foreign,
            )
        return Reconciled(
            len(self.seen),
            len(self.changed),
            strays,
            tuple(self.some_foreign),
            frozenset(self.seen),
            self.read,
        )

    async def _group(self, top: str, group: list[Blob]) -> None:
        """Process all blobs below one top-level folder: a project's, or stray files."""
        counted = self.counted
        self.progress.at(
            lambda: (
                f"comparing with the storage: {counted.objects} objects, {counted.projects} "
                f"projects read"
            )
        )
        await self.pace.keep()
        if f"{top}/" in (
            OURS_AS_A_WHOLE,
            KEPT,
        ):  # cached files are compared by `CacheStore`
            return
        keys = {blob.key for blob in group}
        is_ours = _is_project(top) and any(key.endswith(_DOCUMENTS) for key in keys)
        for blob in group:
            if blob.key + _RECORD in keys:
                continue
            project = project_at(blob.key)
            if project is not None:
                self.loose[blob.key] = blob
                self.elsewhere.add(project)
            elif self._is_foreign(blob.key, keys, is_ours):
                self.foreign += 1
                if self.context.adopts and (
                    len(self.some_foreign) < MOST_FOREIGN or listed_as(blob.key) is not None
                ):
                    self.some_foreign.append(blob)
            await self.pace.keep()
        if is_ours:
            await self._project(ProjectName(top), group, keys)

    def _is_foreign(self, where: str, keys: set[str], is_ours: bool) -> bool:
        """Return whether the blob is not pypid's. A pypicloud's descriptions belong to its files;
        blobs in local folders count only where a pypicloud may have listed them.
        """
        if where.endswith(DESCRIBED) and where.removesuffix(DESCRIBED) in keys:
            return False
        if self.context.adopts:
            return not is_only_ours(where) and place(where) is None
        return not is_ours and place(where) is None

    async def _project(self, name: ProjectName, group: list[Blob], keys: set[str]) -> None:
        self.seen.add(name)
        if _lie_elsewhere(group, keys):
            self.elsewhere.add(name)
        if await self.context.catalog.local.mark(name) == records.mark_of(group):
            self.context.records.note_verified(name)
        else:
            await self.reading.add(partial(self._read, name))

    async def _read(self, name: ProjectName) -> None:
        self.read += 1
        try:
            if (await self.reconcile_project(name)).changed:
                self.changed.add(name)
            self.counted.add_project()
        except CatalogDown:  # reading the others would be useless
            raise
        except StorageDown as error:
            _log.error("The project {name} could not be read: {error}", name=name, error=error)
            self.failure = error

    async def _forget_gone(self) -> None:
        """Read the projects again that the catalog holds and the listing did not show, and remove
        those that are gone.
        """
        for summary in await self.context.catalog.local.summaries():
            if summary.name not in self.seen:
                await self.reading.add(partial(self._read, summary.name))
            await self.pace.keep()

    async def _unclaimed(self) -> tuple[Blob, ...]:
        """Return the loose distributions that belong to no project's file, after comparing the
        projects with files elsewhere.

        Changes of such files do not show in the listing of the project's folder.
        """
        claimed: set[str] = set()
        for name in sorted(self.elsewhere):
            ours = await self.context.catalog.local.get(name)
            if isinstance(ours, Project) and not _agrees(ours, self.loose):
                await self._read(name)
                ours = await self.context.catalog.local.get(name)
            if isinstance(ours, Project):
                claimed.update(file.key for file in ours.files)
            self.progress.at(
                lambda: f"comparing with the storage: {len(claimed)} files that lie elsewhere"
            )
            await self.pace.keep()
        return tuple(blob for key, blob in self.loose.items() if key not in claimed)


@frozen
class Reconciler:
    """Brings the catalog in line with the storage of one index. Once those of all indexes were
    compared, absence is proven (`Catalog.complete`).
    """

    context: IndexContext
    tell: Tell | None = None
    """Notified of the progress, like the log."""
    counted: ReconcileProgress = field(factory=ReconcileProgress)

    async def reconcile(self) -> Reconciled:
        """Reconcile everything. Raises `StorageDown`; then absence is not proven, and what was read
        so far is kept.
        """
        walk = _Walk(
            self.context,
            Progress(self.context.world.clock, self.tell),
            self.counted,
            self.reconcile_project,
        )
        await self.context.records.finish_interrupted()
        try:
            return await walk.run()
        except BaseException:
            await walk.reading.cancel()
            raise

    async def reconcile_project(self, name: ProjectName) -> Reconciled:
        """Read one project again. Raises `CatalogDown` if the catalog cannot be updated."""
        await self.context.records.finish_interrupted()
        async with self.context.records.locks.hold(name):
            found = await self.context.records.refresh(name)
        if not found.in_catalog:
            raise CatalogDown("what the storage holds was not compared with it.")
        return Reconciled(
            projects=int(found.entry is not None), changed=int(found.changed), strays=found.strays
        )


def _agrees(ours: LocalProject, loose: Mapping[str, Blob]) -> bool:
    """Return whether the project's files outside its folder are as the catalog has them."""
    outside = [file for file in ours.files if not file.key.startswith(folder(ours.name))]
    return all(_is_there(file, loose.get(file.key)) for file in outside)


def _is_there(file: StoredFile, found: Blob | None) -> bool:
    return found is not None and (found.size, found.archived) == (file.size, file.archived)


def _lie_elsewhere(group: list[Blob], keys: set[str]) -> bool:
    """Return whether a record's bytes are not beside it: neither under the file's name, nor as an
    overwrite.
    """
    bare = [blob.key.removesuffix(_RECORD) for blob in group if blob.key.endswith(_RECORD)]
    absent = {key for key in bare if key not in keys}
    return bool(absent - {key.rpartition(_OVERWRITE)[0] for key in keys if _OVERWRITE in key})


def _is_project(top: str) -> bool:
    try:
        return project_name(top) == top
    except BadName:
        return False


def project_at(where: str) -> ProjectName | None:
    """Return the project of a distribution at any key, by its file name; None if it is not a
    distribution.
    """
    filename = where.rpartition("/")[2]
    if not filename.endswith(_SUFFIXES):
        return None
    try:
        return project_and_version(filename)[0]
    except BadFilename:
        return None
