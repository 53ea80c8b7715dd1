"""The interface of engines that share a catalog between nodes: versioned rows in a database, and
notifications of changes.

Of projects an engine has the names and heads; their contents are bytes. Its operations are
small, so that each is one short transaction: change a row if it is unchanged since it was read,
read what changed since, get notified of changes.

``version``
    Each change takes the next one, of all rows together, in the order in which changes become
    visible: a reader who has seen version 7 has seen all up to 7. So a row that was removed and
    added again is never taken for the one before.
``serial``
    The number that clients see: only a *visible* change takes one. It goes on when the catalog is
    rebuilt.
``generation``
    A random name, new whenever the rows are reset (another version of the schema, `clear`, a
    database that lost its tables): versions of one generation mean nothing in another.

A follower calls `open`, then `changes` from `EngineState.beginning` until there are no `more`;
then, whenever a `Beat` (or `state`) reports a later version, `changes` from the last
`Slice.position`. So it misses nothing, even if notifications are lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from pypid.core.model import SignedUrl, Status
from pypid.core.packaging.names import ProjectName
from pypid.database.places import DatabaseAway, DatabaseFull

T = TypeVar("T")

MOST_ROWS = 5000
"""Rows in a slice."""
ONCE_MORE = 0.5
"""Seconds after which a change with an unknown result is tried again: a server that restarts may be
back.
"""
HEARTBEAT = 0.3
"""Seconds after which a working feed has reported the state again, whether something changed or
not.
"""


class RowKind(Enum):
    """What a row is about: a local project of an index, or one of an upstream. A reader ignores
    rows of other kinds, which a later version may write.
    """

    LOCAL = "ours"
    UPSTREAM = "theirs"


@frozen
class Position:
    """How far a reader has read."""

    generation: str
    version: int


@frozen
class EngineState:
    """The state of the engine at one time. `version` and `serial` are those of the last change."""

    generation: str
    version: int
    serial: int
    complete: bool
    """Whether the whole storage has been reconciled in this generation (`Catalog.complete`)."""
    rights: int
    """Grows whenever `note_rights` is called."""

    @property
    def position(self) -> Position:
        """The position of a reader who has read everything."""
        return Position(self.generation, self.version)

    @property
    def beginning(self) -> Position:
        """The position of a reader who has read nothing."""
        return Position(self.generation, 0)


class RowHead(msgspec.Struct, frozen=True, gc=False):
    """What is known of a project without reading its contents; every node holds it of each row.

    `mark` is the reconciler's fingerprint of the listing that a local project was last read from;
    `confirmed`: when upstream last answered.
    """

    status: Status = Status.ACTIVE
    kept: bool = False
    """Whether files of an upstream project are cached."""
    gone: bool = False
    """Whether upstream does not have the project."""
    mark: str | None = None
    confirmed: datetime | None = None


class CatalogRow(msgspec.Struct, frozen=True, gc=False):
    """The row of a project, as it is since `version`, without its contents. `serial` is that of its
    last visible change. `name` is the key in the table (`ports.TableKey`).

    `head` is None for a project that was removed. `size`: bytes of its contents.
    """

    kind: RowKind
    name: ProjectName
    version: int
    serial: int
    head: RowHead | None
    size: int = 0


@frozen
class RowContents:
    """The contents of a row: `line` is made by `records.dump_project` or
    `upstream_entry.dump_upstream_entry`, of a project with serial 0, since the serial is known only
    when the row is written; `files` are the listed files of an upstream project.
    """

    line: bytes = field(repr=False)
    files: bytes = field(default=b"", repr=False)


@frozen
class RowChange:
    """The new contents of a row, if it still has the version `expected`; 0: if there is none, or it
    was removed.

    A `head` of None removes the row, and then `expected` is not 0. `files` of None: those that the
    row has stay. `seen`: the change takes a serial. (Do not expect the version of a removed row:
    that is a conflict.)
    """

    kind: RowKind
    name: ProjectName
    expected: int
    head: RowHead | None = None
    line: bytes = field(default=b"", repr=False)
    files: bytes | None = field(default=b"", repr=False)
    seen: bool = True

    @property
    def size(self) -> int:
        """How many bytes are written."""
        return len(self.line) + len(self.files or b"")


@frozen
class Conflict:
    """The row was changed by another node: read it again."""


@frozen
class Slice:
    """Some changed rows, each in its last state, in the order of their versions. Go on from
    `position` if there is `more`.
    """

    rows: tuple[CatalogRow, ...] = field(repr=False)
    position: Position
    more: bool


@frozen
class Beat:
    """A sign of life of the feed: the state is no older than `requested_at`, in seconds of the
    reactor's clock.
    """

    state: EngineState
    requested_at: float


@define
class CatalogReset(Exception):
    """There is another generation, or the changes since the position are no longer known: `open`,
    and read from the beginning.
    """

    def __str__(self) -> str:
        return "the shared catalog was reset"


class Feed(Protocol):
    """A running subscription to the states of an engine."""

    async def stop(self) -> None:
        """Stop calling `on_beat`. Returns when the connection is closed; may be called again."""


class Engine(Protocol):
    """Rows that several nodes share. What was awaited is durable, and visible to every later call
    of any node.

    Every method raises `DatabaseAway` (call it again, which is safe) and `DatabaseUnusable`
    (another version of pypid uses it, it is damaged, its driver is missing). Methods with a
    generation or a position raise `CatalogReset` if that is not the current one, and so do `state`,
    `row` and `clear` if there is none any more (the file or the tables were removed).
    """

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        """Prepare the engine, and return its state: rows are reset if there are none, or they have
        another schema.

        `identity` is that of the storage (`records.StorageIdentity`): raises
        `core.errors.CannotStart` if the rows are of another storage. Serials of a new generation go
        on from the last known one, and from `serial` at least. May be called again, on
        `CatalogReset`.
        """

    async def state(self) -> EngineState:
        """Return the state; it includes all that was awaited before, on any node."""

    async def row(
        self, generation: str, kind: RowKind, name: ProjectName
    ) -> tuple[CatalogRow, RowContents] | None:
        """Return the row and its contents as they are now; None if there is none, or it was
        removed.
        """

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        """Return what changed after `since`: at most `most` rows, the oldest first; each row once,
        as it is now.

        From the beginning these are all rows (some removed ones may be among them).
        """

    async def swap(self, generation: str, change: RowChange) -> CatalogRow | Conflict:
        """Change the row if it has the expected version; return the new row or the conflict.

        If another version of the row has the wanted contents already, whichever node wrote it,
        nothing changes and it is returned. So a change with an unknown result (`DatabaseAway`) can
        be repeated. Raises `DatabaseFull`, and `ValueError` for an invalid change.
        """

    async def swap_all(
        self, generation: str, changes: Sequence[RowChange]
    ) -> Sequence[CatalogRow] | Conflict:
        """Change several rows, each as `swap` does, in one transaction: all, or none for a conflict
        of one. Their versions follow each other, and the visible changes have one serial.
        """

    async def mark_complete(self, generation: str, *, complete: bool = True) -> EngineState:
        """Record for all nodes that the whole storage has been reconciled, until the rows are
        reset; or that it may have changed since. Return the state.
        """

    async def note_rights(self) -> EngineState:
        """Notify all nodes that users or rights changed, which are not stored here; return the
        state.
        """

    async def clear(self) -> EngineState:
        """Reset the rows: none, not complete, another generation. Serials go on; links and leases
        stay. Return the state.
        """

    async def tidy(self, tombstones: int = 10_000) -> None:
        """Remove expired links and leases, and removed rows except the last `tombstones`.

        A follower that has not seen one of those yet gets `CatalogReset`.
        """

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or extend the lease for that long by the engine's clock; return whether this holder
        has it now.
        """

    async def release(self, name: str, holder: str) -> None:
        """Give the lease back, if this holder has it."""

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        """Return the signed URL that is stored under `key` (which includes the signer), if it ends
        after `good_after`.
        """

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        """Return the URL that all nodes use from now on: this one, or one that is stored already
        and ends after `good_after`.
        """

    def follow(self, on_beat: Callable[[Beat], None]) -> Feed:
        """Report the state, in the reactor's thread: soon after each change, by any node, and at
        least each `HEARTBEAT`.

        While the engine is unavailable, nothing is reported; the feed reconnects by itself.
        """

    async def close(self) -> None:
        """Release the connections, after feeds are stopped. May be called again; later calls open
        it again.
        """


def check_changes(changes: Iterable[RowChange]) -> None:
    """Raise `ValueError` if a row is to be removed that is not expected to exist."""
    for change in changes:
        if change.head is None and not change.expected:
            raise ValueError(f"{change.name} cannot be removed: it does not exist")


async def slices(
    engine: Engine, since: Position, most: int = MOST_ROWS
) -> AsyncGenerator[Slice, None]:
    """Yield what changed after `since`, slice by slice, up to now. The caller closes the generator;
    raises as `Engine.changes`.
    """
    while True:
        found = await engine.changes(since, most)
        yield found
        if not found.more:
            return
        since = found.position


def count_whole(rows: Sequence[CatalogRow]) -> int:
    """Return how many of the rows come before those of the last transaction, of which there may be
    more: its rows have one serial.
    """
    count = len(rows)
    while count and rows[count - 1].serial == rows[-1].serial > 0:
        count -= 1
    return count


async def repeated(clock: IReactorTime, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of a change that may be made twice: if the first attempt is interrupted, so
    that its result is unknown, that of a second one.
    """
    try:
        return await attempt()
    except DatabaseFull:
        raise
    except DatabaseAway:
        await deferLater(clock, ONCE_MORE)
        return await attempt()
