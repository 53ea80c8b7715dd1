"""Several nodes with one catalog: who sees what, and when; and what they do where the engine is
away.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.replica import FRESH
from pypid.catalog.shared import SharedCatalog
from pypid.core.errors import CannotStart, CatalogDown
from pypid.core.model import Presence, Project, Status
from pypid.core.packaging.names import ProjectName, project_name
from pypid.database.engine import Position, RowKind, Slice
from pypid.flow import start
from pypid.web.app.errors import status_of
from tests.support.catalog import SPAM, a_project, becomes
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared
from tests.support.models import to_be
from tests.support.worlds import Timed

HAM = project_name("ham")
STALE_FOR = timedelta(seconds=60)


class Nodes(Timed, SynchronousTestCase):
    """Two nodes, `here` and `there`, with an engine each on one place."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.rights: list[str] = []
        self.anew: list[str] = []
        self.here = self.node()
        self.there = self.node()

    def node(self, engine: PlacedEngine | None = None) -> SharedCatalog:
        """Another node."""
        settings = SharedSettings("storage", STALE_FOR)
        made = self.have(
            open_shared(
                settings,
                engine or PlacedEngine(self.clock, self.place),
                self.world,
                rights_changed=lambda: self.rights.append("changed"),
                was_reset=lambda: self.anew.append("begun"),
            )
        )
        self.addCleanup(lambda: self.have(made.close()))
        return made

    def engine(self, node: SharedCatalog) -> PlacedEngine:
        """Its."""
        engine = node.following.engine
        assert isinstance(engine, PlacedEngine)
        return engine

    def put(
        self, node: SharedCatalog, *versions: str, name: ProjectName = SPAM, mark: str | None = None
    ) -> Project:
        """Have the project be this one, at that node."""
        held = self.have(node.local.edit(name, becomes(a_project(name, *versions)), mark=mark))
        assert held is not None
        return held

    def seen(self, node: SharedCatalog, name: ProjectName = SPAM) -> Project | Presence:
        """What that node says of it."""
        return self.have(node.local.get(name))

    def go(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)


class SeeingTests(Nodes):
    """Reading what was changed."""

    def test_clock_set_back(self) -> None:
        """Where the system's clock is set back by an hour nobody believes in an engine that is
        silent for as long.
        """
        self.put(self.here, "1")
        self.go(0.4)
        self.clock.rightNow += 3600
        self.go(0.4)
        self.assertTrue(self.there.following.is_current)
        self.engine(self.there).is_mute = True
        self.clock.rightNow -= 3600
        self.assertFalse(self.there.following.is_current)
        self.assertLessEqual(self.there.following.until, self.clock.seconds())
        held = self.put(self.here, "1", "2")
        self.assertEqual(self.seen(self.there), held)
        self.assertTrue(self.there.following.is_current)
        self.assertLessEqual(self.there.following.until, self.clock.seconds() + FRESH)

    def test_damaged(self) -> None:
        """A row that nobody can read is no absence, and the next edit puts it right."""
        self.have(self.here.complete())
        for line in (
            b"garbage",
            b'{"name":"spam"',
            b'{"name":"spam","status":"odd","files":[]}',
            b'{"name":"spam","files":[7]}',
        ):
            with self.subTest(line=line):
                version = self.place.rows[RowKind.LOCAL, SPAM].version if self.place.rows else 0
                self.place.write(to_be(line, version))
                self.go(0.4)
                self.assertIs(self.seen(self.there), Presence.UNKNOWN)
                held = self.put(self.there, "1")
                self.assertEqual(self.seen(self.there), held)


