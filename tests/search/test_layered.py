"""Searching an index of several layers: a project is found once, where the index has it."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.memory import MemoryCatalog
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.core.search.ranking import FoundProject, SearchQuery, SearchResults
from pypid.core.summaries import Summaries, in_runs
from pypid.core.visibility import EVERYTHING, Visibility
from pypid.index import Index
from pypid.search.layered import LayeredSearch, SearchedLayer, shown_by
from pypid.search.search import Search
from pypid.testing import world
from pypid.testing.worlds import Awaiting
from pypid.upstream.nothing import Nothing
from tests.index.uploads import publishing, sent


class LayeredSearchTests(Awaiting, SynchronousTestCase):
    """A team's index above one that all teams share."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.team, self.shared = self.index(1000), self.index(2000)
        self.layers = [Search(index, promptly=True) for index in (self.team, self.shared)]
        for search in self.layers:
            self.addCleanup(search.close)
        self.current: dict[ProjectName, str] = {}
        """The versions that the index shows, where it hides later ones."""
        self.search = LayeredSearch(self.names, lambda: self.layers, self.as_it_is)

    def index(self, serial: int) -> Index:
        """An index of its own, whose serials begin there."""
        now = world(self.clock)
        catalog = MemoryCatalog(serial=serial)
        index = Index(MemoryBlobs(now.now), catalog, Nothing(), Policy(), now)
        self.have(catalog.complete())
        self.have(index.reconcile())
        return index

    def publish(self, index: Index, name: str, version: str = "1.0", summary: str = "") -> None:
        """Publish a release, a minute after the one before."""
        self.clock.advance(60)
        metadata = f"Metadata-Version: 2.1\nSummary: {summary}\n".encode()
        filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        what = sent(f"{name} {version} {summary}".encode(), filename, metadata=metadata)
        self.have(publishing(index, what))

    async def names(self) -> Summaries:
        """All projects, of the first layer that has each."""
        found = dict[ProjectName, Summary]()
        for index in (self.shared, self.team):
            found.update((one.name, one) for one in await index.stored_names())
        return in_runs(tuple(found[name] for name in sorted(found)))

    async def as_it_is(self, found: FoundProject, by: Visibility) -> FoundProject:
        """The result with the version that the index shows."""
        return evolve(found, version=self.current.get(found.name, found.version))

    def find(
        self, text: str, by: Visibility = EVERYTHING, most: int = 20, skip: int = 0
    ) -> SearchResults:
        """What is found."""
        return self.have(self.search.find(SearchQuery.read(text), by, most=most, skip=skip))

    def names_of(self, text: str, by: Visibility = EVERYTHING) -> list[str]:
        """The names that are found, which are all."""
        found = self.find(text, by)
        self.assertEqual(found.total, len(found.found))
        return [each.name for each in found.found]

    def test_hidden(self) -> None:
        """A project of the team hides the shared one of its name: the shared one is found by no
        word, and counted nowhere.
        """
        self.publish(self.shared, "spam", "9.0", "spiced ham")
        self.publish(self.shared, "eggs")
        self.publish(self.team, "spam", "1.0", "unsolicited mail")
        self.assertEqual(self.names_of("spam"), ["spam"])
        self.assertEqual(self.find("spam").found[0].version, "1.0")
        self.assertEqual(self.names_of("spiced"), [])
        self.assertEqual(self.names_of("unsolicited"), ["spam"])
        self.assertEqual(sorted(self.names_of("")), ["eggs", "spam"])

    def test_order(self) -> None:
        """The best match is first, of whichever layer; pages join without a gap."""
        for number in range(4):
            self.publish(self.shared, f"toast-{number}")
            self.publish(self.team, f"toast-{number}x")
        self.publish(self.shared, "toast")
        self.assertEqual(self.names_of("toast")[0], "toast")
        everything = [each.name for each in self.find("toast").found]
        pages = [self.find("toast", most=2, skip=skip) for skip in range(0, 10, 2)]
        self.assertEqual([each.name for page in pages for each in page.found], everything)
        self.assertEqual({page.total for page in pages}, {9})

    def test_viewer(self) -> None:
        """What the viewer may not read is neither found nor counted, in any layer."""
        self.publish(self.shared, "acme-shared")
        self.publish(self.team, "acme-team")
        for hidden, left in (("acme-shared", "acme-team"), ("acme-team", "acme-shared")):
            by = Visibility(True, frozenset({project_name(hidden)}))
            self.assertEqual(self.names_of("acme", by), [left])
            for which in (self.search.updated, self.search.created):
                self.assertEqual(list(self.have(which(by))), [left])

    def test_removed(self) -> None:
        """When the team deletes its project and releases the name, the shared one is found."""
        self.publish(self.shared, "spam", "9.0")
        self.publish(self.team, "spam")
        self.assertEqual(self.find("spam").found[0].version, "1.0")
        name = project_name("spam")
        self.have(self.team.delete_project(name, "alice"))
        self.have(self.team.release_name(name))
        self.assertEqual(self.find("spam").found[0].version, "9.0")

    def test_current(self) -> None:
        """A result has the version that the index shows, not that of the layer."""
        self.publish(self.shared, "spam", "9.0")
        self.current[project_name("spam")] = "8.0"
        self.assertEqual(self.find("spam").found[0].version, "8.0")

    def test_news(self) -> None:
        """New releases of all layers are news, each project once."""
        self.publish(self.shared, "spam")
        self.publish(self.shared, "eggs")
        self.publish(self.team, "spam", "2.0")
        for which in (self.search.updated, self.search.created):
            self.assertEqual(sorted(self.have(which(EVERYTHING))), ["eggs", "spam"])

    def test_same_layer_twice(self) -> None:
        """What two layers have of one table is found once."""
        self.publish(self.shared, "spam")
        lists = self.have(self.shared.own_stored_names())
        layer = SearchedLayer(lists)
        first, second = (shown_by(lists, layer, before) for before in ((), (layer,)))
        self.assertEqual((first("spam"), second("spam")), (True, False))
