"""Compare-and-set on a row of the engine: read, compute, swap, and again with the other node's row
after a conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import evolve, field, frozen

from pypid.catalog.engine import (
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseAway,
    DatabaseUnusable,
    RowChange,
    RowKind,
)
from pypid.catalog.replica import ReplicaEntry, ReplicaTable
from pypid.catalog.replica_follower import ReplicaFollower
from pypid.core.errors import CatalogDown
from pypid.core.packaging.names import ProjectName

V = TypeVar("V")
W = TypeVar("W")

MOST_TRIES = 100
"""Each attempt that fails is another node's success: there are never so many in a row."""


@frozen
class RowDraft(Generic[V]):
    """The new contents of a row. `line` returns the bytes to write; None removes the row."""

    value: V
    seen: bool
    line: Callable[[], bytes] | None = field(repr=False)
    short: bool = True
    """Whether writing the line takes only a few milliseconds."""


@frozen
class Swapped(Generic[V, W]):
    """The result: the draft, and the row with it; `draft` is None if `held`, the earlier value, did
    not change.
    """

    held: ReplicaEntry[V]
    draft: RowDraft[W] | None
    row: CatalogRow | None


async def swap_row(
    following: ReplicaFollower,
    kind: RowKind,
    name: ProjectName,
    half: Callable[[], ReplicaTable[V]],
    draft: Callable[[ReplicaEntry[V]], RowDraft[W] | None],
) -> Swapped[V, W]:
    """Replace the row by what `draft` returns, as one atomic step; afterwards this node's copy
    shows it.

    `draft` is called again for each conflict with another node; None: nothing changes, and it is
    checked that the held row is current. `half` returns the half of the current copy. Raises
    `CatalogDown`, with nothing changed in the copy (and perhaps in the engine), and what `draft`
    raises.
    """
    if not await following.current():
        raise CatalogDown("nothing was changed. Try again soon.") from following.away
    try:
        held, generation = await half().held(name), following.replica.generation
        for _ in range(MOST_TRIES):
            wanted = draft(held)
            try:
                done = await _attempt(following, generation, kind, name, held, wanted)
            except CatalogReset:
                await following.catch_up()
                held, generation = await half().held(name), following.replica.generation
                continue
            if not isinstance(done, Conflict):
                value = None
                if wanted is not None and wanted.line is not None and done is not None:
                    # a project or an upstream entry
                    value = evolve(wanted.value, serial=done.serial)  # type: ignore[misc]
                await _show(following, generation, half, name, done, value)
                return Swapped(held, wanted, done)
            held = await half().read(done.row)
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _attempt(
    following: ReplicaFollower,
    generation: str,
    kind: RowKind,
    name: ProjectName,
    held: ReplicaEntry[Any],
    wanted: RowDraft[Any] | None,
) -> CatalogRow | Conflict | None:
    """Return the row as it is now."""
    engine = following.engine
    if not generation:
        raise CatalogReset
    if wanted is None or (wanted.line is None and not held.version):
        row = await engine.row(kind, name)
        return row if _is(row, held) else Conflict(row)
    line = wanted.line
    written = (
        None if line is None else line() if wanted.short else await following.world.thinking(line)
    )
    return await engine.swap(generation, RowChange(kind, name, written, held.version, wanted.seen))


def _is(row: CatalogRow | None, held: ReplicaEntry[Any]) -> bool:
    """Return whether the row is the held one; the version alone does not prove it, as it may be of
    another generation.
    """
    if row is None:
        return not held.version
    return row.version == held.version and row.numbered() == held.line


async def _show(
    following: ReplicaFollower,
    generation: str,
    half: Callable[[], ReplicaTable[Any]],
    name: ProjectName,
    row: CatalogRow | None,
    value: Any,
) -> None:
    """Bring the copy up to the row, and to all changes before it, so that later reads show it."""
    if following.replica.generation != generation or (
        row is not None and following.replica.take_own(row, value)
    ):
        return

    def shows_it() -> bool:
        replica = following.replica
        return replica.generation != generation or (
            replica.version >= row.version if row is not None else not half().version(name)
        )

    try:
        for _ in range(2):  # the first may have begun before the row was written
            if not shows_it():
                await following.catch_up()
    except (DatabaseAway, DatabaseUnusable):  # the change itself has succeeded
        if row is not None and following.replica.generation == generation:
            following.replica.take(row)
