"""Choosing which cached files to evict: the least recently used. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set

from pypid.core.packaging.names import ProjectName
from pypid.index.upstream.inventory import InventoryEntry


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
        key=lambda file: (file.wanted, file.project, file.filename),
    )
    left = sum(file.size for file in others)
    enough = limit if target is None or left <= limit else target
    for file in others:
        if left <= enough:
            break
        going.append(file)
        left -= file.size
    return going
