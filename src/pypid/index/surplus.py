"""Which kept files go when there is too much of them: those that nobody wanted for longest, by the bytes that really lie there.

Only what lies below `layout.KEPT` is looked at: files of ours never go.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from attrs import evolve, frozen

from pypid.core.layout import KEPT, kept_place
from pypid.core.names import ProjectName
from pypid.index.touches import HOUR
from pypid.ports import Blobs, Catalog


@frozen
class Held:
    """All that is stored of one file of theirs. `size` in bytes; `hour` is when it was last wanted, in hours since 1970."""

    project: ProjectName
    filename: str
    size: int
    hour: int


async def held(blobs: Blobs, catalog: Catalog) -> tuple[Held, ...]:
    """All that is kept, in the order of names, also what no record names. Raises `StorageDown`.

    A file of which it is not known when it was wanted counts from when it was stored.
    """
    found: dict[tuple[ProjectName, str], Held] = {}
    async with aclosing(blobs.list(KEPT)) as listing:
        async for blob in listing:
            placed = kept_place(blob.key)
            if placed is None:
                continue
            stored = int(blob.modified.timestamp()) // HOUR
            before = found.get((placed.project, placed.filename), Held(placed.project, placed.filename, 0, 0))
            found[placed.project, placed.filename] = evolve(before, size=before.size + blob.size, hour=max(before.hour, stored))
    touched: dict[tuple[ProjectName, str], int] = {}
    for name in {project for project, _ in found}:
        heard = await catalog.theirs(name)
        touched.update(((name, filename), hour) for filename, hour in heard.touched)
    return tuple(evolve(file, hour=max(file.hour, touched.get(key, 0))) for key, file in sorted(found.items()))


def surplus(files: Iterable[Held], limit: int) -> tuple[Held, ...]:
    """The files to forget (`Keeper.forget`) so that no more than `limit` bytes stay, the longest unwanted first."""
    ordered = sorted(files, key=lambda file: (file.hour, file.project, file.filename))
    left = sum(file.size for file in ordered)
    going: list[Held] = []
    for file in ordered:
        if left <= limit:
            break
        going.append(file)
        left -= file.size
    return tuple(going)
