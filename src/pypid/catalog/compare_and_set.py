"""Changing a row of the engine by a function: read, compute, swap, and again with the row of
whoever was faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import evolve, field, frozen

from pypid.catalog.engine import (
    Anew,
    CatalogRow,
    Conflict,
    DatabaseAway,
    DatabaseUnusable,
    RowChange,
    RowKind,
)
from pypid.catalog.replica import Half, ReplicaEntry
from pypid.catalog.replica_follower import ReplicaFollower
from pypid.core.errors import CatalogDown
from pypid.core.packaging.names import ProjectName

V = TypeVar("V")
W = TypeVar("W")

MOST_TRIES = 100
"""Each that fails is somebody else's that went well: more than so many in a row there are not."""


@frozen
class RowDraft(Generic[V]):
    """What a row is to become. `line` writes it down; None takes it out."""

    value: V
    seen: bool
    line: Callable[[], bytes] | None = field(repr=False)
    short: bool = True
    """Whether it is written down in a few milliseconds."""


@frozen
class Swapped(Generic[V, W]):
    """What came of it: what was held where `draft` is None, since nothing was to change, and else
    the draft, in the row.
    """

    held: ReplicaEntry[V]
    draft: RowDraft[W] | None
    row: CatalogRow | None


async def swapped(
    following: ReplicaFollower,
    kind: RowKind,
    name: ProjectName,
    half: Callable[[], Half[V]],
    draft: Callable[[ReplicaEntry[V]], RowDraft[W] | None],
) -> Swapped[V, W]:
    """Make of the row what `draft` says, as one step; this node's copy shows it when that is done.

    `draft` is asked again for each row that another node was faster with; None: nothing changes,
    which is made sure of, too. `half` is that of the copy of now. Raises `CatalogDown`, with
    nothing changed in the copy (and perhaps in the engine), and what `draft` raises.
    """
    if not await following.current():
        raise CatalogDown("nothing was changed. Try again soon.") from following.away
    try:
        held, epoch = await half().held(name), following.replica.epoch
        for _ in range(MOST_TRIES):
            wanted = draft(held)
            try:
                done = await _tried(following, epoch, kind, name, held, wanted)
            except Anew:
                await following.catch_up()
                held, epoch = await half().held(name), following.replica.epoch
                continue
            if not isinstance(done, Conflict):
                value = None
                if wanted is not None and wanted.line is not None and done is not None:
                    value = evolve(wanted.value, serial=done.serial)  # type: ignore[misc]  # a project, or what was heard
                await _shown(following, epoch, half, name, done, value)
                return Swapped(held, wanted, done)
            held = await half().read(done.row)
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _tried(
    following: ReplicaFollower,
    epoch: str,
    kind: RowKind,
    name: ProjectName,
    held: ReplicaEntry[Any],
    wanted: RowDraft[Any] | None,
) -> CatalogRow | Conflict | None:
    """The row as it is now."""
    engine = following.engine
    if not epoch:
        raise Anew
    if wanted is None or (wanted.line is None and not held.version):
        row = await engine.row(kind, name)
        return row if _is(row, held) else Conflict(row)
    line = wanted.line
    written = (
        None if line is None else line() if wanted.short else await following.world.thinking(line)
    )
    return await engine.swap(epoch, RowChange(kind, name, written, held.version, wanted.seen))


def _is(row: CatalogRow | None, held: ReplicaEntry[Any]) -> bool:
    """Whether the row is what is held; the version alone does not tell, as it may be another
    epoch's.
    """
    if row is None:
        return not held.version
    return row.version == held.version and row.numbered() == held.line


async def _shown(
    following: ReplicaFollower,
    epoch: str,
    half: Callable[[], Half[Any]],
    name: ProjectName,
    row: CatalogRow | None,
    value: Any,
) -> None:
    """Have the copy hold the row, and all that was changed before it: what is read from now on
    shows it.
    """
    if following.replica.epoch != epoch or (
        row is not None and following.replica.take_own(row, value)
    ):
        return

    def shows_it() -> bool:
        replica = following.replica
        return replica.epoch != epoch or (
            replica.version >= row.version if row is not None else not half().has_row(name)
        )

    try:
        for _ in range(2):  # the first may have begun before the row was written
            if not shows_it():
                await following.catch_up()
    except (DatabaseAway, DatabaseUnusable):  # it is changed, though: this much is known
        if row is not None and following.replica.epoch == epoch:
            following.replica.take(row)
