"""The `pypid` commands where something is wrong: each says in one line what to do, and ends in
time.
"""

import os
import signal
import socket
import subprocess
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


class RunningTests(CommandCase):
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
                "import pypid.cli, pypid.daemon.control, pypid.wiring.platform, "
                "pypid.cli.request, os\npypid.cli.parser()\n"
                f"os.setgid({NOBODY})\nos.setuid({NOBODY})\n"
                f"pypid.cli.main(['project', 'yank', '-c', {str(self.ini)!r}, 'spam', '1.0'])"
            )
            said = done([BIN / "python", "-c", program], cwd=self.folder, status=1)
        self.assertIn("run this command as root", said)
        self.assertNotIn("Traceback", said)
