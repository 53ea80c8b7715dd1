"""What nodes are to one another beside the catalog: who is believed while
people change elsewhere.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.access.accounts import CONTACT
from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.replica import FRESH, ReplicaFollower
from pypid.catalog.shared import SharedCatalog
from pypid.core.errors import PeopleUnknown
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Rules
from pypid.core.policy import EVERY_NAME, Claims
from pypid.daemon.identities import open_stores
from pypid.daemon.shared_catalog import Sharing, begin_alone, catalog_file
from pypid.daemon.state import where
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.places import SqliteFile
from pypid.flow import at_once, start
from pypid.flow.derived import Signal, Signals
from pypid.jobs.cache_maintenance import CleanStop
from pypid.jobs.leases import Shared
from pypid.web.app.app import App, AppSettings
from pypid.wiring.platform import load_config
from pypid.wiring.recipe import make_identities
from tests.daemon.test_identities import ini
from tests.support.configuration import parse
from tests.support.engines import Place, PlacedEngine
from tests.support.examples import SPAM, a_project, becomes
from tests.support.worlds import Awaiting, world

HAM = project_name("ham")


class RightsTests(TestCase):
    """Somebody's right, token or password is withdrawn at another node."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "state").mkdir(parents=True)
        self.clock = Clock()
        self.place = Place()

    def app(self) -> App:
        """As much of one as is told."""
        app = App.__new__(App)
        app.access_changed = Signal()
        app.rules, app.closed = Rules(), None
        app.settings = AppSettings(spool=self.folder, max_upload=1)
        return app

    def test_not_before_it_is_seen(self) -> Deferred[None]:
        """Once a node hears of a change nobody is believed from memory before it has seen what
        changed: the look at the accounts may be held up by others, or fail.
        """

        async def work() -> None:
            config, here = load_config(ini(self.folder, "the first")), world(self.clock)
            places, signals = where(config, {}), Signals()
            stores = open_stores(config, places, here, reactor)
            engine = PlacedEngine(self.clock, self.place)
            following = ReplicaFollower(
                engine,
                "storage",
                here,
                timedelta(seconds=60),
                rights_changed=signals.rights_reported.emit,
                was_reset=signals.catalog_reset.emit,
                confirmed=signals.catalog_confirmed.emit,
            )
            sharing = Sharing(
                SharedCatalog(following),
                engine,
                Shared(engine, "here", here),
                here,
                signals,
                stores.accounts,
            )
            people = make_identities(
                config, places, stores, here, reactor, Claims(), signals, sharing,
                blobs=MemoryBlobs(here.now),
            )  # fmt: skip
            app = self.app()
            signals.rights_changed.connect(lambda: app.use_access(people.state))
            await people.open()
            try:
                await sharing.begin()
                self.go(0.5)
                self.assertGreater(people.generation.until, self.clock.seconds(), "all is well")
                turn = people.stores.accounts.current._turn
                await turn.acquire()  # somebody's change waits for the file
                await PlacedEngine(self.clock, self.place).note_rights()
                self.go(0.5)
                self.assertLessEqual(people.generation.until, self.clock.seconds())
                waiting = people.access.freshly()
                self.assertIsNotNone(waiting, "whoever comes now is looked up")
                looking = start(waiting)  # type: ignore[arg-type]
                self.assertNoResult(looking)
                self.go(CONTACT - 1)
                self.assertIsNone(app.closed)
                self.go(1)
                self.assertIsInstance(
                    app.closed, PeopleUnknown, "what everybody may read is not known, either"
                )
                self.assertIs(people.claims.names, EVERY_NAME)
                turn.release()
                await looking
                self.assertIsNone(app.closed)
                self.assertIsNot(people.claims.names, EVERY_NAME)
                self.assertGreater(people.generation.until, self.clock.seconds())
                self.assertLessEqual(people.generation.until, self.clock.seconds() + FRESH)
                self.assertIsNone(people.access.freshly())
            finally:
                await sharing.catalog.close()
                await people.end()

        return start(work())

    def go(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)


class AloneTests(Awaiting, SynchronousTestCase):
    """The catalog of one process, in its state folder, at a start."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.config = parse(
            "[server]\nstate = state\n", filename=str(folder.absolute() / "pypid.ini")
        )
        self.paths = where(self.config, {})
        self.file = catalog_file(self.paths)
        self.world = world(Clock())
        self.blobs = MemoryBlobs(self.world.now)
        self.clean_stop: CleanStop | None = CleanStop(self.blobs)

    def begun(self, storage: str = "storage") -> SharedCatalog:
        """Return the catalog, after a start."""
        engine = SqlEngine(SqlSettings(SqliteFile(self.file), at_once), self.world)
        following = ReplicaFollower(
            engine, storage, self.world, timedelta(), first_serial=1000, is_sole=True
        )
        catalog = SharedCatalog(following)
        self.have(begin_alone(catalog, self.paths, self.clean_stop))
        return catalog

    def stop(self, catalog: SharedCatalog, *, clean: bool) -> None:
        """End the process; `clean`: in order."""
        engine = catalog.following.engine
        if clean and self.clean_stop is not None:
            self.have(self.clean_stop.leave(self.have(engine.state())))
        self.have(catalog.close())

    def filled(self) -> SharedCatalog:
        """Return a complete catalog with one project."""
        catalog = self.begun()
        self.have(catalog.local.edit(SPAM, becomes(a_project(SPAM, "1")), mark="mark"))
        self.have(catalog.complete())
        return catalog

    def names(self, catalog: SharedCatalog) -> list[str]:
        """Return the projects that it lists."""
        return [summary.name for summary in self.have(catalog.local.summaries())]

    def test_clean_stop(self) -> None:
        """After a clean stop absences stay proven, once; what is known is known in any case."""
        self.stop(self.filled(), clean=True)
        for complete in (True, False):
            catalog = self.begun()
            self.assertEqual(self.have(catalog.is_complete()), complete)
            self.assertIsInstance(self.have(catalog.local.get(SPAM)), Project)
            self.assertEqual(self.have(catalog.local.mark(SPAM)), "mark")
            absence = self.have(catalog.local.get(HAM))
            self.assertIs(absence, Presence.ABSENT if complete else Presence.UNKNOWN)
            self.stop(catalog, clean=False)

    def test_changed_since(self) -> None:
        """A note of another state (a file of last week was put back), or none where others may
        write to the storage, proves nothing.
        """
        self.stop(self.filled(), clean=True)
        old = self.file.read_bytes()
        catalog = self.begun()
        self.have(catalog.local.edit(HAM, becomes(a_project(HAM, "1"))))
        self.stop(catalog, clean=True)
        self.file.write_bytes(old)
        catalog = self.begun()
        self.assertFalse(self.have(catalog.is_complete()))
        self.have(catalog.complete())
        self.clean_stop = None
        self.stop(catalog, clean=True)
        self.assertFalse(self.have(self.begun().is_complete()))

    def test_unusable(self) -> None:
        """A catalog that is damaged, or of another storage, is made again; serials go on."""
        self.stop(self.filled(), clean=True)
        whole = self.file.read_bytes()
        for torn in (b"no database" * 1000, whole[: len(whole) // 2], b""):
            self.file.write_bytes(torn)
            catalog = self.begun()
            self.assertEqual((self.names(catalog), self.have(catalog.is_complete())), ([], False))
            self.stop(catalog, clean=False)
        self.file.write_bytes(whole)
        catalog = self.begun("another storage")
        self.assertEqual((self.names(catalog), self.have(catalog.serial())), ([], 1000))
        self.stop(catalog, clean=False)
