"""Changes that wait for each other are one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.database.catalog import MOST_BYTES, MOST_CHANGES, ChangeBatches, Made
from pypid.database.engine import CatalogRow, Conflict, RowChange
from pypid.database.places import DatabaseAway, DatabaseFull
from pypid.flow import start
from tests.support.models import to_be


def change(number: int, size: int = 1) -> RowChange:
    """Of a project of this number."""
    return to_be(b"x" * size, name=project_name(f"p{number}"))


def row(of: RowChange) -> CatalogRow:
    """What came of it."""
    return CatalogRow(of.kind, of.name, 1, 1, of.head, of.size)


class GroupingTests(SynchronousTestCase):
    """With transactions that a test ends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[tuple[str, list[RowChange]]] = []
        self.ends: list[Deferred[None]] = []
        self.grouping = ChangeBatches(self.make, self.clock, 6.0)

    async def make(self, epoch: str, changes: Sequence[RowChange]) -> list[Made]:
        self.begun.append((epoch, list(changes)))
        self.ends.append(Deferred())
        await self.ends[-1]
        return [row(each) for each in changes]

    def swap(self, number: int, size: int = 1, epoch: str = "e") -> Deferred[CatalogRow | Conflict]:
        return start(self.grouping.swap(epoch, change(number, size)))

    def sizes(self) -> list[int]:
        """How many changes each transaction had."""
        return [len(changes) for _, changes in self.begun]

    def end(self) -> None:
        """End the transaction under way."""
        self.ends.pop(0).callback(None)

    def test_together(self) -> None:
        """What came while a transaction was under way is the next one, in its order, and each is
        told its own.
        """
        made = [self.swap(number) for number in range(5)]
        self.end()
        self.assertEqual(self.sizes(), [1, 4])
        self.assertEqual([each.name for each in self.begun[1][1]], ["p1", "p2", "p3", "p4"])
        self.end()
        for number, each in enumerate(made):
            self.assertEqual(self.successResultOf(each), row(change(number)))
        self.swap(9)
        self.assertEqual(self.sizes(), [1, 4, 1])

    def test_bounds(self) -> None:
        """No transaction has too many changes, too many bytes, or those of two epochs."""
        self.swap(0)
        for number in range(1, MOST_CHANGES + 2):
            self.swap(number)
        self.swap(200, MOST_BYTES - 1)
        self.swap(201, MOST_BYTES * 2)
        self.swap(202, 2)
        self.swap(203, epoch="f")
        while self.ends:
            self.end()
        self.assertEqual(self.sizes(), [1, MOST_CHANGES, 2, 1, 1, 1])
        self.assertEqual(self.begun[-1][0], "f")

    def test_no_room(self) -> None:
        """Where there is no room for all there may be for each: they are made one by one."""
        first, second, third = (self.swap(number) for number in range(3))
        self.end()
        self.ends.pop(0).errback(DatabaseFull("the disk is full"))
        self.ends.pop(0).errback(DatabaseFull("the disk is full"))
        self.end()
        self.successResultOf(first)
        self.failureResultOf(second, DatabaseFull)
        self.assertEqual(self.successResultOf(third), row(change(2)))
        self.assertEqual(self.sizes(), [1, 2, 1, 1])

    def test_in_vain(self) -> None:
        """Whoever waits too long for a turn is told so, and the change is not made later."""
        first = self.swap(0)
        second = self.swap(1)
        self.clock.advance(6)
        self.failureResultOf(second, DatabaseAway)
        self.assertNoResult(first)
        self.end()
        self.assertEqual(self.sizes(), [1])