class EditingTests(Nodes):
    """Changing what others change."""

    def test_all_or_nothing(self) -> None:
        """Of several edits none is made while another node changes one of the projects; they are
        tried again with its change.
        """
        self.put(self.here, "1")
        self.go(0.4)
        self.engine(self.here).before_swap.append(lambda: self.put(self.there, "1", "2"))
        seen: list[Project | None] = []

        def change(project: Project | None) -> Project | None:
            seen.append(project)
            assert project is not None
            return evolve(project, status=Status.ARCHIVED)

        edits = {HAM: becomes(a_project(HAM, "1")), SPAM: change}
        made = self.have(self.here.local.edit_all(edits))
        self.assertEqual([len(project.files) for project in seen if project], [1, 2])
        spam, ham = made[SPAM], made[HAM]
        assert spam is not None and ham is not None
        self.assertEqual((len(spam.files), spam.status), (2, Status.ARCHIVED))
        self.assertEqual((spam.serial, ham.serial), (3, 3))
        for node in (self.here, self.there):
            self.go(0.4)
            self.assertEqual((self.seen(node), self.seen(node, HAM)), (spam, ham))
            self.assertEqual(self.have(node.serial()), 3)

    def test_all_answer_lost(self) -> None:
        """Several edits whose answer was lost are an error here, may have been made, and are all
        shown when the engine reports them.
        """
        self.engine(self.here).deaf = 1
        edits = {name: becomes(a_project(name, "1")) for name in (SPAM, HAM)}
        self.refused(self.here.local.edit_all(edits), CatalogDown)
        self.assertIs(self.seen(self.here), Presence.UNKNOWN)
        self.go(0.4)
        self.assertIsInstance(self.seen(self.here), Project)
        self.assertEqual(
            self.have(self.here.local.edit_all(edits)),
            {name: self.seen(self.here, name) for name in edits},
        )

    def test_all_show_together(self) -> None:
        """Another node shows the projects of one edit together, however its slices are cut."""
        names = [project_name(f"p{number}") for number in range(7)]
        shown: list[int] = []
        whole = PlacedEngine.changes

        async def cut(engine: PlacedEngine, since: Position, most: int = 0) -> Slice:
            shown.append(len(self.there.following.replica.local.heads[""].summaries()))
            return await whole(engine, since, 3)

        self.put(self.here, "1", name=HAM)
        self.have(self.here.local.edit_all({name: becomes(a_project(name, "1")) for name in names}))
        for number in range(3):
            self.put(self.here, str(number))
        self.patch(PlacedEngine, "changes", cut)
        self.go(0.4)
        self.assertEqual(shown, [0, 1, 1])
        self.assertEqual(len(self.have(self.there.local.summaries())), 9)


UNREAD = project_name("unread")


