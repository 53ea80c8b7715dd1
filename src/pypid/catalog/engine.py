"""What nodes share a catalog by: rows with versions in an engine that exists already (a database,
Redis), and news of them.

An engine knows nothing of projects but their names: a row is a line of bytes. What is asked of it
is small, so that each is one short transaction: change one row if it is still the one that was
read, read what changed since, hear that something did.

``version``
    Each change takes the next one, of all rows together, in the order in which changes become visible: who has seen version
    7 has seen all up to 7. So a row that went and came back is never taken for the one before.
``serial``
    What clients see of that: only a change that can be *seen* takes one. It goes on when the catalog is rebuilt.
``epoch``
    Made by chance when the rows are begun anew (another version of the schema, `clear`, a database that lost its tables):
    versions of one epoch mean nothing in another.

Whoever follows: `open`, then `changes` from `EngineState.beginning` until there are no `more`;
then, whenever a `Beat` (or `state`) tells of a later version, `changes` from the last
`Slice.position`. Nothing is missed so, whatever message was lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from enum import Enum
from typing import Protocol

from attrs import define, field, frozen

from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.databases.faults import DatabaseAway as DatabaseAway
from pypid.databases.faults import DatabaseFull as DatabaseFull
from pypid.databases.faults import DatabaseUnusable as DatabaseUnusable

MOST_ROWS = 1000
"""Of a slice."""
MOST_BYTES = 1 << 23
"""Of a slice's lines, but for one line that is longer by itself."""
HEARTBEAT = 0.3
"""Seconds after which a feed that lives has told of the state again, whether something changed or
not.
"""


class RowKind(Enum):
    """Whose project a row is of."""

    OURS = "ours"
    THEIRS = "theirs"


@frozen
class Position:
    """How far somebody has read."""

    epoch: str
    version: int


@frozen
class EngineState:
    """The engine's, at one moment. `version` and `serial` are those of the last change."""

    epoch: str
    version: int
    serial: int
    complete: bool
    """Whether all that storage holds has been compared, in this epoch (`Catalog.complete`)."""
    rights: int
    """Grows whenever `note_rights` is called."""

    @property
    def position(self) -> Position:
        """Where somebody stands who has read everything."""
        return Position(self.epoch, self.version)

    @property
    def beginning(self) -> Position:
        """Where somebody stands who has read nothing."""
        return Position(self.epoch, 0)


@frozen
class CatalogRow:
    """A project's, as it is since `version`. `serial` is that of the last change of it that could
    be seen.

    `line` is what `records.dump_project` or `heard.dump_heard` makes of a project with serial 0:
    the serial is known when the row is written, and not before. None: it was taken out. (A
    project's mark is in its line.)
    """

    kind: RowKind
    name: ProjectName
    version: int
    serial: int
    line: bytes | None = field(repr=False)

    def numbered(self) -> bytes:
        """The line with its serial in it, as a catalog in memory holds it. Raises `ValueError`
        where it is none of ours.
        """
        assert self.line is not None
        beginning = b'{"name":"%s"' % self.name.encode()
        if not self.line.startswith(beginning):
            raise ValueError(f"the line of {self.name} is another's")
        if not self.serial:
            return self.line
        return b'%s,"serial":%d%s' % (beginning, self.serial, self.line[len(beginning) :])


@frozen
class RowChange:
    """What a row is to be, where it still has the version `expected`; 0: where there is none, or it
    was taken out.

    `line` as in `CatalogRow`; None takes it out, and then `expected` is not 0. `seen`: it takes a
    serial. (The version of a row that was taken out is not to be expected: it is a conflict.)
    """

    kind: RowKind
    name: ProjectName
    line: bytes | None = field(repr=False)
    expected: int
    seen: bool = True


@frozen
class Conflict:
    """Somebody else changed the row. It is now this one; None where there is none."""

    row: CatalogRow | None


@frozen
class Slice:
    """Some changed rows, each as it was last, in the order of their versions. Go on from `position`
    where there is `more`.
    """

    rows: tuple[CatalogRow, ...] = field(repr=False)
    position: Position
    more: bool


