"""Removing cached files: choosing the least recently used to evict, and purging on request, over
the caches of all upstreams. Local files are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import timedelta

from pypid.core.packaging.names import ProjectName
from pypid.index.index import Index
from pypid.index.progress import Progress
from pypid.index.upstream.cache_store import CacheInventory, InventoryEntry


def inventory_of(index: Index, upstream: str = "") -> CacheInventory:
    """Return the inventory of the index's cache. `upstream`: the name that its entries have."""
    return CacheInventory(
        index.context.blobs,
        index.catalog,
        index.file_cache.last_access,
        index.context.world,
        upstream,
    )


async def cached_files(
    index: Index, project: ProjectName | None = None, upstream: str | None = None
) -> Sequence[InventoryEntry]:
    """Return the cached files, perhaps of one project or one upstream, with their last access, by
    project. Raises `StorageDown`.
    """
    found: list[InventoryEntry] = []
    for name, cache in index.caches.items():
        if upstream is None or upstream == name:
            found += await inventory_of(cache, name).taken(project=project)
    return sorted(found, key=lambda file: (file.project, file.upstream))


async def purge(
    index: Index,
    project: ProjectName | None = None,
    filename: str | None = None,
    *,
    upstream: str | None = None,
    unwanted: timedelta | None = None,
) -> Sequence[InventoryEntry]:
    """Delete cached files: all, those of one project, or one file; with `upstream` only those of
    this one, with `unwanted` only those that were not accessed for so long.

    Return the deleted files; deleting none is no error. Raises `StorageDown`.
    """
    found = await cached_files(index, project, upstream)
    before = None if unwanted is None else (index.context.world.now() - unwanted).timestamp()
    going = [
        file
        for file in found
        if (filename is None or file.filename == filename)
        and (before is None or file.wanted <= before)
    ]
    progress = Progress(index.context.world.clock)
    purged: list[InventoryEntry] = []
    for file in going:
        progress.at(lambda: f"purging the cache: {len(purged)} of {len(going)} files")
        await index.caches[file.upstream].file_cache.forget(file.project, file.filename)
        purged.append(file)
    return purged


def files_to_evict(
    files: Sequence[InventoryEntry],
    limit: int,
    target: int | None = None,
    needed: Set[tuple[ProjectName, str]] = frozenset(),
) -> Sequence[InventoryEntry]:
    """Return the files to evict (`FileCache.forget`) so that at most `limit` bytes stay, the least
    recently used first.

    If any have to be evicted, so many are that at most `target` bytes stay (default: `limit`). A
    file larger than `limit` by itself is evicted first, and nothing in its place. The `needed`
    files stay, however much space they take.
    """
    if needed:
        room = sum(file.size for file in files if (file.project, file.filename) in needed)
        files = [file for file in files if (file.project, file.filename) not in needed]
        limit, target = max(limit - room, 0), None if target is None else max(target - room, 0)
    going = [file for file in files if file.size > limit]
    others = sorted(
        (file for file in files if file.size <= limit),
        key=lambda file: (file.wanted, file.project, file.filename, file.upstream),
    )
    left = sum(file.size for file in others)
    enough = limit if target is None or left <= limit else target
    for file in others:
        if left <= enough:
            break
        going.append(file)
        left -= file.size
    return going


async def withheld_files(
    index: Index, names: Iterable[ProjectName]
) -> Set[tuple[ProjectName, str]]:
    """Return the cached files of these projects that a rule withholds, as project and file name:
    they stay as evidence, and upstream may have removed them.
    """
    restrictions = index.context.policy.restrictions.current
    return {
        (name, file.filename)
        for name in names
        if restrictions.hides_any(name)
        for file in (await index.catalog.upstream.get(name)).kept
        if restrictions.hold(file) is not None
    }
