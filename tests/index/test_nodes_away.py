"""A node whose shared catalog cannot be asked: what it still shows, what it does not, and how it
finds back.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.errors import NoSuchFile, NoSuchProject, NotYetKnown
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName, project_name
from pypid.index import Index
from pypid.index.upstream.cache_store import MOST_LOOKED
from pypid.index.views import DIRECT
from tests.index.nodes import THEIR_DATA, NodesCase
from tests.index.uploads import SPAM, WHEEL, sent

ONE = sent(b"one")
EGGS, HAM = project_name("eggs"), project_name("ham")
EGGS_FILE = "eggs-1.0.tar.gz"


class AwayCase(NodesCase):
    """`here` and `there` have compared; `here` has heard of eggs. Then `away` cuts `here` off."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.here.reconcile())
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

    def pass_ttl(self) -> None:
        """What upstream said is fresh no longer (and the catalog was asked meanwhile)."""
        self.clock.advance(self.here.ttl.total_seconds())
        self.go(1)


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
        self.have(self.there.yank(HAM, ["ham-1.0.tar.gz"], "why"))
        self.assertEqual(
            self.file(self.here, "ham-1.0.tar.gz", HAM).yanked, "why"
        )  # no older page for a new one
        self.back()
        self.assertEqual(self.file(self.here, "ham-1.0.tar.gz", HAM).yanked, "why")
        self.assertEqual(self.told(), [EGGS])

    def test_deleted_elsewhere(self) -> None:
        """Who comes for a file that another node has deleted hears that it is gone."""
        self.away()
        file = self.file(self.here)
        self.have(self.there.delete(SPAM, [WHEEL], "carol"))
        self.refused(self.here.open(file), NoSuchFile)
        self.assertEqual(self.seen(self.here), {})  # it has looked now
        self.back()
        self.assertEqual(self.seen(self.here), {})

    def listed(self, names: object) -> list[ProjectName]:
        """The names of a list."""
        found: Sequence[Summary] = self.have(names)  # type: ignore[arg-type]
        return [summary.name for summary in found]


class TheirsTests(AwayCase):
    """Pages and files of another index."""

    def test_files(self) -> None:
        """Its files are fetched, which tells nobody a new name; what was kept meanwhile is listed
        later.
        """
        self.away()
        file = self.file(self.here, EGGS_FILE, EGGS)
        self.assertEqual(self.data(self.here, file), THEIR_DATA)
        self.assertEqual(self.data(self.here, file), THEIR_DATA)
        self.assertEqual(len(self.upstream.fetched), 1)
        self.assertEqual(self.here.maintenance.pending_updates, 1)
        self.assertEqual(self.kept(self.there), [])
        self.back()
        self.go(1)
        self.assertEqual(self.kept(self.there), [EGGS_FILE])

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

    def test_what_it_has_not(self) -> None:
        """That upstream does not have a project is said for as long as that is fresh, and not a
        moment longer.
        """
        self.upstream.has_not.add(HAM)
        self.refused(self.here.view(HAM), NoSuchProject)
        self.away()
        self.refused(self.here.view(HAM), NoSuchProject)
        self.cut_off(self.here, off=False)
        self.pass_ttl()
        self.away()
        self.refused(self.here.view(HAM), NotYetKnown)
        self.assertEqual(self.told(), [EGGS, HAM])

    def test_goes_away_while_asking(self) -> None:
        """Where the catalog goes away between question and answer, what was known is shown, and
        else nothing is claimed.
        """
        engine = self.catalog(self.here).following.engine
        project = self.upstream.project

        async def cutting(*args: object) -> object:
            engine.is_down = True  # type: ignore[attr-defined]
            return await project(*args)  # type: ignore[arg-type]

        before = self.have(self.here.view(EGGS))
        self.pass_ttl()
        self.upstream.project = cutting  # type: ignore[method-assign,assignment]
        self.assertEqual(self.have(self.here.view(EGGS)).project, before.project)
        self.cut_off(self.here, off=False)
        self.refused(self.here.view(HAM), NotYetKnown)

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

    def test_touched(self) -> None:
        """Which files were used is remembered until it can be written down."""
        file = self.file(self.here, EGGS_FILE, EGGS)
        self.data(self.here, file)
        self.away()
        self.have(self.here.file_cache.last_access.write_down(self.here.catalog))
        self.back()
        self.have(self.here.file_cache.last_access.write_down(self.here.catalog))
        self.go(1)
        self.assertEqual(
            [name for name, _ in self.have(self.there.catalog.upstream.get(EGGS)).touched],
            [EGGS_FILE],
        )


class NewNodeTests(NodesCase):
    """A node that starts, and what it knows of files that are kept."""

    def test_kept(self) -> None:
        """What another node compared it takes for compared: it looks into the storage for no
        project of theirs.
        """
        self.data(self.here, self.file(self.here, EGGS_FILE, EGGS))
        self.have(self.here.reconcile())
        node = self.node()
        self.have(node.file_cache.kept.entry(HAM))
        self.assertEqual(len(node.file_cache.kept.records._verified), 0)
        self.assertEqual(len(self.have(node.file_cache.kept.entry(EGGS)).kept), 1)

    def test_begun_anew(self) -> None:
        """In a catalog that was begun anew files that are kept are found at once, each project's
        when it is asked for.
        """
        self.data(self.here, self.file(self.here, EGGS_FILE, EGGS))
        self.have(self.here.reconcile())
        self.go(1)
        self.place.lose()
        self.go(3)
        for node in (self.there, self.here):
            self.assertEqual(len(self.have(node.file_cache.kept.entry(EGGS)).kept), 1)

    def test_made_up_names(self) -> None:
        """Any number of names that upstream has not leaves few rows in the engine, few tombstones
        once it is tidied, and little in a node; that two nodes are asked at once makes no more of
        them.
        """
        nodes = [self.node(forgettable=20_000), self.node(forgettable=20_000)]
        names = [project_name(f"made-up-{number}") for number in range(300)]
        self.upstream.has_not.update(names)
        swaps = self.place.state.version
        for number, name in enumerate(names):
            self.refused(nodes[number % 2].view(name), NoSuchProject)
            if number % 10 == 0:
                self.clock.advance(0.3)
        self.assertLess(len([row for row in self.place.rows.values() if row.line is not None]), 40)
        self.assertLess(self.place.state.version - swaps, 2 * len(names) + 1)
        for node in nodes:
            self.assertLessEqual(len(node.file_cache.kept.records._verified), MOST_LOOKED)
            self.assertEqual(node.maintenance.pending_updates, 0)
        self.have(self.catalog(nodes[0]).following.engine.tidy(50))
        self.assertLess(len(self.place.rows), 100)
        self.go(1)
        self.have(nodes[1].view(EGGS))