class AwayTests(Nodes):
    """The engine cannot be asked."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.here.complete())
        self.held = self.put(self.here, "1")
        self.put(self.here, "1", name=UNREAD)
        self.go(0.4)
        self.assertEqual(self.seen(self.there), self.held)

    def test_reads_go_on(self) -> None:
        """What was read is shown for `stale_for`, no absence is claimed; all else is HTTP 503. Back,
        all is as before.
        """
        self.place.is_down = True
        self.go(2)
        self.assertEqual(self.seen(self.there), self.held)
        self.refused(self.there.local.get(UNREAD), CatalogDown)
        self.assertIs(self.seen(self.there, HAM), Presence.UNKNOWN)
        self.assertFalse(self.have(self.there.is_complete()))
        self.assertIsNotNone(self.there.following.away)
        self.refused(self.there.note_rights(), CatalogDown)  # other nodes do not know
        self.go(STALE_FOR.total_seconds() - 3)
        self.assertEqual(self.seen(self.there), self.held)
        self.go(2)
        asks: list[Callable[[], object]] = [
            lambda: self.refused(self.there.local.get(SPAM), CatalogDown),
            lambda: self.refused(self.there.upstream.get(SPAM), CatalogDown),
            lambda: self.refused(self.there.local.summaries(), CatalogDown),
            lambda: self.refused(self.there.upstream.summaries(), CatalogDown),
            lambda: self.refused(self.there.serial(), CatalogDown),
            lambda: self.refused(self.there.local.mark(SPAM), CatalogDown),
        ]
        for ask in asks:
            ask()
        self.assertFalse(self.have(self.there.is_complete()))
        self.assertEqual(status_of(CatalogDown, b"GET"), 503)
        self.place.is_down = False
        self.go(0.4)
        self.assertEqual(self.seen(self.there), self.held)
        self.assertIs(self.seen(self.there, HAM), Presence.ABSENT)
        self.assertIsNone(self.there.following.away)

    def test_hangs(self) -> None:
        """An engine that does not answer holds nobody up for longer than a second, and then nobody
        at all.
        """
        engine = self.engine(self.there)
        engine.is_mute = engine.hangs = True
        self.go(FRESH)
        first = start(self.there.local.get(SPAM))
        self.assertNoResult(first)
        self.go(1.1)
        self.assertEqual(self.successResultOf(first), self.held)
        for _ in range(20):
            self.assertEqual(self.seen(self.there), self.held)
            self.refused(self.there.local.edit(SPAM, becomes(None)), CatalogDown)
            self.go(0.2)
        self.assertIsNotNone(self.there.following.away)

    def test_starts_without(self) -> None:
        """A node that starts while the engine is away knows nothing, claims nothing, and learns all
        when it is back.
        """
        self.place.is_down = True
        node = self.node()
        self.refused(node.local.get(SPAM), CatalogDown)
        self.refused(node.local.summaries(), CatalogDown)
        self.refused(node.local.edit(SPAM, becomes(None)), CatalogDown)
        self.assertFalse(node.knows_all)
        self.place.is_down = False
        self.go(0.4)
        self.assertEqual(self.seen(node), self.held)
        self.assertIs(self.seen(node, HAM), Presence.ABSENT)
        self.assertEqual(self.anew, [])

    def test_another_storage(self) -> None:
        """A node of another storage does not start; one to which that happens while it runs shows
        what it had, for a while.
        """
        self.refused(
            open_shared(
                SharedSettings("another"), PlacedEngine(self.clock, self.place), self.world
            ),
            CannotStart,
        )
        self.place.lose()
        self.place.identity = "another"
        self.place.begin(0)
        self.go(2)
        self.assertEqual(self.seen(self.there), self.held)
        self.refused(self.there.local.edit(SPAM, becomes(None)), CatalogDown)


class AnewTests(Nodes):
    """The catalog is begun anew."""

    def setUp(self) -> None:
        super().setUp()
        self.held = self.put(self.here, "1")
        self.have(self.here.complete())
        self.go(0.4)

    def refill(self) -> None:
        """Another node begins anew, and puts all back."""
        self.place.begin(0)
        for node in (self.there,):
            self.have(node.following.catch_up())
            node.begin_comparison()
        self.put(self.there, "1")
        self.put(self.there, "1", name=HAM)
        self.have(self.there.complete())

    def test_comparison_meanwhile(self) -> None:
        """A comparison that began before proves nothing: what it put in is lost."""
        self.here.begin_comparison()
        self.place.begin(0)
        self.have(self.here.complete())
        self.go(1)
        self.have(self.here.complete())
        self.assertIs(self.seen(self.here), Presence.UNKNOWN)
        self.assertFalse(self.place.state.complete)
        self.here.begin_comparison()
        self.have(self.here.complete())
        self.assertIs(self.seen(self.here), Presence.ABSENT)

    def test_rolled_back(self) -> None:
        """An engine that lacks what it had acknowledged, as a restored backup does, is begun anew:
        its versions come again.
        """
        before, rows = self.place.state, dict(self.place.rows)
        self.put(self.here, "1", "2")
        self.go(0.4)
        self.place.state, self.place.rows = before, rows
        self.go(0.4)
        self.assertIs(self.seen(self.here), Presence.UNKNOWN)
        self.assertNotEqual(self.place.state.generation, before.generation)
        self.refill()
        self.go(0.4)
        self.assertEqual(self.seen(self.here), self.seen(self.there))
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_tombstones_forgotten(self) -> None:
        """A node that was away for longer than it is remembered what was taken out reads all anew,
        of the same epoch.
        """
        self.engine(self.there).is_down = True
        self.have(self.here.local.edit(SPAM, becomes(None)))
        self.have(self.engine(self.here).tidy(0))
        self.put(self.here, "1", name=HAM)
        self.engine(self.there).is_down = False
        self.go(0.4)
        self.assertIs(self.seen(self.there), Presence.ABSENT)
        self.assertEqual(self.anew, [])
