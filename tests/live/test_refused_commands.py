"""The `pypid` commands where something is wrong: each says in one line what to do, and ends in
time.
"""

import fcntl
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.children import with_us
from tests.distributions import sdist
from tests.live.processes import BIN, clean_environ, done, free_port, running, scratch

NOBODY = 65534


class CommandCase(SynchronousTestCase):
    """A folder with a configuration, and one project in its storage."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.folder = stack.enter_context(scratch())
        self.ini = self.folder / "pypid.ini"
        self.state = self.folder / "state"
        self.port = free_port()
        self.ini.write_text(
            f"[server]\nlisten = tcp:{self.port}:interface=127.0.0.1\nstate = {self.state}\n"
        )
        packages = self.state / "packages"
        packages.mkdir(parents=True)
        (packages / "spam-1.0.tar.gz").write_bytes(sdist("spam", "1.0"))

    def command(self, *words: str | Path, status: int = 0) -> str:
        """What `pypid` said, on both streams."""
        said = done(
            [BIN / "pypid", *words, "--config", self.ini],
            cwd=self.folder,
            status=status,
            timeout=60,
        )
        self.assertNotIn("Traceback", said)
        return said

    def refused(self, *words: str | Path) -> str:
        """The one line that it said when it refused."""
        said = self.command(*words, status=1)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertTrue(said.startswith("pypid: "), said)
        return said


class StoppedTests(CommandCase):
    def test_greets_nobody(self) -> None:
        """A command on a pypid that never ran works and makes no admin: the first start does, and
        prints the password.
        """
        said = self.command("storage", "rebuild")
        self.assertIn("1 file adopted", said)
        self.assertIn("yanked", self.command("project", "yank", "spam", "1.0"))
        self.assertFalse((self.state / "admin.json").exists())
        with running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log") as daemon:
            self.assertIn(b"spam", daemon.until_answers(f"http://127.0.0.1:{self.port}/simple/"))
            self.assertIn("This is the first run", daemon.output())
            self.assertEqual(daemon.stop(), 0)

    def test_unknown(self) -> None:
        """An unknown project, or release, is one line, running or stopped."""
        self.command("storage", "rebuild")
        for again in range(2):
            self.assertIn(
                "There is no project 'nowhere'", self.refused("project", "yank", "nowhere", "1.0")
            )
            self.assertIn(
                "There is no file or release 'spam 9.9'",
                self.refused("project", "yank", "spam", "9.9"),
            )
            if not again:
                manager = running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log")
                daemon = manager.__enter__()
                self.addCleanup(manager.__exit__, None, None, None)
                daemon.until_answers(f"http://127.0.0.1:{self.port}/simple/")

    def test_nobody_to_ask(self) -> None:
        """Delete without --yes and without anybody to ask deletes nothing, and says what to do in a
        script.
        """
        self.command("storage", "rebuild")
        said = self.command("project", "delete", "spam", status=1)
        self.assertIn("nothing was deleted: stdin is not a terminal. Use --yes in scripts.", said)
        self.assertTrue((self.state / "packages/spam-1.0.tar.gz").exists())

    def test_configuration(self) -> None:
        """A bad configuration is told as everywhere, and nothing is made."""
        self.ini.write_text("[server]\nlisten = nonsense\n[usrs]\n")
        said = self.command("project", "yank", "spam", "1.0", status=1)
        self.assertTrue(said.startswith("pypid: 2 problems in the configuration:"), said)


class RunningTests(CommandCase):
    def test_hangs(self) -> None:
        """A pypid that hangs is given 10 s to answer the simplest question; then the command says
        so.
        """
        with running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log") as daemon:
            daemon.until_answers(f"http://127.0.0.1:{self.port}/simple/")
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                begun = time.monotonic()
                said = self.refused("project", "yank", "spam", "1.0")
            finally:
                daemon.process.send_signal(signal.SIGCONT)
            self.assertIn("does not answer within 10 s", said)
            self.assertLess(time.monotonic() - begun, 30)

    def test_ends_meanwhile(self) -> None:
        """A pypid that ends before it has answered leaves the command with advice, not with a
        traceback.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(self.state / "control.sock"))
            control.listen()
            asked = subprocess.Popen(
                [*with_us(), BIN / "pypid", "project", "yank", "-c", self.ini, "spam", "1.0"],
                env=clean_environ(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            control.accept()[0].close()  # it looks whether anybody is there
            with control.accept()[0] as awake:
                awake.recv(65536)
                awake.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                )
            with control.accept()[0] as question:
                self.assertIn(b"PUT /api/projects/spam/releases/1.0/yank", question.recv(65536))
            said, _ = asked.communicate(timeout=30)
        self.assertEqual(asked.returncode, 1, said)
        self.assertIn("pypid ended before it answered", said)
        self.assertEqual(len(said.splitlines()), 1, said)

    def test_interrupted(self) -> None:
        """Ctrl-C ends a command at once, and what it waited for is not waited for any longer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(self.state / "control.sock"))
            control.listen()
            asked = subprocess.Popen(
                # a shell without job control lets its background processes ignore the signal
                [
                    *with_us(),
                    "env",
                    "--default-signal=INT",
                    BIN / "pypid",
                    "storage",
                    "rebuild",
                    "-c",
                    self.ini,
                ],
                env=clean_environ(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            control.accept()[0].close()
            with control.accept()[0] as awake:
                awake.recv(65536)
                asked.send_signal(signal.SIGINT)
                said, _ = asked.communicate(timeout=30)
        self.assertEqual((asked.returncode, said), (130, "pypid: stopped\n"))

    def test_permission(self) -> None:
        """Who may not use the control socket learns who may."""
        if os.geteuid() != 0:
            raise SkipTest("needs to become another user")
        with running([BIN / "pypid", "serve", "-c", self.ini], self.folder / "log") as daemon:
            daemon.until_answers(f"http://127.0.0.1:{self.port}/simple/")
            self.folder.chmod(0o711)
            self.ini.chmod(0o644)
            # imported before the change, since the checkout may be for root alone
            program = (
                "import pypid.cli, pypid.daemon.control, pypid.wiring.configuration, "
                "pypid.cli.request, os\npypid.cli.parser()\n"
                f"os.setgid({NOBODY})\nos.setuid({NOBODY})\n"
                f"pypid.cli.main(['project', 'yank', '-c', {str(self.ini)!r}, 'spam', '1.0'])"
            )
            said = done([BIN / "python", "-c", program], cwd=self.folder, status=1)
        self.assertIn("run this command as root", said)
        self.assertNotIn("Traceback", said)

    def test_busy_state(self) -> None:
        """Between the lock and the socket (a start, an end) a command says that somebody
        is at it.
        """
        with (self.state / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIn("or starts or stops now", self.refused("project", "yank", "spam", "1.0"))
