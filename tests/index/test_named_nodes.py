"""Named indexes of several nodes: what one publishes is private to all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.store import Store
from pypid.core.errors import Busy, NameTaken, NoSuchIndex, NoSuchProject, NotYetKnown
from pypid.core.indexes import IndexSettings, settings_of_values, values_of
from pypid.core.model import Presence
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import ObjectKind
from pypid.database.engine import CatalogRow, RowKind
from pypid.flow import start
from pypid.index.local.publish import PublishOutcome
from pypid.index.named_indexes import Indexes, marked
from pypid.ports import Blobs
from tests.index.faulty_blobs import Gated, Watched
from tests.index.named import NamedCase, Only, set_index
from tests.index.uploads import publishing, sent
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared

SPAM = project_name("spam")
WHEEL = "spam-1.0-py3-none-any.whl"


class Interrupted(Watched):
    """A store where something happens once, before the last of these operations ends."""

    def __init__(self, blobs: Blobs, happens: Callable[[], object], *operations: str) -> None:
        super().__init__(blobs)
        self._left = [*operations]
        self._happens = happens

    async def _after(self, what: str) -> None:
        if self._left and what == self._left[0]:
            self._left.pop(0)
            if not self._left:
                self._happens()


class NodesCase(NamedCase, SynchronousTestCase):
    """Each test with the nodes `here` and `there`, which share storage and catalog."""

    only: ClassVar[Only] = {"cu128": ("torch", "spam")}

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.here, self.there = self.node(), self.node()
        self.create("team", self.here)
        self.look(self.there)

    def node(self, *, compared: bool = True) -> Indexes:
        """Return the indexes of a node that starts now."""
        settings = SharedSettings("storage", timedelta(seconds=60))
        engine = PlacedEngine(self.clock, self.place)
        catalog = self.have(open_shared(settings, engine, self.world))
        self.addCleanup(lambda: self.have(catalog.close()))
        return self.started(catalog=catalog, compared=compared)

    def go(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    def look(self, node: Indexes) -> None:
        """Have the node look for decisions of others."""
        assert node.decisions is not None
        self.have(node.decisions.look())


class NodesTests(NodesCase):
    """What one node publishes, changes and deletes."""

    def test_what_one_node_publishes_is_private_on_the_other_at_once(self) -> None:
        """In the default index, and in an index that has the upstream alone as a base."""
        self.create("open", self.there, bases="public")
        self.publish(self.index("team", self.here), WHEEL)
        for index in ("", "open"):
            self.refused(self.index(index, self.there).project(SPAM), NoSuchProject)
        self.go(1.5)
        self.assertEqual(list(self.files(self.index("team", self.there), "spam")), [WHEEL])
        self.assertEqual(self.told(), [])

    def test_a_node_that_has_not_compared_anything_knows_private_names(self) -> None:
        """By the markers in the storage: unknown is not absent."""
        self.publish(self.index("team", self.here), WHEEL)
        new = self.node(compared=False)
        self.refused(self.index("", new).project(SPAM), NoSuchProject)
        self.assertEqual(list(self.files(self.index("team", new), "spam")), [WHEEL])
        self.assertEqual(self.told(), [])

    def test_a_marker_alone_proves_that_a_name_is_private(self) -> None:
        """A node died after it wrote the marker, or its catalog could not be told: the name is
        proven by the storage before it goes upstream.
        """
        there = self.index("", self.there)
        self.assertIs(self.have(there.context.local_project(SPAM)), Presence.ABSENT)
        self.have(self.here.names.mark(SPAM, "team"))
        self.assertIs(self.have(there.context.ours_now(SPAM)), Presence.ELSEWHERE)
        self.refused(there.project(SPAM), NoSuchProject)
        self.assertEqual(self.told(), [])

    def stored(self, node: Indexes, index: str = "") -> list[str]:
        """Return the names in the list of the index, as this node has it."""
        return [each.name for each in self.have(self.index(index, node).stored_names())]

    def test_a_name_stays_private_until_its_index_was_removed(self) -> None:
        """The node that deletes the index dies between the settings and the files."""
        self.publish(self.index("team", self.here), WHEEL)
        self.go(1.5)
        self.have(self.store.delete(".pypid/indexes/team.json"))
        self.have(self.here.decisions.refresh())
        self.refused(self.index("", self.here).project(SPAM), NoSuchProject)
        self.assertEqual(self.have(self.here.names.names()), {SPAM})
        self.have(self.there.decisions.refresh())
        self.have(self.there.delete("team", force=True))
        self.go(1.5)
        self.have(self.index("", self.here).project(SPAM))
        self.assertEqual(self.told(), ["spam"])

    def test_changes_of_two_nodes_are_both_in_force(self) -> None:
        """The second node has not looked since the first change; or a change comes while it
        writes.
        """
        self.have(set_index(self.here, settings_of_values("team", {"read": "alice"})))
        self.change(self.there, cooldown="3d")
        self.look(self.here)
        expected = {"read": "alice", "cooldown": "3d"}
        for node in (self.here, self.there):
            self.assertEqual(values_of(node.settings["team"]), expected)

        def interfere() -> None:
            self.change(self.here, deny="acme-*")

        self.store = Interrupted(self.store, interfere, "write .pypid/indexes/team.json")
        self.change(self.node(), write="bob")
        for node in (self.here, self.there):
            self.look(node)
            found = values_of(node.settings["team"])
            self.assertEqual(found, {**expected, "deny": "acme-*", "write": "bob"})

    def change(self, node: Indexes, **values: str) -> None:
        """Change these values of the index, as the API does."""

        def edit(settings: IndexSettings) -> IndexSettings:
            return settings_of_values("team", {**values_of(settings), **values})

        self.have(node.change("team", edit))

    def test_index_that_is_created_again_keeps_its_private_names(self) -> None:
        """Another node creates it, and publishes, while this one still removes names."""
        self.have(self.here.names.mark(project_name("gone"), "team"))
        self.have(self.here.names.mark(SPAM, "team"))

        def interfere() -> None:
            for name in ("gone", "spam"):
                self.have(self.store.delete(f".pypid/index-names/{name}/team"))
            self.create("team", self.there)
            self.publish(self.index("team", self.there), WHEEL)

        steps = "delete .pypid/indexes/team.json", "list .pypid/index-names/"
        node = self.node_over(Interrupted(self.store, interfere, *steps))
        self.have(node.delete("team", force=True))
        self.assertTrue(self.keys(".pypid/index-names/spam/team"))

    def test_creation_on_two_nodes_removes_no_owners(self) -> None:
        """The slower one is refused before it removes what a former index has left."""
        removed: list[str] = []

        async def cleaner(name: str) -> None:
            removed.append(name)

        def interfere() -> None:
            self.create("new", self.there)

        node = self.node_over(Interrupted(self.store, interfere, "list .pypid/index/new/"))
        node.clean = cleaner
        self.refused(node.create(settings_of_values("new", {})), NameTaken)
        self.assertEqual(removed, [])

    def node_over(self, store: Blobs) -> Indexes:
        """Return the indexes of a node over this store."""
        before, self.store = self.store, store
        try:
            return self.node()
        finally:
            self.store = before

    def test_a_base_that_another_node_has_deleted_is_not_skipped(self) -> None:
        """Its projects would come from another layer."""
        self.create("base", self.here)
        self.create("user", self.here, bases="base default")
        self.have(self.store.delete(".pypid/indexes/base.json"))
        self.have(self.here.decisions.refresh())
        error = self.refused(self.index("user", self.here).project(SPAM), NotYetKnown)
        self.assertIn("the index 'user' needs 'base', which does not exist", str(error))
        self.assertEqual(self.told(), [])

    def test_without_the_catalog_nothing_new_goes_upstream(self) -> None:
        """A node that is cut off serves what it knows, and asks for no new name."""
        self.publish(self.index("team", self.here), WHEEL)
        self.files(self.index("", self.there), "numpy")
        engine = self.index("", self.there).catalog.following.engine  # type: ignore[attr-defined]
        engine.is_down = True
        self.go(1.5)
        there = self.index("", self.there)
        self.refused(there.project(SPAM), NoSuchProject)
        self.refused(there.project(project_name("eggs")), NotYetKnown)
        self.assertEqual(list(self.files(there, "numpy")), ["numpy-1.0.tar.gz"])
        self.assertEqual(self.told(), ["numpy"])


class DeletionTests(NodesCase):
    """A node deletes the index with all its files while another one, which does not know that yet,
    publishes a file to it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.publish(self.index("team", self.here), "spam-0.9.tar.gz")
        self.go(1.5)
        self.gated = Gated(self.store)

    def uploading(self, *, overwrite: bool = False) -> Deferred[PublishOutcome]:
        """Begin an upload through a third node, each step of which waits."""
        index = self.index("team", self.there)
        index = evolve(index, context=evolve(index.context, blobs=self.marked(self.gated)))
        what = sent(b"other", "spam-0.9.tar.gz" if overwrite else WHEEL)
        return start(publishing(index, what, overwrite=overwrite))

    def marked(self, blobs: Blobs) -> Store:
        """Return the part of the storage of the index team."""
        part = Store(blobs, ".pypid/index/team/")
        return marked(part, self.there.names, "team")

    def left(self) -> list[str]:
        """Return what the storage and the catalog have of the index, except for the history of an
        overwritten file, which makes no name local.
        """
        self.go(1.5)
        self.have(self.there.decisions.look())
        keys = [key for key in self.keys() if not key.endswith(ObjectKind.HISTORY.value)]
        found = [key for key in keys if "/index/team/" in key or key.endswith("/team")]
        return found + [each.name for each in self.rows()]

    def rows(self) -> list[CatalogRow]:
        """Return the rows of local projects of all indexes."""
        rows = self.place.rows.items()
        return [row for (kind, _), row in rows if kind is RowKind.LOCAL and row.head]

    def ended(self, upload: Deferred[PublishOutcome]) -> list[Failure]:
        """Let the upload run to its end; return its failure, if it fails."""
        failures: list[Failure] = []
        upload.addErrback(failures.append)
        while not upload.called or upload.paused:
            self.gated.all()
            self.clock.advance(0.1)
        return failures

    def test_nothing_is_left_after_a_deletion_at_any_step_of_an_upload(self) -> None:
        """The upload fails, or the deletion removes its file."""
        for overwrite in (False, True):
            outcomes = set[str]()
            for steps in range(100):
                self.setUp()
                upload = self.uploading(overwrite=overwrite)
                for _ in range(steps):
                    if self.gated.waiting:
                        self.gated.go()
                is_over = not self.gated.waiting
                self.have(self.here.delete("team", force=True))
                failures = self.ended(upload)
                for failure in failures:
                    failure.trap(NoSuchIndex, Busy)
                outcomes.add("refused" if failures else "published")
                self.assertEqual(self.left(), [], (overwrite, steps))
                self.have(self.index("", self.there).project(SPAM))
                if is_over:
                    break
            self.assertEqual(outcomes, {"refused", "published"})

    def test_a_name_stays_private_while_the_deletion_has_left_files(self) -> None:
        """The node that deletes the index dies before it removes the files. An upload that fails
        then leaves the name as it was.
        """
        outcomes = set[str]()
        for steps in range(100):
            self.setUp()
            upload = self.uploading()
            for _ in range(steps):
                if self.gated.waiting:
                    self.gated.go()
            is_over = not self.gated.waiting
            self.have(self.store.delete(".pypid/indexes/team.json"))
            failures = self.ended(upload)
            outcomes.add("refused" if failures else "published")
            self.assertTrue(self.keys(".pypid/index-names/spam/team"), steps)
            self.have(self.there.decisions.refresh())
            self.refused(self.index("", self.there).project(SPAM), NoSuchProject)
            self.have(self.here.decisions.refresh())
            self.have(self.here.delete("team", force=True))
            self.assertEqual(self.left(), [], steps)
            if is_over:
                break
        self.assertEqual(outcomes, {"refused", "published"})

    def test_upload_into_an_index_that_was_created_again(self) -> None:
        """It may have other rights: the client has to try again."""
        upload = self.uploading()
        self.gated.go()
        self.have(self.here.delete("team", force=True))
        self.clock.advance(0.1)
        again = evolve(settings_of_values("team", {}), created=self.world.now())
        self.have(self.here.create(again))
        [failure] = self.ended(upload)
        failure.trap(Busy)
        self.look(self.there)
        self.assertEqual(self.keys(".pypid/index/team/"), [])
