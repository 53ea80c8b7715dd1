"""Marks for projects that changed here since the last reconciliation, so that a catalog dump is
worth as much as one.

A project's mark is the fingerprint of the listing that it was read from; a change through this
pypid removes it. A new machine that starts from a dump without marks reads every such project
whole. One listing of the project's folder restores the mark, if the listing agrees with the catalog
exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from pypid.core.errors import CatalogDown, PypidError, StorageDown
from pypid.core.model import Blob, LocalProject, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import ObjectKind, folder, key, place, sidecar_key
from pypid.index.context import IndexContext, Pace
from pypid.index.job_group import all_of
from pypid.index.store import records
from pypid.index.store.record_store import as_it_is

AT_ONCE = 8
"""Projects listed at the same time."""
_WITNESSES = (ObjectKind.DELETED, ObjectKind.HISTORY, ObjectKind.PROJECT, ObjectKind.SIGNATURE)
"""Kinds of documents that say nothing of an existing file; this process has written them and has
their state in the catalog.
"""


async def mark_changed(context: IndexContext) -> int:
    """Mark the projects that have no mark and agree with the storage; return how many were marked.
    Raises `StorageDown`.

    Only for a process that alone may write to the storage.
    """
    pace, wanted = Pace(context.world), []
    for summary in await context.catalog.local.summaries():
        if await context.catalog.local.mark(summary.name) is None:
            wanted.append(summary.name)
        await pace.keep()

    async def mark(name: ProjectName) -> bool:
        try:
            return await _mark(context, name)
        except (CatalogDown, StorageDown):
            raise
        except PypidError:
            return False

    marked = 0
    for start in range(0, len(wanted), AT_ONCE):
        jobs = [lambda name=name: mark(name) for name in wanted[start : start + AT_ONCE]]
        marked += sum(await all_of(jobs, AT_ONCE))
    return marked


async def _mark(context: IndexContext, name: ProjectName) -> bool:
    async with context.records.locks.hold(name):
        project = await context.catalog.local.get(name)
        if (
            not isinstance(project, Project)
            or name in context.records.pending_updates
            or not context.is_sole()
        ):
            return False
        async with aclosing(context.blobs.list(folder(name))) as listing:
            blobs = [blob async for blob in listing]
        if not _agrees(project, blobs):
            return False
        await context.catalog.local.edit(name, as_it_is, mark=records.mark_of(blobs))
        return True


def _agrees(project: LocalProject, listing: Sequence[Blob]) -> bool:
    """Return whether the folder holds the project's files and their documents, and nothing else."""
    expected = {where: size for file in project.files for where, size in _expected(file).items()}
    archived = {file.key for file in project.files if file.archived}
    inside = {where for where in expected if where.startswith(folder(project.name))}
    for blob in listing:
        size = expected.get(blob.key, -1)
        found = place(blob.key)
        if blob.key not in inside and (found is None or found.kind not in _WITNESSES):
            return False
        if (
            size is not None
            and size >= 0
            and (size != blob.size or blob.archived != (blob.key in archived))
        ):
            return False
    return inside <= {blob.key for blob in listing}


def _expected(file: StoredFile) -> dict[str, int | None]:
    """Return the keys of the file, with the size of its bytes."""
    record = key(file.project, file.filename, ObjectKind.RECORD)
    found: dict[str, int | None] = {record: None, file.key: file.size}
    if file.yanked is not None:
        found[key(file.project, file.filename, ObjectKind.YANKED)] = None
    sidecars = (
        (ObjectKind.METADATA, file.metadata_sha256),
        (ObjectKind.PROVENANCE, file.attested),
    )
    found.update({sidecar_key(file, kind): None for kind, is_there in sidecars if is_there})
    return found
