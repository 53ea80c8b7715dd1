"""The tests are run by processes side by side: each module once, and what fails is said."""

from __future__ import annotations

import io
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.reporter import Reporter
from twisted.trial.unittest import SynchronousTestCase

from tests.parallel import ORDER, ROOT, QueuedModules, modules, portions

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
