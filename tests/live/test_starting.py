"""What keeps pypid from starting is told in words that say what to do, with exit status 1 and never
a traceback.
"""

import shutil
import socket
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import sdist
from tests.live.processes import BIN, clean_environ, done, free_port, running, scratch

NOBODY = 65534


class StartCase(SynchronousTestCase):
    """A folder with a configuration that can be started, until a test spoils something."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.folder = stack.enter_context(scratch())
        self.ini = self.folder / "pypid.ini"
        self.state = self.folder / "state"
        self.port = free_port()
        self.configure()

    def configure(self, server: str = "", rest: str = "", *, listen: str = "") -> None:
        """Write the configuration."""
        listen = listen or f"tcp:{self.port}:interface=127.0.0.1"
        self.ini.write_text(
            f"[server]\nlisten = {listen}\nstate = {self.state}\n{server}\n{rest}\n"
        )

    def refused(
        self, *words: str, serve: bool = False, environ: dict[str, str] | None = None
    ) -> str:
        """What it says, on both streams, when it does not start: exactly one line that is no
        information, with `words`.
        """
        command = (
            [BIN / "pypid", "serve"]
            if serve
            else [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid"]
        )
        said = done(
            [*command, "--config", self.ini],
            cwd=self.folder,
            environ=clean_environ(**environ or {}),
            status=1,
            timeout=60,
        )
        self.assertNotIn("Traceback", said)
        self.assertNotIn("Usage", said)
        told = [line for line in said.splitlines() if " info " not in line]
        telling = [line for line in told if ": configuration " not in line]  # the first line
        if not self.greeted(said):
            self.assertEqual(len(telling), 1, said)
        for word in words:
            self.assertIn(word, telling[-1])
        return said

    def greeted(self, said: str) -> bool:
        """Whether an admin was made: then the password was printed, as it will not be again."""
        return "This is the first run" in said

    def have_started(self) -> None:
        """Start once, and stop; the catalog then knows one file."""
        packages = self.state / "packages"
        packages.mkdir(parents=True)
        packages.joinpath("spam-1.0.tar.gz").write_bytes(sdist("spam", "1.0"))
        done([BIN / "pypid", "storage", "rebuild", "--config", self.ini])
        self.assertTrue((self.state / "catalog.db").exists())


class ConfigurationTests(StartCase):
    def test_problems(self) -> None:
        """All problems of the configuration are told at once, by twistd and by `pypid serve`,
        without twistd's help.
        """
        self.configure("max_uplod = 1G", "[access]\nread = \x01\n[usrs]\na = b")
        for command in ([BIN / "twistd", "-n", "--pidfile=", "pypid"], [BIN / "pypid", "serve"]):
            said = done([*command, "--config", self.ini], cwd=self.folder, status=1)
            self.assertTrue(said.startswith("pypid: 3 problems in the configuration:\n"), said)
            self.assertEqual(len(said.splitlines()), 4, said)
        self.assertFalse(self.state.exists())


class PortTests(StartCase):
    def test_in_use(self) -> None:
        """A port in use, with twistd and with `pypid serve`: no administrator is created, and no
        password printed.
        """
        with socket.create_server(("127.0.0.1", self.port)):
            for serve in (False, True):
                said = self.refused("Address already in use. Stop what uses that", serve=serve)
                self.assertFalse(self.greeted(said))
        self.assertFalse((self.state / "admin.json").exists())


class StateTests(StartCase):
    def test_second(self) -> None:
        """A second pypid on the same state says so, and the first goes on."""
        with running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log") as first:
            url = f"http://127.0.0.1:{self.port}/simple/"
            first.until_answers(url)
            self.refused("Another pypid is running with the state folder")
            first.until_answers(url, within=2)
            self.assertEqual(first.stop(), 0)


class StorageTests(StartCase):
    def test_gone(self) -> None:
        """A storage folder that is gone, or empty, although the catalog knows files in it, is not
        made anew.
        """
        self.have_started()
        packages = self.state / "packages"
        packages.rename(self.folder / "unmounted")
        self.refused("is not there: mount it")
        self.assertFalse(packages.exists())
        packages.mkdir()
        self.refused("is empty, but the catalog", "Is the disk mounted?")
        shutil.rmtree(packages)
        (self.folder / "unmounted").rename(packages)
        with running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log") as daemon:
            self.assertIn(b"spam", daemon.until_answers(f"http://127.0.0.1:{self.port}/simple/"))
