"""What nodes are to one another beside the catalog: who is believed while
people change elsewhere.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pypid.access.sql.accounts import CONTACT
from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.replica import FRESH, ReplicaFollower
from pypid.catalog.shared import SharedCatalog
from pypid.core.errors import PeopleUnknown
from pypid.core.permissions import Rules
from pypid.core.policy import EVERY_NAME, Claims
from pypid.daemon.identities import open_stores
from pypid.daemon.shared_catalog import Sharing, name_of_node
from pypid.daemon.state import where
from pypid.flow import start
from pypid.flow.derived import Signal, Signals
from pypid.jobs.leases import Shared
from pypid.web.app.app import App, AppSettings
from pypid.wiring.platform import load_config
from pypid.wiring.recipe import make_identities
from tests.catalog.engines import Place, PlacedEngine
from tests.daemon.test_identities import ini
from tests.support.worlds import world


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
                claimed_by=name_of_node(self.folder / "state", here),
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
                await sharing.end()
                await people.end()

        return start(work())

    def go(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
