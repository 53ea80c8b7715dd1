"""What is known of a name, and what is not known yet."""

from __future__ import annotations

from pypid.core.errors import NoSuchProject, StorageDown
from pypid.core.model import Presence
from pypid.core.packaging.names import project_name
from pypid.flow import BytesBody, start
from pypid.index import Index
from tests.index.faulty_blobs import Gated, Storm, Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, index_over, sent


class KnownTests(IndexCase):
    """Unknown is not absent."""

    def test_looked_for(self) -> None:
        """Before a comparison a name that the catalog does not hold is looked for in the storage,
        once however many ask.
        """
        self.publish(sent())
        gated = Gated(self.store)
        index = self.restarted(gated)
        asking = [start(index.project(SPAM)) for _ in range(50)]
        gated.all()
        self.assertEqual({len(self.successResultOf(each).files) for each in asking}, {1})
        self.assertEqual(
            [asked for asked in gated.asked if asked.startswith("list")], ["list spam/"]
        )
        nothing = [start(index.project(project_name("eggs"))) for _ in range(50)]
        gated.all()
        for each in nothing:
            self.failureResultOf(each, NoSuchProject)
        self.assertEqual(gated.asked[-2:], ["list eggs/", "list .kept/eggs/"])

    def test_storage_away(self) -> None:
        """While the storage is away no name is called absent; only what was compared with it is
        shown.
        """
        self.publish(sent())
        for late in (False, True):
            away = Storm(self.store, 1, lambda: StorageDown("away."), late=late, for_good=True)
            index = Index(
                away, self.index.catalog, self.index.upstream, self.index.policy, self.index.world
            )
            self.refused(index.project(project_name("eggs")), StorageDown)
            self.refused(index.file(project_name("eggs"), "eggs-1.0.tar.gz"), StorageDown)
            self.refused(index_over(away).context.local_project(SPAM), StorageDown)
            self.refused(index.project(SPAM), StorageDown)
        self.have(self.index.reconcile())
        away = Storm(self.store, 1, lambda: StorageDown("away."), for_good=True)
        index = Index(
            away, self.index.catalog, self.index.upstream, self.index.policy, self.index.world
        )
        self.assertEqual(len(self.have(index.project(SPAM)).files), 1)

    def test_complete(self) -> None:
        """After a comparison the storage is not asked for names any more."""
        watched = Watched(self.store)
        index = self.restarted(watched)
        self.assertIs(self.have(index.catalog.local.get(SPAM)), Presence.UNKNOWN)
        self.have(index.reconcile())
        before = len(watched.asked)
        self.refused(index.project(SPAM), NoSuchProject)
        self.assertEqual(len(watched.asked), before)

    def test_asker_goes_away(self) -> None:
        """One who asks and goes away takes the answer from nobody else."""
        self.publish(sent())
        gated = Gated(self.store)
        index = self.restarted(gated)
        one, other = start(index.project(SPAM)), start(index.project(SPAM))
        one.addErrback(lambda failure: None)
        one.cancel()
        gated.all()
        self.assertEqual(len(self.successResultOf(other).files), 1)
        self.at_rest(index)

    def test_old_snapshot(self) -> None:
        """A catalog that remembers too much or too little is brought up to what
        the storage holds.
        """
        self.publish(sent())
        self.have(self.index.reconcile())
        other = self.restarted()
        self.have(other.delete_project(SPAM, "carol"))
        self.have(other.release_name(SPAM))
        self.publish(sent(b"eggs", "eggs-1.0.tar.gz"), index=other)
        self.assertEqual(self.files(self.compared()), {"eggs-1.0.tar.gz": b"eggs"})

    def test_stale_page_of_a_lost_file(self) -> None:
        """Bytes that are gone are an error of the storage's, and the page does not
        name them again.
        """
        self.publish(sent())
        file = self.have(self.index.file(SPAM, WHEEL))
        self.have(self.store.delete(f"spam/{WHEEL}"))
        self.refused(self.index.open(file), StorageDown)
        self.assertEqual(self.have(self.index.project(SPAM)).files, ())
        self.have(self.store.write(f"spam/{WHEEL}", BytesBody(b"spam")))
        self.assertEqual(self.files(self.compared()), {WHEEL: b"spam"})
