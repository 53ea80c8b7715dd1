"""The upstream that knows a project, for pages and commands about one project."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from pypid.core.model import UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.index.index import Index


async def asked_source(index: Index, project: ProjectName) -> Index | None:
    """Return the first upstream with a listing or cached files of the project, of those that the
    index asks; if none has any, the first one; None if it asks none. Raises `StorageDown`.
    """
    chosen = index.upstreams_of(project)
    return await _knowing(chosen, project) or next(iter(chosen), None)


async def source_of(index: Index, project: ProjectName) -> Index:
    """Return the first upstream with a listing or cached files of the project: of those that the
    index asks, then of all. Raises `StorageDown`.
    """
    candidates = (*index.upstreams_of(project), *index.caches.values())
    return await _knowing(candidates, project) or candidates[0]


async def _knowing(sources: Iterable[Index], project: ProjectName) -> Index | None:
    for source in sources:
        entry = await source.listings.kept.entry(project)
        if entry.kept or (entry.listing is not None and entry.listing.files is not None):
            return source
    return None


async def entries_of(index: Index, project: ProjectName) -> AsyncIterator[UpstreamEntry]:
    """Yield the entry of the project in each upstream of this pypid. Raises `StorageDown`."""
    for cache in index.caches.values():
        yield await cache.listings.kept.entry(project)
