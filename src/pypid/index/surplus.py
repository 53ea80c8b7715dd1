"""How much is kept of theirs, and which files go when that is too much: those that nobody wanted for longest.

It is counted by the bytes that really lie in the storage. Only what lies below `layout.KEPT` is looked at: files of ours never
go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing

from attrs import evolve, frozen

from pypid.core.layout import KEPT, Kind, kept_folder, kept_place
from pypid.core.names import ProjectName
from pypid.index.touches import Touches
from pypid.ports import Blobs, Catalog


@frozen
class Held:
    """All that is stored of one file of theirs. `size` in bytes; `wanted` is when that last was, in seconds since 1970.

    `recorded`: it can be served; else there is its metadata alone (an installer has looked at it), or what a crash left.
    """

    project: ProjectName
    filename: str
    size: int
    wanted: int
    recorded: bool = False


async def lying(blobs: Blobs, project: ProjectName | None = None) -> Sequence[Held]:
    """All that is kept (of one project), in the order of names, also what no record names; as if wanted when it was stored.

    Raises `StorageDown`.
    """
    found: dict[tuple[ProjectName, str], Held] = {}
    async with aclosing(blobs.list(KEPT if project is None else kept_folder(project))) as listing:
        async for blob in listing:
            placed = kept_place(blob.key)
            if placed is None or not placed.filename:
                continue
            key = placed.project, placed.filename
            before = found.get(key, Held(*key, 0, 0))
            found[key] = evolve(
                before,
                size=before.size + blob.size,
                wanted=max(before.wanted, int(blob.modified.timestamp())),
                recorded=before.recorded or placed.kind is Kind.RECORD,
            )
    return [held for _, held in sorted(found.items())]


async def with_use(files: Sequence[Held], catalog: Catalog, touches: Touches) -> Sequence[Held]:
    """`files`, with when each was last wanted. (This reads what is known of each project; `lying` does not.)"""
    by_project = defaultdict(list)
    for file in files:
        by_project[file.project].append(file)
    known = []
    for name, held in by_project.items():
        wanted = touches.wanted(await catalog.theirs(name))
        known += [evolve(file, wanted=max(file.wanted, wanted.get(file.filename, 0))) for file in held]
    return known


def surplus(files: Sequence[Held], limit: int, target: int | None = None) -> Sequence[Held]:
    """The files to forget (`Keeper.forget`) so that no more than `limit` bytes stay, the longest unwanted first.

    Where any have to go for that, so many go that no more than `target` stay (`limit`, if it is not given). A file that alone
    has more than `limit` goes first, and nothing goes in its place.
    """
    going = [file for file in files if file.size > limit]
    others = sorted((file for file in files if file.size <= limit), key=lambda file: (file.wanted, file.project, file.filename))
    left = sum(file.size for file in others)
    enough = limit if target is None or left <= limit else target
    for file in others:
        if left <= enough:
            break
        going.append(file)
        left -= file.size
    return going
