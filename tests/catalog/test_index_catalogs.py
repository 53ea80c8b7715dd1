"""The catalogs of named indexes and of named upstreams."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.shared import SharedCatalog
from pypid.core.model import LocalProject, Presence, Project, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.ports import Catalog
from tests.support import CatalogContract, world
from tests.support.catalog import SPAM, a_file, a_listing, a_project, becomes
from tests.support.engines import PlacedEngine, SharedSettings, a_catalog, open_shared
from tests.support.worlds import Awaiting

HAM = project_name("ham")


def with_file(entry: UpstreamEntry) -> UpstreamEntry:
    """Return the entry with a cached file."""
    return evolve(entry, kept=(a_file(entry.name, "7"),))


class NamedContract(CatalogContract):
    """The contract of a named index, beside others that have projects of the same names."""

    async def default(self) -> SharedCatalog:
        """Return a new catalog of the default index."""
        raise NotImplementedError

    async def make(self) -> Catalog:
        self.all = await self.default()
        for other in ("tea", "team-2"):
            await self.all.of(index=other).local.edit(SPAM, becomes(a_project(SPAM, "9")))
        await self.all.local.edit(SPAM, becomes(a_project(SPAM, "8")))
        for upstream in (self.all.upstream, self.all.of(source="cu12").upstream):
            await upstream.edit(SPAM, with_file)
        return self.all.of(index="team", source="cu128")

    async def complete(self) -> None:
        await self.catalog.complete()
        self.assertFalse(await self.all.is_complete())
        await self.all.complete()

    def tearDown(self) -> None:
        super().tearDown()
        for other in ("tea", "team-2"):
            held = self.have(self.all.of(index=other).local.get(SPAM))
            assert isinstance(held, Project)
            self.assertEqual([file.version for file in held.files], ["9"])
        self.assertEqual([head.name for head in self.have(self.all.local.summaries())], [SPAM])
        self.assertEqual([head.name for head in self.have(self.all.upstream.summaries())], [SPAM])


class OneProcessTests(NamedContract, SynchronousTestCase):
    """A named index in the catalog of one process keeps the contract."""

    async def default(self) -> SharedCatalog:
        return a_catalog()


class SharedTests(NamedContract, SynchronousTestCase):
    """A named index in a shared catalog keeps the contract."""

    async def default(self) -> SharedCatalog:
        clock = Clock()
        made = await open_shared(SharedSettings("storage"), PlacedEngine(clock), world(clock))
        self.addCleanup(lambda: self.have(made.close()))
        return made


class BesideEachOtherTests(Awaiting, SynchronousTestCase):
    """What indexes and upstreams have in common, and what they do not see of each other."""

    def setUp(self) -> None:
        super().setUp()
        self.all = a_catalog()
        self.team, self.other = self.all.of(index="team"), self.all.of(index="other")
        self.upstream = self.all.of(source="cu128")

    def put(self, catalog: Catalog, name: ProjectName = SPAM, version: str = "1") -> LocalProject:
        """Publish a project in the index."""
        held = self.have(catalog.local.edit(name, becomes(a_project(name, version))))
        assert held is not None
        return held

    def test_private_names(self) -> None:
        """Each catalog says which named indexes have a project of a name."""
        self.assertIsNone(self.have(self.all.indexes_with(SPAM)))
        self.put(self.team)
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), {"team"})
        self.put(self.other)
        self.put(self.other, HAM)
        for catalog in (self.all, self.team, self.upstream):
            self.assertEqual(self.have(catalog.indexes_with(SPAM)), {"team", "other"})
        self.have(self.all.complete())
        self.have(self.other.local.edit_all({SPAM: becomes(None), HAM: becomes(None)}))
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), {"team"})
        self.assertEqual(self.have(self.all.indexes_with(HAM)), frozenset())
        self.put(self.team)  # nothing changes
        self.have(self.team.local.edit(SPAM, becomes(None)))
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), frozenset())

    def test_heads(self) -> None:
        """The heads of an index are those of its own projects, and differ after each change."""
        both = self.all.of(index="team", source="cu128")
        self.assertEqual(both.heads(SPAM), (None, None))
        self.assertEqual(both.knows_all, self.all.knows_all)
        changes = both.changes
        held = self.put(self.team)
        local, upstream = both.heads(SPAM)
        assert local is not None and upstream is None
        self.assertEqual(local.serial, held.serial)
        self.assertNotEqual(both.changes, changes)
        self.assertIsNone(self.other.heads(SPAM)[0])
        listing = a_listing(SPAM, "1")
        self.have(both.upstream.edit(SPAM, lambda entry: evolve(entry, listing=listing)))
        self.assertIsNotNone(both.heads(SPAM)[1])
        self.assertEqual(both.listing_time(SPAM), listing.confirmed)
        for catalog in (self.all, self.team, self.all.of(source="cu12")):
            self.assertIsNone(catalog.listing_time(SPAM))

    def test_heads_of_private_names(self) -> None:
        """Where there are upstream projects, a name that is local in any index has a head, which is
        that of no project, and goes with the last project of this name.
        """
        for asking in (self.all, self.upstream):
            self.assertEqual(asking.heads(SPAM), (None, None))
        for catalog in (self.team, self.other):
            self.put(catalog)
        for asking in (self.all, self.upstream):
            private = asking.heads(SPAM)[0]
            assert private is not None
            self.assertEqual((private.name, private.serial), (SPAM, -1))
        self.have(self.team.local.edit(SPAM, becomes(None)))
        self.assertEqual(self.all.heads(SPAM)[0], private)
        held = self.put(self.all)
        for asking in (self.all, self.upstream):
            local = asking.heads(SPAM)[0]
            self.assertEqual(local and local.serial, held.serial)
        for catalog in (self.all, self.other):
            self.have(catalog.local.edit(SPAM, becomes(None)))
        for asking in (self.all, self.upstream):
            self.assertEqual(asking.heads(SPAM), (None, None))

    def test_lists(self) -> None:
        """The list of an index stays the same object whatever changes in others; those of all named
        indexes leave out the default one and those without projects.
        """
        self.put(self.team)
        mine, lists = self.have(self.team.local.summaries()), self.have(self.all.index_lists())
        self.put(self.all)
        self.have(self.upstream.upstream.edit(SPAM, with_file))
        self.assertIs(self.have(self.other.index_lists()), lists)
        self.assertIs(lists["team"], mine)
        self.put(self.other, HAM)
        self.assertIs(self.have(self.team.local.summaries()), mine)
        self.assertEqual(self.have(self.all.index_lists()).keys(), {"team", "other"})
        self.put(self.team, version="2")
        self.assertIsNot(self.have(self.team.local.summaries()), mine)
        self.have(self.other.local.edit(HAM, becomes(None)))
        self.assertEqual(self.have(self.all.index_lists()).keys(), {"team"})

    def test_one_serial(self) -> None:
        """All indexes and upstreams share the serials."""
        serials = [
            self.put(self.team).serial,
            self.put(self.all).serial,
            self.have(self.upstream.upstream.edit(SPAM, with_file)).serial,
        ]
        self.assertEqual(serials, list(range(serials[0], serials[0] + 3)))
        for catalog in (self.all, self.all.of(index="x"), self.all.of(source="y")):
            self.assertEqual(self.have(catalog.serial()), serials[-1])

    def test_what_one_does_not_have(self) -> None:
        """An upstream has no local projects, a named index no upstream ones, and neither can get
        any.
        """
        local, upstream = self.upstream.local, self.team.upstream
        self.assertIs(self.have(local.get(SPAM)), Presence.ABSENT)
        self.refused(local.edit(SPAM, becomes(a_project(SPAM))), ValueError)
        self.refused(local.edit_all({SPAM: becomes(a_project(SPAM))}), ValueError)
        self.assertIsNone(self.have(local.edit(SPAM, becomes(None))))
        self.assertIsNone(self.have(local.mark(SPAM)))
        self.assertEqual(list(self.have(local.summaries())), [])
        self.assertEqual(self.have(upstream.get(SPAM)), UpstreamEntry(name=SPAM))
        self.have(upstream.edit(SPAM, lambda entry: entry))
        self.refused(upstream.edit(SPAM, with_file), ValueError)
        self.assertEqual(list(self.have(upstream.summaries())), [])
