"""The wiring: what is put together for a start, for one command, and for a reload."""

import io
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LoggingFile, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import hash_password
from pypid.core.configuration.in_force import describe, written
from pypid.core.errors import CannotStart, Unauthenticated
from pypid.core.packaging.names import project_name
from pypid.core.permissions import ANONYMOUS, AUTHENTICATED, Action, Credential, may
from pypid.daemon import daemon as processes
from pypid.daemon.daemon import Daemon, Process, ProcessEnded
from pypid.flow import start
from pypid.flow.derived import ReloadOutcome
from pypid.wiring import recipe
from pypid.wiring.greeting import visible_output
from pypid.wiring.platform import Platform, load_config, the_world
from pypid.wiring.recipe import Apps
from tests.database.test_pypicloud_people import pypiclouds
from tests.index.uploads import publishing, sent
from tests.support.examples import SPAM, a_project, becomes
from tests.support.worlds import Awaiting

HASH = hash_password("secret")


class Reactor(MemoryReactorClock):
    """One that counts how often it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    def callFromThread(self, call: Any, *args: Any, **named: Any) -> None:
        call(*args, **named)

    def stop(self) -> None:
        self.stopped += 1


class ServiceCase(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.ini = self.folder / "pypid.ini"
        self.state = self.folder / "pypid-state"
        self.reactor = Reactor()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.configure()

    def configure(self, text: str = "") -> None:
        """Write the configuration."""
        self.ini.write_text(text)

    def make(self, *, serves_clients: bool = True, stdout: Any = None) -> tuple[Daemon, str]:
        """A daemon, and what it prints once it listens."""
        printed = io.StringIO() if stdout is None else stdout
        self.patch(sys, "stdout", printed)
        try:
            daemon = recipe.make_daemon(
                load_config(self.ini), Platform(self.reactor, {}, serves_clients=serves_clients)
            )
            self.addCleanup(daemon.state.release)
            assert daemon.welcome is not None
            try:
                daemon.welcome()
            except CannotStart:
                daemon.state.release()  # the process ends
                raise
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
        return daemon, printed.getvalue()

    def make_with_apps(self) -> tuple[Daemon, Apps]:
        """A daemon, and its apps."""
        made: list[Apps] = []
        make_apps = recipe.make_apps
        self.patch(recipe, "make_apps", lambda *args: made.append(make_apps(*args)) or made[-1])
        daemon, _ = self.make()
        return daemon, made[0]

    def logged(self, level: str) -> list[str]:
        """The formats of what was logged at this level."""
        return [event["log_format"] for event in self.events if event["log_level"].name == level]


class FirstRunTests(ServiceCase):
    def test_greets_once(self) -> None:
        """The first start prints the password, the second nothing, but logs how to get a new one;
        no event holds it.
        """
        daemon, printed = self.make()
        self.assertEqual(self.logged("warn"), [])
        password = printed.split("password  ")[1].split()[0]
        daemon.state.release()
        self.assertEqual(self.make()[1], "")
        self.assertNotIn(password, repr(self.events))
        (warning,) = self.logged("warn")
        self.assertIn("has not logged in yet", warning)

    def test_never_logged(self) -> None:
        """On a machine that looks into its bucket first all that is printed is logged by then: not
        this. But of a daemon that has no terminal nobody would see it elsewhere.
        """
        for place, is_seen in (self.folder / "terminal", True), (Path(os.devnull), False):
            with place.open("w+") as terminal:
                self.patch(sys, "__stdout__", terminal)
                self.patch(sys, "stdout", LoggingFile(Logger()))
                self.assertIs(visible_output(), terminal if is_seen else sys.stdout)
        with io.StringIO() as printed:
            self.patch(sys, "stdout", printed)
            self.assertIs(visible_output(), printed)

    def test_commands_greet_nobody(self) -> None:
        """What is started for one command makes no admin, and listens on the
        control socket alone.
        """
        daemon, printed = self.make(serves_clients=False)
        self.assertEqual((printed, [listening.text for listening in daemon.listening]), ("", [""]))
        self.assertFalse((self.state / "admin.json").exists())
        daemon.state.release()
        self.assertIn("This is the first run", self.make()[1])

    def test_users(self) -> None:
        """Who has users of their own is not greeted."""
        self.configure(f"[users]\nann = {HASH}\n")
        self.assertEqual(self.make()[1], "")
        self.assertFalse((self.state / "admin.json").exists())

    def test_nobody_reads(self) -> None:
        """A password that cannot be printed is not kept either: the next start
        makes another one.
        """

        class Closed(io.StringIO):
            def flush(self) -> None:
                raise BrokenPipeError(32, "Broken pipe")

        with self.assertRaisesRegex(CannotStart, "cannot be printed: Broken pipe"):
            self.make(stdout=Closed())
        self.assertIn("This is the first run", self.make()[1])


class AssemblyTests(ServiceCase):
    def test_memory(self) -> None:
        """A catalog of a storage in memory is gone at the next start."""
        self.configure("[storage]\nbackend = memory\n")
        for _ in range(2):
            daemon, _ = self.make()
            catalog = daemon.catalog
            self.assertEqual(list(self.successResultOf(start(catalog.local.summaries()))), [])
            row = becomes(a_project(SPAM, "1"))
            self.assertIsNotNone(self.successResultOf(start(catalog.local.edit(SPAM, row))))
            self.successResultOf(start(catalog.close()))
            daemon.state.release()

    def test_decisions_in_a_folder_are_read_before_the_reactor_runs(self) -> None:
        """The blocks of a folder are known before the first request can come."""
        daemon, _ = self.make()
        self.assertFalse(daemon.index.context.policy.restrictions.current.is_known)
        daemon.startService()
        self.assertTrue(daemon.index.context.policy.restrictions.current.is_known)

    def test_refused(self) -> None:
        """Whatever keeps it from being put together, the state is free again."""
        self.state.mkdir()
        (self.state / "packages").write_text("a file")
        with self.assertRaisesRegex(CannotStart, "packages cannot be used"):
            self.make()
        (self.state / "packages").unlink()
        self.make()

    def test_endpoints(self) -> None:
        """It listens on all endpoints, in their order, and last on the control socket, which needs
        no lock file.
        """
        self.configure("[server]\nlisten = tcp:8001:interface=127.0.0.1 unix:/run/x.sock\n")
        daemon, _ = self.make()
        daemon.startService()
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8001])
        self.assertEqual(
            [(path, mode, lock) for path, _, _, mode, lock in self.reactor.unixServers],
            [("/run/x.sock", 0o666, True), (str(self.state / "control.sock"), 0o600, False)],
        )


class ReloadTests(ServiceCase):
    def reload(self, daemon: Daemon) -> ReloadOutcome:
        """As SIGHUP does."""
        done: Deferred[ReloadOutcome] = daemon.reload()
        outcome = self.successResultOf(done)
        assert isinstance(outcome, ReloadOutcome)
        return outcome

    def test_reload(self) -> None:
        """Users and rules are those of the file, on both faces; what else changed is named; a bad
        file changes nothing.
        """
        self.configure(f"[users]\nann = {HASH}\n")
        config = load_config(self.ini)
        daemon, apps = self.make_with_apps()
        self.assertEqual([app.rules.read for app in apps], [config.access.read] * 2)

        self.configure(
            f"[server]\nmax_upload = 1G\n[access]\nread = authenticated\noverwrite = "
            f"bob\n[users]\nbob = {HASH}\n"
        )
        self.reload(daemon)
        for app in apps:
            self.assertEqual(app.rules.read, AUTHENTICATED)
            self.assertEqual(app.rules.overwrite.users, {"bob"})
        self.refused(daemon.people.access.identify(Credential("ann", "secret")), Unauthenticated)
        self.assertEqual(
            self.have(daemon.people.access.identify(Credential("bob", "secret"))).user, "bob"
        )
        self.assertIn("[server]", self.events[-1]["later"])

        self.configure("[access]\nread = everyone\n[usrs]\n")
        self.reload(daemon)
        self.assertIn("unknown section", str(self.events[-1]["error"]))
        self.assertEqual([app.rules.read for app in apps], [AUTHENTICATED] * 2)

    def test_named_indexes(self) -> None:
        """Named indexes are those of the file after a reload. A section of an upstream waits for a
        restart, and the indexes wait with it: they may choose it.
        """
        self.configure("[index:team]\nbases = none\nread = alice\n")
        daemon, (public, _) = self.make_with_apps()
        self.configure("[index:team]\nbases = none\nread = bob\n[index:other]\nbases = team\n")
        self.assertEqual(self.reload(daemon).waiting, ())
        self.assertEqual(set(public.indexes.settings), {"team", "other"})
        read = public.indexes.settings["team"].read
        assert read is not None
        self.assertEqual(read.users, {"bob"})

        upstream = "[upstream:cu128]\nurl = https://cu128.example/simple\nonly = torch\n"
        self.configure(f"{upstream}[index:other]\nupstreams = cu128\n")
        waiting = ("[upstream:cu128]", "[index:team]", "[index:other]")
        self.assertEqual(self.reload(daemon).waiting, waiting)
        self.assertEqual(set(public.indexes.settings), {"team", "other"})
        self.configure()
        self.reload(daemon)
        self.assertEqual(set(public.indexes.settings), set())

    def test_index_with_files(self) -> None:
        """An index that is configured again shows the files that it had, not those of its bases."""
        team = "[index:team]\nbases = default\n"
        self.configure(team)
        daemon, (public, _) = self.make_with_apps()
        index = public.indexes.get("team")
        assert index is not None
        self.have(daemon.index.maintenance.reconcile())
        self.have(publishing(index, sent(b"of the team", "spam-1.0.tar.gz")))
        self.configure()
        self.reload(daemon)
        daemon.state.release()
        daemon, (public, _) = self.make_with_apps()
        self.have(daemon.index.maintenance.reconcile())
        self.configure(team)
        self.reload(daemon)
        again = public.indexes.get("team")
        assert again is not None
        [file] = self.have(again.project(project_name("spam"))).files
        self.assertEqual(file.filename, "spam-1.0.tar.gz")

    def test_told(self) -> None:
        """What an administrator is told is in force before and after a reload, on both faces, and
        no secret is in any of it.
        """
        upstream = "[upstream]\nurl = https://ann:hunter2@index.example/simple\n"
        secret = f"[server]\nsecret = {'hunter2' * 9}\n"
        self.configure(f"{secret}{upstream}[access]\nread = everyone\n")
        daemon, apps = self.make_with_apps()
        for app in apps:
            self.assertEqual(written(app.configuration()), describe(load_config(self.ini)))
            self.assertEqual(app.settings.indexes, ("https://(set)@index.example/simple",))
            self.assertEqual(app.settings.place, str(self.state / "packages"))

        self.configure(f"{secret}max_upload = 1G\n{upstream}[access]\nread = authenticated\n")
        self.reload(daemon)
        for app in apps:
            said = {
                f"{section.section}.{line.key}": line
                for section in app.configuration()
                for line in section.lines
            }
            self.assertEqual(
                (said["access.read"].value, said["access.read"].waits), ("authenticated", False)
            )
            self.assertEqual(
                (said["server.max_upload"].value, said["server.max_upload"].waits), ("4G", True)
            )
            self.assertNotIn("hunter2", repr((said, app, app.settings)))

        self.configure("[usrs]\n")
        self.reload(daemon)
        self.assertIn("authenticated", written(apps.public.configuration()))

    def test_people_go_into_a_database(self) -> None:
        """Where pypicloud's people come from its database now, the rules of its file hold until a
        start takes them over.
        """
        said = "[app:main]\nuse = egg:pypicloud\nstorage.dir = %(here)s/packages\n"
        rule = "pypi.default_read = everyone\npackage.secret.user.ann = rw\n"
        self.configure(f"{said}{rule}user.ann = {HASH}\n")
        daemon, apps = self.make_with_apps()
        secret = project_name("secret")
        self.reload(daemon)
        self.configure(f"{said}{rule}pypi.auth = sql\nauth.db.url = sqlite:///%(here)s/auth.db\n")
        self.reload(daemon)
        self.assertIn("Restart pypid", str(self.events[-1]["error"]))
        for app in apps:
            self.assertFalse(may(app.rules, ANONYMOUS, Action.READ, secret))

    def test_people_once_more(self) -> None:
        """Where people are taken over though a pypid has used the storage before, its accounts are
        lost: the log says so.
        """
        pypiclouds(self.folder / "auth.db")
        said = "[app:main]\nuse = egg:pypicloud\nstorage.dir = %(here)s/packages\npypi.auth = sql\n"
        self.configure(f"{said}auth.db.url = sqlite:///%(here)s/auth.db\n")
        (self.folder / "packages").mkdir()
        for number in range(3):
            if number == 2:
                error = self.assertRaises(CannotStart, self.make)
                self.assertIn("accounts-known", str(error))
                (self.folder / "packages/.pypid/accounts-known").unlink()
            daemon, _ = self.make()
            daemon.state.release()
            warned = [text for text in self.logged("warn") if "used this storage before" in text]
            self.assertEqual(len(warned), (0, 0, 1)[number])
            if number == 1:
                (self.state / "accounts.db").unlink()

    def test_elsewhere(self) -> None:
        """The file is found again after twistd has changed the working directory."""
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        self.patch(sys, "stdout", io.StringIO())
        daemon = recipe.make_daemon(load_config(Path("pypid.ini")), Platform(self.reactor, {}))
        self.patch(sys, "stdout", sys.__stdout__)
        self.addCleanup(daemon.state.release)
        os.chdir("/")
        self.reload(daemon)
        self.assertEqual(self.logged("error"), [])
        self.assertEqual(daemon.state.folder, self.state.resolve())


class ProcessTests(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.handlers: dict[int, Any] = {}
        self.patch(processes.signal, "signal", self.handlers.__setitem__)

    def running(self) -> tuple[Process, Daemon]:
        """A process whose reactor runs."""
        daemon, _ = self.make()
        process = Process(daemon, self.reactor)
        process.startService()
        for call, positional, named in self.reactor.whenRunningHooks:
            if call == process._heed:
                call(*positional, **named)
        return process, daemon

    def test_signals(self) -> None:
        """SIGTERM and SIGINT stop the reactor; while it stops, one more does not wait; SIGHUP
        reloads.
        """
        _, daemon = self.running()
        self.assertEqual(set(self.handlers), {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        self.handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertIn(
            "[users], [groups], [projects], [access], [issuer:*] and [index:*] were read again{later}",
            self.logged("info"),
        )
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.handlers[signal.SIGINT](signal.SIGINT, None)
        self.assertEqual(self.reactor.stopped, 2)
        daemon.stopping = True
        self.handlers[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual((self.reactor.stopped, daemon._left), (2, 0.0))

    def test_heeds_first(self) -> None:
        """The handlers are set before anybody is told that it is ready: who is told may send SIGHUP
        at once.
        """
        daemon, _ = self.make()
        process = Process(daemon, self.reactor)
        process.startService()
        self.assertEqual(
            [call for call, *_ in self.reactor.whenRunningHooks], [process._heed, daemon._run]
        )

    def test_cannot_start(self) -> None:
        """Where it cannot listen it ends: for twistd an exception, for Python an exit with status
        1.
        """
        daemon, _ = self.make()

        def startService() -> None:
            raise CannotStart("No port. Take another.")

        self.patch(daemon, "startService", startService)
        error = self.assertRaises(ProcessEnded, Process(daemon, self.reactor).startService)
        self.assertIsInstance(error, Exception)
        self.assertIsInstance(error, SystemExit)
        self.assertEqual((error.code, str(error)), (1, "No port. Take another."))
        self.assertEqual(self.logged("critical"), ["{error}"])


class WorldTests(ServiceCase):
    def test_before_it_runs(self) -> None:
        """Before the reactor runs blocking calls are done at once, and what they
        raise is raised.
        """
        world = the_world(self.reactor)
        self.assertEqual(self.successResultOf(world.blocking(int, "7")), 7)
        self.failureResultOf(world.blocking(int, "x"), ValueError)

        async def both() -> int:
            return await world.blocking(int, "7")

        self.assertEqual(self.successResultOf(start(both())), 7)
