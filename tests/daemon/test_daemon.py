"""The daemon's own life, on a clock that stands still until the test moves it."""

import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart, StorageDown
from pypid.daemon import daemon as reconcile
from pypid.daemon.daemon import DRAIN, Daemon
from pypid.daemon.listeners import public
from pypid.daemon.state import open_state
from pypid.flow.derived import ReloadOutcome, Signals
from pypid.index import Index
from pypid.index.store.reconcile import Reconciled
from pypid.web.http.site import Site
from tests.support.engines import a_catalog
from tests.support.worlds import world
from tests.web.routes import ALL_ROUTES


class Storage:
    """An index whose storage is away as often as the test says."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.tries = 0
        self.maintenance = self

    async def reconcile(self) -> Reconciled:
        """Compare."""
        self.tries += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return Reconciled(projects=3, changed=0)


class Draining:
    """A site with connections that end when the test says so."""

    def __init__(self, busy: bool = False) -> None:
        self.busy = busy
        self.told: list[str] = []

    def drain(self) -> None:
        self.told.append("drain")

    def abort(self) -> None:
        self.told.append("abort")
        self.busy = False


class Keeping(MultiService):
    """Jobs that are none."""

    def __init__(self, told: list[str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        self.told = [] if told is None else told

    async def end(self) -> None:
        self.told.append("end")


class DaemonCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name) / "state"
        self.reactor = MemoryReactorClock()
        self.said: list[str] = []
        self.patch(
            reconcile, "_settle", lambda: None
        )  # the collector's generations are the test run's as well

    def daemon(
        self, index: Storage | None = None, site: Draining | None = None, **more: Any
    ) -> Daemon:
        """A daemon that listens on port 8000 of a reactor in memory."""
        given: dict[str, Any] = {
            "index": cast(Index, index or Storage()),
            "signals": Signals(),
            "catalog": a_catalog(),
            "signed_urls": (),
            "maintenance": Keeping(),
            "people": Keeping(),
            "sites": (cast(Site, site or Draining()),),
            "routes": ALL_ROUTES,
            "listening": (public(self.reactor, "tcp:8000", Factory(), None),),
            "certificate": None,
            "state": open_state(self.folder),
            "world": world(self.reactor),
            "reactor": self.reactor,
            "notify": self.said.append,
            "reload_people": self.nothing,
            **more,
        }
        return Daemon(**given)

    async def nothing(self) -> ReloadOutcome:
        """Reload no user."""
        return ReloadOutcome()

    def running(self, **more: Any) -> Daemon:
        """A daemon that was started, in a reactor that runs."""
        daemon = self.daemon(**more)
        daemon.startService()
        self.run_reactor()
        return daemon

    def run_reactor(self) -> None:
        """What waits for the reactor to run."""
        for call, positional, named in self.reactor.whenRunningHooks:
            call(*positional, **named)


class StartTests(DaemonCase):
    def test_ready(self) -> None:
        """READY comes when it listens and the reactor runs, not before; then the storage is
        compared.
        """
        storage = Storage()
        daemon = self.daemon(storage)
        daemon.startService()
        self.assertEqual((self.said, storage.tries), ([], 0))
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8000])
        self.run_reactor()
        self.assertEqual((self.said, storage.tries), (["READY=1", "STATUS=3 projects"], 1))
        self.successResultOf(daemon.stopService())

    def test_tries_again(self) -> None:
        """While the storage is away, or a bug bites, comparing is tried again after 1, 2, 4 ... 60
        s, until it works once.
        """
        troubles: list[Exception] = [
            StorageDown("away."),
            RuntimeError("a bug"),
            *[StorageDown("away.")] * 6,
        ]
        storage = Storage(*troubles)
        daemon = self.running(index=storage)
        moments = []
        for second in range(300):
            before = storage.tries
            self.reactor.advance(1)
            if storage.tries > before:
                moments.append(second + 1)
        self.assertEqual(moments, [1, 3, 7, 15, 31, 63, 123, 183])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("STATUS=3 projects", self.said)
        self.successResultOf(daemon.stopService())

    def test_stopped_meanwhile(self) -> None:
        """A stop ends the tries."""
        storage = Storage(StorageDown("away."))
        daemon = self.running(index=storage)
        self.successResultOf(daemon.stopService())
        self.reactor.advance(100)
        self.assertEqual(storage.tries, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class StopTests(DaemonCase):
    def test_waits(self) -> None:
        """It waits for requests under way, and goes on as soon as they have ended."""
        site = Draining(busy=True)
        stopped = self.running(site=site).stopService()
        self.pass_time(DRAIN - 1)
        self.assertNoResult(stopped)
        with self.assertRaises(CannotStart):
            open_state(self.folder)
        site.busy = False
        self.pass_time(0.1)
        self.successResultOf(stopped)

    def test_cuts(self) -> None:
        """After 10 s what is left is cut."""
        site = Draining(busy=True)
        stopped = self.running(site=site).stopService()
        self.pass_time(DRAIN - 0.2)
        self.assertEqual(site.told, ["drain"])
        self.pass_time(0.3)
        self.assertEqual(site.told, ["drain", "abort"])
        self.successResultOf(stopped)

    def test_hurry(self) -> None:
        """Whoever asks again does not wait."""
        site = Draining(busy=True)
        daemon = self.running(site=site)
        stopped = daemon.stopService()
        daemon.hurry()
        self.pass_time(0.1)
        self.successResultOf(stopped)

    def test_signed_urls(self) -> None:
        """Signed URLs are written when no request and no fetch can change anything any more; till
        then the state is held.
        """
        written: Deferred[bool] = Deferred()
        site = Draining(busy=True)

        class Links:
            async def write(self) -> bool:
                site.told.append("write")
                return await written

        stopped = self.running(
            site=site, signed_urls=(Links(),), maintenance=Keeping(site.told)
        ).stopService()
        self.pass_time(DRAIN + 1)
        self.assertEqual(site.told, ["drain", "abort", "end", "write"])
        self.assertNoResult(stopped)
        with self.assertRaises(CannotStart):
            open_state(self.folder)
        written.callback(True)
        self.successResultOf(stopped)
        open_state(self.folder).release()

    def pass_time(self, seconds: float) -> None:
        """In steps in which a poll may happen."""
        self.reactor.pump([0.05] * round(seconds / 0.05))


class ReloadTests(DaemonCase):
    def test_in_turn(self) -> None:
        """Reloads come one after the other; systemd hears of each, of its begin on its own clock
        and of its end.
        """
        waiting: list[Deferred[None]] = []

        async def people() -> ReloadOutcome:
            waiting.append(Deferred())
            await waiting[-1]
            return ReloadOutcome()

        daemon = self.running(reload_people=people)
        self.said.clear()
        first, second = daemon.reload(), daemon.reload()
        self.assertEqual(len(waiting), 1)
        self.assertRegex(self.said.pop(), r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
        self.assertEqual(self.said, [])
        waiting[0].callback(None)
        self.successResultOf(first)
        self.assertEqual(self.said[0], "READY=1")
        waiting[1].callback(None)
        self.successResultOf(second)
        self.assertEqual(self.said[-1], "READY=1")
        self.successResultOf(daemon.stopService())
        self.said.clear()
        self.successResultOf(daemon.reload())
        self.assertEqual(self.said, [])

    def test_trouble(self) -> None:
        """A reload that fails is logged; it is over all the same."""

        async def people() -> ReloadOutcome:
            raise RuntimeError("a bug")

        daemon = self.running(reload_people=people)
        [problem] = self.successResultOf(daemon.reload()).problems
        self.assertIn("See the log", problem)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.said[-1], "READY=1")
        self.successResultOf(daemon.stopService())


class Others:
    """The other workers, as far as the first one's life goes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ended: Deferred[None] = Deferred()

    def begin(self, sockets: object) -> None:
        self.told.append("begin")

    def reload(self) -> None:
        self.told.append("reload")

    def hurry(self) -> None:
        self.told.append("hurry")

    def stop(self) -> Deferred[None]:
        self.told.append("stop")
        return self.ended


class Bucket(Keeping):
    """A storage far away, where what is of record has to come from first."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: Deferred[None] = Deferred()

    async def prepare(self) -> None:
        await self.prepared

    async def compared(self) -> None:
        """Nothing follows."""


class Access:
    """Nobody is let in yet."""

    is_open = False
