"""Marks that a change takes away, and that one listing gives back."""

from __future__ import annotations

from pypid.core.records.documents import Yanked, dump
from pypid.core.records.layout import ObjectKind, key
from pypid.index import Index
from pypid.index.store.marks import mark_changed
from tests.index.faulty_blobs import Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, index_over, sent, signed

OTHER = "spam-2.0-py3-none-any.whl"


class MarkingTests(IndexCase):
    def setUp(self) -> None:
        super().setUp()
        self.watched = Watched(self.store)
        self.index = index_over(self.watched, self.clock, is_sole=lambda: True)
        self.have(self.index.reconcile())
        self.publish(signed())
        self.publish(sent(b"two", OTHER))
        self.publish(sent(b"three", "spam-3.0.tar.gz"))
        self.have(self.index.yank(SPAM, [OTHER], "why"))
        self.have(self.index.delete(SPAM, ["spam-3.0.tar.gz"], "alice"))
        self.watched.asked.clear()

    def marked(self, index: Index | None = None) -> int:
        return self.have(mark_changed((index or self.index).context))

    def test_changed_projects_are_not_read_again_after_they_were_marked(self) -> None:
        """A project that was published to, yanked and deleted from is marked by one listing, and
        not read when compared.
        """
        self.assertEqual(self.have(self.index.catalog.local.mark(SPAM)), None)
        self.assertEqual(self.marked(), 1)
        self.assertEqual([what for what in self.watched.asked if not what.startswith("list")], [])
        self.assertEqual(self.marked(), 0)
        self.watched.asked.clear()
        found = self.have(self.index.reconcile())
        self.assertEqual((found.read, found.changed), (0, 0))
        self.assertEqual([what for what in self.watched.asked if what.startswith("read spam")], [])

    def test_project_that_differs_from_its_folder_is_not_marked(self) -> None:
        """Where something came, went or has another size, only reading it tells what is so."""
        where = key(SPAM, WHEEL)
        for change in ("other size", "gone", "yank of another", "stray"):
            self.setUp()
            if change == "other size":
                self.put(where, b"longer than before")
            elif change == "gone":
                self.have(self.store.delete(key(SPAM, WHEEL, ObjectKind.RECORD)))
            elif change == "yank of another":
                self.put(key(SPAM, WHEEL, ObjectKind.YANKED), dump(Yanked("by hand")))
            else:
                self.put(key(SPAM, "spam-4.0.tar.gz"), b"stray")
            self.assertEqual(self.marked(), 0, change)

    def test_nothing_is_marked_without_the_lease(self) -> None:
        """Another process may have written what the catalog does not know."""
        index = index_over(self.store, self.clock, is_sole=lambda: False)
        self.have(index.context.resync(SPAM))
        self.have(index.yank(SPAM, [WHEEL], "why"))
        self.assertEqual(self.marked(index), 0)
