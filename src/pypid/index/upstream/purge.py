"""What is kept of theirs, for whoever runs the index: how much there is, and taking it away. Ours
is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import timedelta

from pypid.core.packaging.names import ProjectName
from pypid.index.index import Index
from pypid.index.progress import Progress
from pypid.index.upstream.inventory import CacheInventory, InventoryEntry


def stock_of(index: Index) -> CacheInventory:
    """Takes stock of what the index keeps."""
    return CacheInventory(index.blobs, index.catalog, index.keeper.touches, index.world)


async def purge(
    index: Index,
    project: ProjectName | None = None,
    filename: str | None = None,
    *,
    unwanted: timedelta | None = None,
    needed: Set[tuple[ProjectName, str]] = frozenset(),
) -> Sequence[InventoryEntry]:
    """Take away what is kept: all, of one project, one file; with `unwanted` only what nobody
    wanted for so long.

    The `needed` files stay (project and name). Returns what went; that nothing did is no error.
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
        await index.keeper.forget(file.project, file.filename)
    return going
