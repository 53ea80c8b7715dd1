"""The tests are run by processes side by side: each module once, and what fails is said."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.reporter import Reporter
from twisted.trial.unittest import SynchronousTestCase

from tests.parallel import ORDER, ROOT, QueuedModules, modules, portions, slowest

FAILS = """
from twisted.trial.unittest import SynchronousTestCase

class SomeTests(SynchronousTestCase):
    def test_good(self):
        pass

    def test_bad(self):
        self.fail("as it should")
"""


class PortionTests(SynchronousTestCase):
    """What is taken at once."""

    def test_all(self) -> None:
        """Every file with tests is taken once, in whatever order; the modules that the order names
        exist.
        """
        wanted = modules(["tests", "tests.core"])
        self.assertEqual(len(wanted), len(list((ROOT / "tests").rglob("test_*.py"))))
        taken = [name for line in portions(wanted) for name in line.split()]
        self.assertEqual(sorted(taken), sorted(wanted))
        named = {f"tests.{name}" for line in ORDER for name in line.split()}
        self.assertEqual(named - set(wanted), set())

    def test_unknown(self) -> None:
        """A name that means no test is an error, not nothing to do."""
        for name in ("tests.nowhere", "tests.core.test_nowhere", "docs"):
            self.assertRaises(FileNotFoundError, modules, [name])


class QueueTests(SynchronousTestCase):
    """One process."""

    def test_failures(self) -> None:
        """A module that fails, or that cannot be imported, is told as trial tells it, and the
        others are run.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, text in (("test_abreast_bad", FAILS), ("test_abreast_torn", "import nowhere")):
            (folder / f"{name}.py").write_text(text)
        self.patch(sys, "path", [*sys.path, str(folder)])
        give, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with give, take:
            for line in (b"test_abreast_bad test_abreast_torn", b"tests.daemon.test_sd_notify"):
                give.send(line)
            give.close()
            said, result = io.StringIO(), Reporter(io.StringIO())
            with redirect_stdout(said):
                QueuedModules(take).run(result)
        self.assertEqual((len(result.failures), len(result.errors)), (1, 1))
        self.assertGreater(result.successes, 1)
        self.assertEqual(
            [line.split()[-1] for line in said.getvalue().splitlines()][-1],
            "tests.daemon.test_sd_notify",
        )

    def test_slowest(self) -> None:
        """The longest times come first, by their value and not by their letters."""
        lines = [
            " 100.2 s     1  tests.b\n",
            "  90.0 s     3  tests.a\n",
            "   9.5 s    77  tests.c\n",
        ]
        said = slowest(io.StringIO("".join(reversed(lines))), 2)
        self.assertEqual(said, "The slowest of 3 modules:\n" + "".join(lines[:2]))

    def test_whole(self) -> None:
        """The command ends with trial's summary of each process, with the modules that took
        longest, and with 0.
        """
        command = [
            sys.executable,
            "-m",
            "tests.parallel",
            "-j1",
            "--temp-directory",
            str(Path(self.mktemp()).absolute()),
        ]
        done = subprocess.run(
            [*command, "tests.daemon.test_sd_notify"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("PASSED (successes=", done.stdout)
        self.assertRegex(
            done.stdout, r"The slowest of 1 modules:\n +\S+ s +\d+  tests.daemon.test_sd_notify\n"
        )

    def test_ended_run_leaves_no_process_behind(self) -> None:
        """The processes with tests end with the command, whether it is asked to end or killed."""
        for sign in signal.SIGTERM, signal.SIGKILL:
            folder = str(Path(self.mktemp()).absolute())
            command = [
                sys.executable,
                "-m",
                "tests.parallel",
                "-j2",
                "--temp-directory",
                folder,
                "tests.web",
            ]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as run:
                self.until(lambda folder=folder: len(processes_naming(folder)) == 3)
                run.send_signal(sign)
                self.assertEqual(run.wait(30), 143 if sign == signal.SIGTERM else -sign)
            self.until(lambda folder=folder: not processes_naming(folder))

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for it."""
        deadline = time.monotonic() + 20
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


def processes_naming(word: str) -> list[str]:
    """The ids of the processes that have the word in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if word.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found
