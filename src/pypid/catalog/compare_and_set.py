"""Compare-and-set on a row of the engine: read, compute, swap, and again with the other node's row
after a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from pypid.catalog.states import changed, count_for_writing, listed_files, same, visible_state
from pypid.catalog.table import FEW
from pypid.core.errors import CatalogDown
from pypid.core.model import LocalProject, UpstreamEntry
from pypid.core.records.documents import dump_project, load_head
from pypid.core.records.upstream_entry import dump_upstream_entry
from pypid.ports import TableKey

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
    name: TableKey,
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
                rows = () if done is None else ((done, _value(wanted, done)),)
                await _show(following, generation, half, name, rows)
                return Swapped(held, wanted, done)
            held = await half().read(done.row)
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _attempt(
    following: ReplicaFollower,
    generation: str,
    kind: RowKind,
    name: TableKey,
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
    line = await _line(following, wanted)
    return await engine.swap(generation, RowChange(kind, name, line, held.version, wanted.seen))


def _is(row: CatalogRow | None, held: ReplicaEntry[Any]) -> bool:
    """Return whether the row is the held one; the version alone does not prove it, as it may be of
    another generation.
    """
    if row is None:
        return not held.version
    return row.version == held.version and row.numbered() == held.line


async def swap_rows(
    following: ReplicaFollower,
    kind: RowKind,
    half: Callable[[], ReplicaTable[V]],
    drafts: Mapping[TableKey, Callable[[ReplicaEntry[V]], RowDraft[W] | None]],
) -> Mapping[TableKey, Swapped[V, W]]:
    """Replace several rows as `swap_row` does: all in one step, or none."""
    if not await following.current():
        raise CatalogDown("nothing was changed. Try again soon.") from following.away
    try:
        for _ in range(MOST_TRIES):
            await following.catch_up()  # rows that are not changed are current, too
            try:
                made = await _attempt_all(following, kind, half, drafts)
            except CatalogReset:
                continue
            if made is not None:
                return made
    except (DatabaseAway, DatabaseUnusable) as error:
        raise CatalogDown("nothing was changed for certain. Try again soon.") from error
    raise CatalogDown("too much changes at once.")


async def _attempt_all(
    following: ReplicaFollower,
    kind: RowKind,
    half: Callable[[], ReplicaTable[V]],
    drafts: Mapping[TableKey, Callable[[ReplicaEntry[V]], RowDraft[W] | None]],
) -> Mapping[TableKey, Swapped[V, W]] | None:
    """Return the new rows; None for a conflict."""
    generation = following.replica.generation
    held = {name: await half().held(name) for name in drafts}
    wanted = {name: draft(held[name]) for name, draft in drafts.items()}
    changes: list[RowChange] = []
    for name, row in wanted.items():
        if row is not None and (row.line is not None or held[name].version):
            line = await _line(following, row)
            changes.append(RowChange(kind, name, line, held[name].version, row.seen))
    made: dict[TableKey, CatalogRow] = {}
    if changes:
        done = await following.engine.swap_all(generation, changes)
        if isinstance(done, Conflict):
            return None
        made = {row.name: row for row in done}
        values = [(row, _value(wanted[row.name], row)) for row in done]
        await _show(following, generation, half, values[0][0].name, values)
    return {name: Swapped(held[name], wanted[name], made.get(name)) for name in drafts}


async def _line(following: ReplicaFollower, draft: RowDraft[Any]) -> bytes | None:
    line = draft.line
    if line is None:
        return None
    return line() if draft.short else await following.world.thinking(line)


def _value(draft: RowDraft[Any] | None, row: CatalogRow | None) -> Any:
    """Return the project or the upstream entry that the row holds; None if it has to be read."""
    if draft is None or draft.line is None or row is None:
        return None
    return evolve(draft.value, serial=row.serial)


async def _show(
    following: ReplicaFollower,
    generation: str,
    half: Callable[[], ReplicaTable[Any]],
    name: TableKey,
    rows: Sequence[tuple[CatalogRow, Any]],
) -> None:
    """Bring the copy up to the rows, which follow each other, and to all changes before them, so
    that later reads show them. Without rows: until it has none of this name.
    """
    replica = following.replica
    if replica.generation != generation or (
        rows and all(replica.take_own(row, value) for row, value in rows)
    ):
        return

    def shows_them() -> bool:
        replica = following.replica
        if replica.generation != generation:
            return True
        return (
            all(replica.version >= row.version for row, _ in rows)
            if rows
            else not half().version(name)
        )

    try:
        for _ in range(2):  # the first may have begun before the rows were written
            if not shows_them():
                await following.catch_up()
    except (DatabaseAway, DatabaseUnusable):  # the change itself has succeeded
        if following.replica.generation == generation:
            for row, _ in rows:
                following.replica.take(row)


# --- edits of projects ---


def mark_of(line: bytes | None) -> str | None:
    """Return the mark in the line of a local project."""
    return None if line is None else load_head(line).mark


def made_project(
    done: Swapped[LocalProject, LocalProject | None],
) -> LocalProject | None:
    """Return the project that is held now."""
    if done.draft is None or done.row is None:
        return done.held.value
    made = done.draft.value
    return None if made is None else evolve(made, serial=done.row.serial)


def edited(
    name: TableKey,
    change: Callable[[LocalProject | None], LocalProject | None],
    mark: str | None,
    held: ReplicaEntry[LocalProject],
) -> RowDraft[LocalProject | None] | None:
    """Return the draft of the edit of a local project; None if nothing changes."""
    old = held.value
    new = changed(name, old, change)
    is_damaged = old is None and held.version
    if same(old, new) and not is_damaged:
        if old is None or mark is None or mark == mark_of(held.line):
            return None
        return _local_draft(name, old, mark, seen=False)
    if new is None:
        return RowDraft(None, seen=True, line=None)
    return _local_draft(name, new, mark, seen=True)


def _local_draft(
    name: TableKey, project: LocalProject, mark: str | None, *, seen: bool
) -> RowDraft[LocalProject | None]:
    written = partial(dump_project, evolve(project, serial=0), mark, name)
    return RowDraft(project, seen=seen, line=written, short=len(project.files) <= FEW)


def upstream_draft(
    name: TableKey, held: ReplicaEntry[UpstreamEntry], old: UpstreamEntry, new: UpstreamEntry
) -> RowDraft[UpstreamEntry]:
    """Return the draft of the change of an upstream project from `old` to `new`."""
    is_seen = visible_state(new) != visible_state(old)
    if new.listing is None and not new.kept:
        return RowDraft(new, seen=is_seen, line=None)
    earlier = held.line if listed_files(new) is listed_files(old) else None
    written = partial(dump_upstream_entry, evolve(new, serial=0), earlier, key=name)
    is_short = earlier is not None or count_for_writing(new) <= FEW
    return RowDraft(new, seen=is_seen, line=written, short=is_short)
