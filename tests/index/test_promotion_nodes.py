"""Promotions over several nodes: no node lists a part of a promotion, whatever it looks up while
another one writes the records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import PypidError
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import OPEN_PROMOTIONS, PromotionDocument
from pypid.core.records.layout import ObjectKind, key
from pypid.flow import start
from pypid.index import Index
from pypid.index.named_indexes import Indexes
from pypid.index.promotions import Promotions, Wanted
from pypid.ports import Blobs, Duplicating
from pypid.wiring.recipe import promotions_between
from tests.index.faulty_blobs import Gated
from tests.index.named import NamedCase
from tests.index.uploads import publishing, sent
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared

SPAM, EGGS = project_name("spam"), project_name("eggs")
WHEEL, SDIST, EGGS_WHEEL = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz", "eggs-2.0.tar.gz"
RELEASE: Wanted = {SPAM: frozenset({WHEEL, SDIST}), EGGS: frozenset({EGGS_WHEEL})}
Shown = dict[ProjectName, list[str]]
WHOLE: Shown = {name: sorted(filenames) for name, filenames in RELEASE.items()}


class Waiting(Gated):
    """A store whose operations wait only while `closed`."""

    closed = False

    async def _gate(self, what: str) -> None:
        if self.closed:
            await super()._gate(what)


@frozen
class Node:
    """A process."""

    indexes: Indexes
    promotions: Promotions

    @property
    def index(self) -> Index:
        """The target of the promotions."""
        return self.indexes.default

    def promote(self) -> Deferred[PromotionDocument | None]:
        """Promote the release."""
        part_of = self.promotions.log.part_of
        source, target = part_of("staging"), part_of("default")
        assert source is not None and target is not None
        return start(self.promotions.promote(source, target, RELEASE, "alice"))


Look = Callable[[Node, ProjectName], object]


class PromotionNodesTests(NamedCase, SynchronousTestCase):
    """Each test with two nodes over one storage and one catalog. The first one promotes a release
    of two projects, step by step.
    """

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.behind = MemoryBlobs(self.world.now)
        self.gated = Waiting(self.behind)
        self.here = self.node(self.gated)
        staging = self.create("staging", self.here.indexes)
        for filename in (WHEEL, SDIST, EGGS_WHEEL):
            self.have(publishing(staging, sent(filename.encode(), filename)))
        self.there = self.node(self.behind)
        self.advance(1.5)

    def node(self, store: Blobs, *, compared: bool = True) -> Node:
        """Return a node that starts now."""
        settings = SharedSettings("storage", timedelta(seconds=60))
        catalog = self.have(open_shared(settings, PlacedEngine(self.clock, self.place), self.world))
        self.addCleanup(lambda: self.have(catalog.close()))
        self.store = store
        indexes = self.started(catalog=catalog, compared=compared)
        duplicating = cast(Duplicating, self.behind)
        promotions = promotions_between(indexes, store, duplicating, self.recovery)
        if compared:
            self.have(self.recovery.finish_interrupted())
        return Node(indexes, promotions)

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    def shown(self, node: Node) -> Shown:
        """Return what the node has in its catalog of the release."""
        found = {}
        for name in RELEASE:
            held = self.have(node.index.catalog.local.get(name))
            if isinstance(held, Project):
                found[name] = sorted(file.filename for file in held.files)
        return found

    def promoted_beside(self, node: Node, look: Look, whole: Shown = WHOLE) -> Sequence[Shown]:
        """Promote the release; call `look` for each project after each step of the storage. Return
        what the nodes have shown, without repetitions.
        """
        found: list[Shown] = []
        self.gated.closed = True
        promoting = self.here.promote()
        while self.gated.waiting:
            for name in RELEASE:
                look(node, name)
                for each in (node, self.here):
                    shown = self.shown(each)
                    if shown not in found:
                        found.append(shown)
            self.gated.go()
            self.advance(0.3)
        self.gated.closed = False
        self.assertIsNotNone(self.successResultOf(promoting))
        self.advance(1.5)
        for each in (node, self.here):
            self.assertEqual(self.shown(each), whole)
        self.assertEqual(self.keys(OPEN_PROMOTIONS), [])
        return found

    def test_lookup_of_a_name_before_it_goes_upstream(self) -> None:
        """It reads the storage, and the name goes nowhere."""

        def look(node: Node, name: ProjectName) -> None:
            self.assertIsNot(self.have(node.index.context.ours_now(name)), Presence.ABSENT)

        self.assertEqual(self.promoted_beside(self.there, look), [{}, WHOLE])

    def test_project_page(self) -> None:
        """It lists all files of the release, or fails."""

        pages: list[Project] = []

        def look(node: Node, name: ProjectName) -> None:
            reading = start(node.index.project(name))
            reading.addCallbacks(pages.append, lambda failure: failure.trap(PypidError))

        self.assertEqual(self.promoted_beside(self.there, look), [{}, WHOLE])
        look(self.there, SPAM)
        self.assertTrue(pages)
        for page in pages:
            self.assertEqual(sorted(file.filename for file in page.files), WHOLE[page.name])

    def test_node_that_died_amidst_the_records(self) -> None:
        """The other node lists nothing of it before it finishes the promotion."""
        self.gated.closed = True
        promoting = self.here.promote()
        while not self.keys(key(SPAM, SDIST, ObjectKind.RECORD)):
            self.gated.go(-1)
        self.have(self.there.index.maintenance.reconcile())
        self.assertEqual(self.shown(self.there), {})
        self.have(self.there.promotions.log.recover())
        self.assertEqual(self.shown(self.there), WHOLE)
        self.assertNoResult(promoting)
