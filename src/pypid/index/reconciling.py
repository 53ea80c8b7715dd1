"""Comparing the catalog with the storage: in the background, one project at a time, reading only what differs."""

from __future__ import annotations

from contextlib import aclosing

from attrs import define, field, frozen
from twisted.logger import Logger

from pypid.core.errors import BadFilename, BadName
from pypid.core.layout import Kind
from pypid.core.model import Blob, Project
from pypid.core.names import OLD_SDIST_SUFFIXES, SDIST_SUFFIXES, ProjectName, parse_filename, project_name
from pypid.index import truth
from pypid.index.parts import Parts

_log = Logger()

_SUFFIXES = (".whl", ".egg", *SDIST_SUFFIXES, *OLD_SDIST_SUFFIXES)
_DOCUMENTS = (Kind.RECORD.value, Kind.DELETED.value, f"/{Kind.PROJECT.value}")
"""What makes a name ours."""

PROGRESS = 10_000
"""Blobs between two lines of progress in the log."""


@frozen
class Reconciled:
    """What a comparison found. `strays` are distributions that no record names; see `adopting`."""

    projects: int
    changed: int
    strays: tuple[Blob, ...] = field(default=(), repr=False)


@define
class _Walk:
    """The state of one comparison."""

    seen: set[ProjectName] = field(factory=set)
    strays: list[Blob] = field(factory=list)
    changed: int = 0
    blobs: int = 0
    foreign: int = 0


@frozen
class Reconciler:
    """Brings the catalog up to the storage, and proves absence (`Catalog.complete`)."""

    parts: Parts

    async def reconcile(self) -> Reconciled:
        """Compare everything. Raises `StorageDown`; then absence is not proven, and what was read so far is kept."""
        walk = _Walk()
        async with aclosing(self.parts.blobs.list()) as listing:
            group: list[Blob] = []
            current = ""
            async for blob in listing:
                top = blob.key.partition("/")[0]
                if top != current:
                    await self._group(walk, current, group)
                    current, group = top, []
                group.append(blob)
                self._count(walk)
            await self._group(walk, current, group)
        await self._forget_gone(walk)
        await self.parts.catalog.complete()
        strays = await self._unclaimed(walk.strays)
        if walk.foreign:
            _log.info(
                "{count} objects in the storage are neither distributions nor pypid's; they were skipped", count=walk.foreign
            )
        return Reconciled(projects=len(walk.seen), changed=walk.changed, strays=strays)

    async def reconcile_project(self, name: ProjectName) -> Reconciled:
        """Read one project anew."""
        async with self.parts.locks.hold(name):
            before = await self.parts.catalog.ours(name)
            found = await truth.read_project(self.parts.blobs, name)
            held = await self.parts.catalog.edit(name, lambda _: found.project, mark=found.mark)
        changed = held != before if isinstance(before, Project) else held is not None
        return Reconciled(projects=int(held is not None), changed=int(changed), strays=found.strays)

    def _count(self, walk: _Walk) -> None:
        walk.blobs += 1
        if walk.blobs % PROGRESS == 0:
            _log.info(
                "comparing with the storage: {blobs} objects, {changed} projects read", blobs=walk.blobs, changed=walk.changed
            )

    async def _group(self, walk: _Walk, top: str, group: list[Blob]) -> None:
        """All blobs below one top folder: a project's, or files that somebody dropped."""
        keys = {blob.key for blob in group}
        walk.strays.extend(blob for blob in group if _is_distribution(blob.key) and blob.key + Kind.RECORD.value not in keys)
        if not _is_project(top) or not any(key.endswith(_DOCUMENTS) for key in keys):
            walk.foreign += sum(not _is_distribution(key) and not key.startswith(".pypid/") for key in keys)
            return
        name = ProjectName(top)
        walk.seen.add(name)
        if await self.parts.catalog.mark(name) != truth.mark_of(group) and (await self.reconcile_project(name)).changed:
            walk.changed += 1

    async def _forget_gone(self, walk: _Walk) -> None:
        """Projects that the catalog holds and the listing did not show are looked at once more, then taken out."""
        for summary in await self.parts.catalog.names():
            if summary.name not in walk.seen and (await self.reconcile_project(summary.name)).changed:
                walk.changed += 1

    async def _unclaimed(self, strays: list[Blob]) -> tuple[Blob, ...]:
        """Those of `strays` that no project's file lies in."""
        unclaimed: list[Blob] = []
        for blob in strays:
            parsed = parse_filename(blob.key.rpartition("/")[2])
            ours = await self.parts.catalog.ours(parsed.project)
            if not (isinstance(ours, Project) and any(file.key == blob.key for file in ours.files)):
                unclaimed.append(blob)
        return tuple(unclaimed)


def _is_project(top: str) -> bool:
    try:
        return project_name(top) == top
    except BadName:
        return False


def _is_distribution(where: str) -> bool:
    filename = where.rpartition("/")[2]
    if not filename.endswith(_SUFFIXES):
        return False
    try:
        parse_filename(filename)
    except BadFilename:
        return False
    return True
