"""A node's copy of the rows of an engine."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.engine import CatalogRow, RowKind
from pypid.catalog.replica import Replica
from pypid.core.records.documents import dump_project
from pypid.flow import at_once
from pypid.testing.catalog import SPAM, a_project
from pypid.testing.worlds import Awaiting


def a_row(version: int, *files: str, out: bool = False) -> CatalogRow:
    """Of one project, with these versions of it."""
    return CatalogRow(
        RowKind.LOCAL,
        SPAM,
        version,
        version,
        None if out else dump_project(a_project(SPAM, *files)),
    )


class ReplicaTests(Awaiting, SynchronousTestCase):
    """Rows come in the order of their versions, but for those that we wrote ourselves."""

    def setUp(self) -> None:
        super().setUp()
        self.replica = Replica("epoch", at_once)
        self.have(self.replica.fill([a_row(1, "1")], 1, 1))

    def test_late(self) -> None:
        """A row that is older than what is held changes nothing, also where it was
        taken out since.
        """
        self.assertTrue(self.replica.take_own(a_row(2, "1", "2"), None))
        changes = self.replica.changes
        self.replica.take(a_row(1, "1"))
        self.assertEqual(len(self.have(self.replica.local.value(SPAM)).files), 2)  # type: ignore[union-attr]
        self.assertTrue(self.replica.take_own(a_row(3, out=True), None))
        self.replica.take(a_row(2, "1", "2"))
        self.assertIsNone(self.have(self.replica.local.value(SPAM)))
        self.assertEqual(self.replica.changes, changes + 2)

    def test_not_the_next(self) -> None:
        """A row of our own is not held as long as one before it is unknown."""
        self.assertFalse(self.replica.take_own(a_row(3, "1", "2"), None))
        self.assertEqual((self.replica.version, self.replica.serial), (1, 1))
        self.assertEqual(len(self.have(self.replica.local.value(SPAM)).files), 1)  # type: ignore[union-attr]

    def test_filled_with_changes(self) -> None:
        """Of rows that changed while all were read the last counts, and one that was taken out is
        not there.
        """
        for rows, files in (
            ([a_row(1, "1"), a_row(4, "1", "2")], 2),
            ([a_row(1, "1"), a_row(5, out=True)], None),
        ):
            replica = Replica("epoch", at_once)
            self.have(replica.fill(rows, rows[-1].version, rows[-1].serial))
            held = self.have(replica.local.held(SPAM))
            self.assertEqual(None if held.value is None else len(held.value.files), files)
            self.assertEqual(held.version, 0 if files is None else 4)
            self.assertEqual(len(replica.local.table.lines.summaries()), 0 if files is None else 1)
