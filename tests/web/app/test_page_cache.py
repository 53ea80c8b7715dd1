"""Pages that take long are made off the reactor thread, once for all who ask meanwhile; and views
as well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.caches import MemoryBudget
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import Presence, Project, UpstreamEntry
from pypid.core.policy import Policy, UpstreamState, view
from pypid.core.simple_api.render import Format, render_project
from pypid.flow import start
from pypid.index import views as views_module
from pypid.index.views import DIRECT, View, Views
from pypid.metrics.counts import DERIVED
from pypid.upstream.nothing import Nothing
from pypid.web.app import page_cache as pages_module
from pypid.web.app.page_cache import ProjectPages
from pypid.web.http.headers import Encoding
from pypid.web.http.responses import FinishedPage
from tests.index.uploads import an_index
from tests.support import BEGINNING, world
from tests.support.catalog import SPAM, a_file, a_listing, a_project
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting, Turns


class PagesTests(Awaiting, SynchronousTestCase):
    """`ProjectPages`."""

    def setUp(self) -> None:
        for name in ("FEW_FILES", "FEW_NAMES"):
            self.patch(pages_module, name, 1)
        self.turns = Turns()
        outside = world(blocking=self.turns)
        self.catalog = a_catalog()
        self.index = an_index(
            MemoryBlobs(outside.now),
            self.catalog,
            Nothing(),
            Policy(),
            outside,
            spool=Path(self.mktemp()),
        )
        self.pages = ProjectPages(self.index, outside)
        self.have(self.catalog.complete())
        self.put("1", "2")

    def put(self, *versions: str) -> Project:
        """Have these versions of the project."""
        files = tuple(a_file(SPAM, version) for version in versions)
        project = evolve(a_project(SPAM), files=files)
        held = self.have(self.catalog.local.edit(SPAM, lambda _: project))
        assert held is not None
        return held

    def ask(self, format: Format = Format.JSON) -> Deferred[tuple[FinishedPage, int]]:
        """Somebody wants the page."""
        return start(
            self.pages.project(SPAM, format, DIRECT, files_url="f/", provenance=lambda: None)
        )

    def test_one_flight(self) -> None:
        """A large page is made once, elsewhere, for all who ask meanwhile; later ones have it at
        once.
        """
        asked = [self.ask() for _ in range(20)]
        for answer in asked:
            self.assertNoResult(answer)
        self.assertEqual(len(self.turns), 1)
        self.turns.turn()
        pages = {id(self.successResultOf(answer)[0]) for answer in [*asked, self.ask()]}
        self.assertEqual((len(pages), len(self.turns)), (1, 0))

    def test_changed_meanwhile(self) -> None:
        """Who asks after a change gets the page after it, although one from before
        is being made.
        """
        before, old = self.ask(), self.have(self.index.project(SPAM))
        new = self.put("1", "2", "3")
        after = self.ask()
        self.turns.all()
        for answer, project in ((before, old), (after, new), (self.ask(), new)):
            finished, _ = self.successResultOf(answer)
            page = self.have(finished.in_encoding(Encoding.IDENTITY))
            self.assertEqual(page, render_project(project, Format.JSON, files_url="f/"))


class UpstreamPagesTests(Awaiting, SynchronousTestCase):
    """`ProjectPages` of an upstream project."""

    def setUp(self) -> None:
        self.world = world()
        self.catalog = a_catalog()
        self.have(self.catalog.complete())
        self.budget = MemoryBudget(1 << 20)
        index = an_index(
            MemoryBlobs(self.world.now),
            self.catalog,
            Nothing(),
            Policy(mode=Mode.CACHE),
            self.world,
            spool=Path(self.mktemp()),
            memory=self.budget,
        )
        self.pages = ProjectPages(index, self.world)
        self.listing = evolve(a_listing(SPAM, "1", "2"), confirmed=self.world.now())
        self.edit(lambda entry: evolve(entry, listing=self.listing))

    def edit(self, change: Callable[[UpstreamEntry], UpstreamEntry]) -> None:
        """Change what is known of the project."""
        self.have(self.catalog.upstream.edit(SPAM, change))

    def ask(self, format: Format = Format.JSON) -> tuple[FinishedPage, int]:
        """Ask for the page."""
        return self.have(
            self.pages.project(SPAM, format, DIRECT, files_url="f/", provenance=lambda: None)
        )

    def test_unchanged_listing_is_not_rendered_again(self) -> None:
        """A listing that upstream confirms, and a download of a cached file, change nothing that a
        page shows; a new file does.
        """
        first = self.ask()
        confirmed = evolve(
            self.listing, confirmed=self.world.now() + timedelta(seconds=1), etag='"other"'
        )
        self.edit(lambda entry: evolve(entry, listing=confirmed, touched=(("spam-1.tar.gz", 7),)))
        self.assertIs(self.ask()[0], first[0])
        self.assertEqual(self.world.counts.value(DERIVED, ("simple_pages", "made")), 1)
        self.edit(lambda entry: evolve(entry, listing=a_listing(SPAM, "1", "2", "3")))
        self.assertIsNot(self.ask()[0], first[0])
        self.assertEqual(self.world.counts.value(DERIVED, ("simple_pages", "made")), 2)
        self.assertEqual(self.world.counts.value(DERIVED, ("simple_pages", "kept")), 1)

    def test_serial_is_that_of_the_list(self) -> None:
        """A file that was cached changes the serial of the project on lists, so it changes the
        page, too: mirrors refuse a page with an older serial.
        """
        self.ask()
        self.edit(lambda entry: evolve(entry, kept=(a_file(SPAM, "1"),)))
        [summary] = self.have(self.catalog.upstream.summaries())
        self.assertEqual(self.ask()[1], summary.serial)


class ViewsTests(Awaiting, SynchronousTestCase):
    """`Views`."""

    def setUp(self) -> None:
        self.patch(views_module, "FEW", 1)
        self.turns = Turns()
        self.policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=9)))
        self.views = Views(self.policy, evolve(world(), thinking=self.turns))
        heard = a_listing(SPAM, "1", "2", "3")
        assert heard.files is not None
        files = tuple(
            replace(file, uploaded=BEGINNING + timedelta(days=day))
            for day, file in enumerate(heard.files)
        )
        self.theirs = UpstreamState(listing=evolve(heard, files=files), serial=3)

    def ask(self, theirs: UpstreamState, days: float = 10) -> Deferred[View]:
        """Somebody looks, so many days later."""
        return start(self.views.of(SPAM, Presence.ABSENT, theirs, BEGINNING + timedelta(days=days)))

    def test_one_flight(self) -> None:
        """A view of many files is made once for all who look meanwhile, and is what
        the rules say.
        """
        asked = [self.ask(self.theirs) for _ in range(3)]
        self.assertEqual(len(self.turns), 1)
        self.turns.turn()
        seen = [self.successResultOf(one) for one in [*asked, self.ask(self.theirs)]]
        self.assertEqual(len(set(map(id, seen))), 1)
        now = BEGINNING + timedelta(days=10)
        self.assertEqual(
            seen[0].project, view(self.policy, Presence.ABSENT, self.theirs, now, SPAM)
        )

    def test_changes(self) -> None:
        """It is made anew when what is known changes, when upstream goes away, and when a file
        becomes old enough.
        """
        kept = evolve(self.theirs, kept=(a_file(SPAM, "1"),), serial=4)
        cases = [
            (self.theirs, 10, ["1", "2"]),
            (self.theirs, 11, ["1", "2", "3"]),
            (kept, 11, ["1", "2", "3"]),
            (evolve(kept, reachable=False), 11, ["1"]),
        ]
        editions = []
        for theirs, days, versions in cases:
            asked = self.ask(theirs, days)
            self.assertEqual(len(self.turns), 1)
            self.turns.turn()
            seen = self.successResultOf(asked)
            self.assertEqual([file.version for file in seen.project.files], versions)
            editions.append(seen.edition)
        self.assertEqual(len(set(editions)), 4)
