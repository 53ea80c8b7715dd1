"""Which kept files go when there is too much of them: those that nobody wanted
for longest. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from pypid.core.packaging.names import ProjectName
from pypid.index.upstream.inventory import InventoryEntry


def surplus(
    files: Sequence[InventoryEntry],
    limit: int,
    target: int | None = None,
    needed: Set[tuple[ProjectName, str]] = frozenset(),
) -> Sequence[InventoryEntry]:
    """The files to forget (`FileCache.forget`) so that no more than `limit` bytes stay, the longest
    unwanted first.

    Where any have to go for that, so many go that no more than `target` stay (`limit`, if it is not
    given). A file that alone has more than `limit` goes first, and nothing goes in its place. The
    `needed` ones stay, whatever they take of the room.
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
