"""A node whose shared catalog cannot be asked: what it still shows, what it does not, and how it
finds back.
"""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import NoSuchFile, NotYetKnown
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName, project_name
from pypid.index import Index
from pypid.index.views import DIRECT
from tests.index.nodes import NodesCase
from tests.index.uploads import sent

ONE = sent(b"one")
EGGS, HAM = project_name("eggs"), project_name("ham")
EGGS_FILE = "eggs-1.0.tar.gz"


class AwayCase(NodesCase):
    """`here` and `there` have compared; `here` has heard of eggs. Then `away` cuts `here` off."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.here.maintenance.reconcile())
        self.publish(self.here, ONE)
        self.have(self.here.project(EGGS))
        self.go(1)
        self.assertEqual(self.told(), [EGGS])

    def away(self) -> None:
        """From now on only `there` can ask the engine."""
        self.cut_off(self.here)
        self.assertTrue(self.have(self.here.catalog.is_away()))

    def back(self) -> None:
        """As before; the job that settles has run."""
        self.cut_off(self.here, off=False)
        self.assertEqual(self.have(self.here.maintenance.flush_pending_updates()), 0)

    def told(self) -> list[str]:
        """The names that upstream heard."""
        return self.upstream.names_told


class OursTests(AwayCase):
    """Pages and files of ours."""

    def test_published_elsewhere(self) -> None:
        """A project that another node publishes meanwhile is found in the storage; upstream hears
        nothing of it.
        """
        self.away()
        self.publish(self.there, sent(b"ham", "ham-1.0.tar.gz"))
        self.assertEqual(list(self.seen(self.here, HAM)), ["ham-1.0.tar.gz"])
        self.assertEqual(self.data(self.here, self.file(self.here, "ham-1.0.tar.gz", HAM)), b"ham")
        self.have(self.there.manager.yank(HAM, ["ham-1.0.tar.gz"], "why"))
        self.assertEqual(
            self.file(self.here, "ham-1.0.tar.gz", HAM).yanked, "why"
        )  # no older page for a new one
        self.back()
        self.assertEqual(self.file(self.here, "ham-1.0.tar.gz", HAM).yanked, "why")
        self.assertEqual(self.told(), [EGGS])

    def listed(self, names: object) -> list[ProjectName]:
        """The names of a list."""
        found: Sequence[Summary] = self.have(names)  # type: ignore[arg-type]
        return [summary.name for summary in found]


class TheirsTests(AwayCase):
    """Pages and files of another index."""

    def kept(self, node: Index) -> list[str]:
        """The files of eggs that the catalog there knows to be kept."""
        return [file.filename for file in self.have(node.catalog.upstream.get(EGGS)).kept]

    def test_new_names(self) -> None:
        """A name that upstream was never told is not told now; nor is it said not to be there."""
        self.away()
        error = self.refused(self.here.view(HAM), NotYetKnown)
        assert isinstance(error, NotYetKnown)
        self.assertGreater(error.retry_after, 0)
        self.refused(self.here.file(HAM, "ham-1.0.tar.gz"), NotYetKnown)
        self.refused(self.here.gate.project(HAM, None, ()), NotYetKnown)
        self.assertEqual(self.told(), [EGGS])
        self.assertEqual(self.here.maintenance.pending_updates, 0)
        self.back()
        self.have(self.here.view(HAM))
        self.assertEqual(self.told(), [EGGS, HAM])

    def test_became_ours(self) -> None:
        """A name that another node makes ours meanwhile shows nothing of theirs, and none of its
        files is fetched.
        """
        file = self.file(self.here, EGGS_FILE, EGGS)
        self.away()
        ours = sent(b"ours", "eggs-2.0.tar.gz")
        self.publish(self.there, ours)
        self.assertEqual(
            self.seen(self.here, EGGS), {"eggs-2.0.tar.gz": ours.upload.digests.sha256}
        )
        self.refused(self.here.open(file, None, DIRECT), NoSuchFile)
        self.assertEqual(self.upstream.fetched, [])