@frozen
class Beat:
    """That the feed lives: the state is no older than `asked`, in seconds of
    the reactor's clock.
    """

    state: EngineState
    asked: float


@define
class Anew(Exception):
    """There is another epoch, or what changed since the position is not known any more: `open`, and
    read from the beginning.
    """

    def __str__(self) -> str:
        return "the shared catalog was begun anew"


class Feed(Protocol):
    """What goes on until it is stopped."""

    async def stop(self) -> None:
        """Hear no more: from here on `heard` is not called. Returns when its connection is closed;
        may be called again.
        """


class Engine(Protocol):
    """Rows that several nodes share. What was awaited is durable, and every node that asks from
    then on sees it.

    Everything raises `Away` (ask again, or do it again, which is safe) and `Unusable` (another
    version of pypid has it, it is damaged, its driver is missing). What is given an epoch or a
    position raises `Anew` where that is another one, and so do `state`, `row` and `clear` where
    there is none any more (the file is gone, or the tables are).
    """

    async def open(self, identity: str, serial: int = 0) -> EngineState:
        """The state, now that the engine can be used: rows are begun anew where there are none, or
        of another schema.

        `identity` is that of the storage (`records.StorageIdentity`): raises
        `core.errors.CannotStart` where the rows are of another one. Serials of a new epoch go on
        from the last that is known, and from `serial` at least. May be called again, on `Anew`.
        """

    async def state(self) -> EngineState:
        """The state; all that was awaited before, on any node, is in it."""

    async def row(self, kind: RowKind, name: ProjectName) -> CatalogRow | None:
        """The row as it is now; None where there is none, or it was taken out."""

    async def changes(self, since: Position, most: int = MOST_ROWS) -> Slice:
        """What changed after `since`: at most `most` rows and `MOST_BYTES`, the oldest first; each
        row once, as it is now.

        From the beginning these are all rows (some that were taken out may be among them).
        """

    async def swap(self, epoch: str, change: RowChange) -> CatalogRow | Conflict:
        """Change the row if it still is what was expected; what it is now.

        Where the row has the line already that was wanted, whoever wrote it, nothing changes and it
        is returned. So a change of which nobody knows whether it happened (`Away`) is done again.
        Raises `Full`, `ValueError` for what cannot be.
        """

    async def say_complete(self, epoch: str) -> EngineState:
        """Say that all that storage holds has been compared, for all nodes, until the rows are
        begun anew.
        """

    async def note_rights(self) -> EngineState:
        """Let all nodes know that people or rights changed: those themselves are not here."""

    async def clear(self) -> EngineState:
        """Begin anew: no rows, not complete, another epoch. Serials go on; links
        and leases stay.
        """

    async def tidy(self, tombstones: int = 10_000) -> None:
        """Forget links and leases that ended, and rows that were taken out, but for the last so
        many of them.

        Who had not heard of one of those by now gets `Anew`.
        """

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take, or keep, the lease for that long by the engine's clock; whether it is this holder's
        now.
        """

    async def release(self, name: str, holder: str) -> None:
        """Give the lease back, where it is this holder's."""

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        """The signed URL that is kept under `key` (which tells of the signer, too), if it ends
        after `good_after`.
        """

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        """The URL that all nodes give from now on: this one, or one that is kept already and ends
        after `good_after`.
        """

    def follow(self, heard: Callable[[Beat], None]) -> Feed:
        """Tell of the state, in the reactor's thread: soon after each change, by whichever node,
        and each `HEARTBEAT` at least.

        While the engine cannot be asked, nothing is heard; the feed finds back to it by itself.
        """

    async def close(self) -> None:
        """Let go of it; feeds are stopped before. May be called again; what is asked later opens it
        again.
        """


async def slices(
    engine: Engine, since: Position, most: int = MOST_ROWS
) -> AsyncGenerator[Slice, None]:
    """What changed after `since`, slice by slice, up to now. Close it by hand; raises as
    `Engine.changes`.
    """
    while True:
        found = await engine.changes(since, most)
        yield found
        if not found.more:
            return
        since = found.position
