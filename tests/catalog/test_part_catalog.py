"""The parts of a catalog: named indexes and named upstreams."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.part_catalog import PartCatalog
from pypid.core.model import LocalProject, Presence, Project, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.ports import WholeCatalog
from tests.support import CatalogContract, world
from tests.support.catalog import SPAM, a_file, a_listing, a_project, becomes
from tests.support.engines import PlacedEngine, SharedSettings, a_catalog, open_shared
from tests.support.worlds import Awaiting

HAM = project_name("ham")


class PartContract(CatalogContract):
    """The contract of a part, beside others that have projects of the same names."""

    async def whole(self) -> WholeCatalog:
        """Return a new whole catalog."""
        raise NotImplementedError

    async def make(self) -> PartCatalog:
        self.all = await self.whole()
        for other in ("tea", "team-2"):
            await PartCatalog(self.all, index=other).local.edit(SPAM, becomes(a_project(SPAM, "9")))
        await self.all.local.edit(SPAM, becomes(a_project(SPAM, "8")))
        for upstream in (self.all.upstream, PartCatalog(self.all, source="cu12").upstream):
            await upstream.edit(SPAM, with_file)
        return PartCatalog(self.all, index="team", source="cu128")

    async def complete(self) -> None:
        await self.catalog.complete()
        self.assertFalse(await self.all.is_complete())
        await self.all.complete()

    def tearDown(self) -> None:
        super().tearDown()
        for other, version in (("tea", "9"), ("team-2", "9")):
            held = self.have(PartCatalog(self.all, index=other).local.get(SPAM))
            assert isinstance(held, Project)
            self.assertEqual([file.version for file in held.files], [version])
        self.assertEqual([head.name for head in self.have(self.all.local.summaries())], [SPAM])
        self.assertEqual([head.name for head in self.have(self.all.upstream.summaries())], [SPAM])


def with_file(entry: UpstreamEntry) -> UpstreamEntry:
    """Return the entry with a cached file."""
    return evolve(entry, kept=(a_file(entry.name, "7"),))


class MemoryPartTests(PartContract, SynchronousTestCase):
    """A part of the catalog in memory keeps the contract."""

    async def whole(self) -> WholeCatalog:
        return a_catalog()


class SharedPartTests(PartContract, SynchronousTestCase):
    """A part of a shared catalog keeps the contract."""

    async def whole(self) -> WholeCatalog:
        clock = Clock()
        made = await open_shared(SharedSettings("storage"), PlacedEngine(clock), world(clock))
        self.addCleanup(lambda: self.have(made.close()))
        return made


class Parts(Awaiting):
    """What is special about parts, over any whole catalog."""

    all: WholeCatalog

    def put(self, part: PartCatalog, name: ProjectName = SPAM) -> LocalProject:
        """Publish a project in the part."""
        held = self.have(part.local.edit(name, becomes(a_project(name, "1"))))
        assert held is not None
        return held

    def test_private_names(self) -> None:
        """The whole catalog and each part say which named indexes have a project of a name."""
        team, other = PartCatalog(self.all, index="team"), PartCatalog(self.all, index="other")
        self.assertIsNone(self.have(self.all.indexes_with(SPAM)))
        self.put(team)
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), {"team"})
        self.put(other)
        self.put(other, HAM)
        for catalog in (self.all, team, PartCatalog(self.all, source="cu128")):
            self.assertEqual(self.have(catalog.indexes_with(SPAM)), {"team", "other"})
        self.have(self.all.complete())
        self.have(other.local.edit_all({SPAM: becomes(None), HAM: becomes(None)}))
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), {"team"})
        self.assertEqual(self.have(self.all.indexes_with(HAM)), frozenset())
        self.put(PartCatalog(self.all, index="team"))  # nothing changes
        self.have(team.local.edit(SPAM, becomes(None)))
        self.assertEqual(self.have(self.all.indexes_with(SPAM)), frozenset())

    def test_heads(self) -> None:
        """The heads of a part are those of its own projects, and differ after each change."""
        both = PartCatalog(self.all, index="team", source="cu128")
        self.assertEqual(both.heads(SPAM), (None, None))
        self.assertEqual(both.knows_all, self.all.knows_all)
        changes = both.changes
        held = self.put(PartCatalog(self.all, index="team"))
        local, upstream = both.heads(SPAM)
        assert local is not None and upstream is None
        self.assertEqual(local.serial, held.serial)
        self.assertNotEqual(both.changes, changes)
        self.assertIsNone(PartCatalog(self.all, index="other").heads(SPAM)[0])
        listing = a_listing(SPAM, "1")
        self.have(both.upstream.edit(SPAM, lambda entry: evolve(entry, listing=listing)))
        self.assertIsNotNone(both.heads(SPAM)[1])
        self.assertEqual(both.listing_time(SPAM), listing.confirmed)
        for part in (self.all, PartCatalog(self.all, source="cu12")):
            self.assertIsNone(part.listing_time(SPAM))

    def test_one_serial(self) -> None:
        """All parts share the serials of the whole."""
        serials = [
            self.put(PartCatalog(self.all, index="team")).serial,
            self.have(self.all.local.edit(SPAM, becomes(a_project(SPAM)))).serial,  # type: ignore[union-attr]
            self.have(PartCatalog(self.all, source="cu128").upstream.edit(SPAM, with_file)).serial,
        ]
        self.assertEqual(serials, list(range(serials[0], serials[0] + 3)))
        for catalog in (
            self.all,
            PartCatalog(self.all, index="x"),
            PartCatalog(self.all, source="y"),
        ):
            self.assertEqual(self.have(catalog.serial()), serials[-1])

    def test_what_a_part_does_not_have(self) -> None:
        """An upstream has no local projects, a named index no upstream ones, and neither can get
        any.
        """
        upstream, team = PartCatalog(self.all, source="cu128"), PartCatalog(self.all, index="team")
        self.assertIs(self.have(upstream.local.get(SPAM)), Presence.ABSENT)
        self.refused(upstream.local.edit(SPAM, becomes(a_project(SPAM))), ValueError)
        self.refused(upstream.local.edit_all({SPAM: becomes(a_project(SPAM))}), ValueError)
        self.assertIsNone(self.have(upstream.local.edit(SPAM, becomes(None))))
        self.assertIsNone(self.have(upstream.local.mark(SPAM)))
        self.assertEqual(list(self.have(upstream.local.summaries())), [])
        self.assertEqual(self.have(team.upstream.get(SPAM)), UpstreamEntry(name=SPAM))
        self.have(team.upstream.edit(SPAM, lambda entry: entry))
        self.refused(team.upstream.edit(SPAM, with_file), ValueError)
        self.assertEqual(list(self.have(team.upstream.summaries())), [])


class MemoryPartsTests(Parts, SynchronousTestCase):
    """Parts of the catalog in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.all = a_catalog()
