"""Several nodes with one storage and one shared catalog: publishing, changing and comparing, also
while that is away.
"""

from __future__ import annotations

from pypid.core.errors import AlreadyExists, CatalogDown
from pypid.core.model import Presence, Project
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.publish import PublishOutcome
from tests.index.faulty_blobs import Died, Gated, Storm
from tests.index.nodes import NodesCase
from tests.index.uploads import SPAM, WHEEL, publishing, sent

SDIST = "spam-1.0.tar.gz"
ONE, OTHER = sent(b"one"), sent(b"other")


class AwayTests(NodesCase):
    """The catalog goes away in the middle of a change, or was away before."""

    def test_publish_before(self) -> None:
        """Nothing of a new file is stored, and the client is told to try again; who sends what
        exists is answered by it.
        """
        self.publish(self.here, ONE)
        self.go(1)
        self.cut_off(self.here)
        before = self.keys()
        error = self.refused(publishing(self.here, sent(b"new", SDIST)), CatalogDown)
        assert isinstance(error, CatalogDown)
        self.assertGreater(error.retry_after, 0)
        self.assertEqual(self.keys(), before)
        self.refused(publishing(self.here, OTHER), AlreadyExists)
        self.assertEqual(self.publish(self.here, ONE), PublishOutcome.UNCHANGED)
        self.refused(publishing(self.here, OTHER, overwrite=True), CatalogDown)
        self.assertEqual(self.keys(), before)
        self.have(self.store.delete(f"spam/{WHEEL}"))  # lost: not to be called unchanged
        self.refused(publishing(self.here, ONE), CatalogDown)

    def settled(self, node: Index, gate: Gated) -> None:
        """Its catalog is that of a node that has just compared everything; a node that compared
        nothing has the same.
        """
        settling = start(node.maintenance.flush_pending_updates())
        gate.all()
        self.assertEqual(self.successResultOf(settling), 0)
        held = self.row()
        self.have(self.here.maintenance.reconcile())
        self.assertEqual(_bare(held), _bare(self.row()))

    def died(self) -> None:
        """A node has died between the record and the catalog, which was complete."""
        self.have(self.here.maintenance.reconcile())
        self.go(1)
        for step in range(1, 20):
            dying = start(
                publishing(self.node(Storm(self.store, step, Died, late=True, for_good=True)), ONE)
            )
            self.failureResultOf(dying, Died)
            if self.has_record():
                break
            for key in self.keys():
                self.have(self.store.delete(key))
        self.assertTrue(self.have(self.here.catalog.is_complete()))
        self.assertIs(self.have(self.here.catalog.local.get(SPAM)), Presence.ABSENT)

    def test_dies(self) -> None:
        """A node that dies between a record and the catalog: the name is told to nobody, and the
        file appears when it is asked for.
        """
        self.died()
        for node in (self.here, self.there):
            self.assertEqual(self.seen(node), {WHEEL: ONE.upload.digests.sha256})
            self.assertEqual(self.data(node, self.file(node)), b"one")
        self.assertEqual(self.upstream.names_told, [])

    def test_dies_and_is_compared(self) -> None:
        """Where nobody asks for it a comparison lists it, and who sends it once more hears that it
        is there.
        """
        self.died()
        self.have(self.there.maintenance.reconcile())
        self.go(1)
        self.assertIsInstance(self.have(self.here.catalog.local.get(SPAM)), Project)
        self.assertEqual(self.publish(self.here, ONE), PublishOutcome.UNCHANGED)
        self.refused(publishing(self.here, OTHER), AlreadyExists)
        self.assertEqual(self.upstream.names_told, [])


def _bare(project: Project | Presence) -> object:
    """What of it does not depend on when it was read; a name that is not known is not there."""
    if not isinstance(project, Project):
        return None
    return project.name, project.files, project.status, project.status_reason
