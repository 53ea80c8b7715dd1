"""Cache maintenance for administrators: the inventory, and deleting cached files. Local files are
never touched.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import timedelta

from pypid.core.packaging.names import ProjectName
from pypid.index.index import Index
from pypid.index.progress import Progress
from pypid.index.upstream.inventory import CacheInventory, InventoryEntry


def stock_of(index: Index) -> CacheInventory:
    """Return the inventory of the index's cache."""
    return CacheInventory(index.blobs, index.catalog, index.file_cache.last_access, index.world)


async def purge(
    index: Index,
    project: ProjectName | None = None,
    filename: str | None = None,
    *,
    unwanted: timedelta | None = None,
    needed: Set[tuple[ProjectName, str]] = frozenset(),
) -> Sequence[InventoryEntry]:
    """Delete cached files: all, those of one project, or one file; with `unwanted` only those that
    were not accessed for so long.

    The `needed` files stay (project and name). Return the deleted files; deleting none is no error.
    Raises `StorageDown`.
    """
    found = await stock_of(index).taken(project=project)
    before = None if unwanted is None else (index.world.now() - unwanted).timestamp()
    going = [
        file
        for file in found
        if (filename is None or file.filename == filename)
        and (before is None or file.wanted <= before)
        and (file.project, file.filename) not in needed
    ]
    progress = Progress(index.world.clock)
    for done, file in enumerate(going):
        progress.at(lambda done=done: f"purging what is kept: {done} of {len(going)} files")  # type: ignore[misc]
        await index.file_cache.forget(file.project, file.filename)
    return going
