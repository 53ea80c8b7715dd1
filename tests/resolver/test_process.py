"""A program is run within bounds, and has ended when its run is over."""

import os
import sys
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251  # real processes need the real one
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pypid.core.errors import Busy
from pypid.flow import start
from pypid.resolver.process import MOST, ProgramResult, run


class RunTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def running(
        self, code: str, said: bytes = b"", within: float = 30.0
    ) -> Deferred[ProgramResult]:
        command = [sys.executable, "-c", code]
        environ = {"A": "b", "PATH": "/usr/bin:/bin"}
        return start(
            run(reactor, command, environ=environ, folder=self.folder, stdin=said, within=within)
        )

    async def started(self) -> int:
        """The process that wrote its number into the folder."""
        file = self.folder / "pid"
        for _ in range(400):
            if file.exists() and file.read_text():
                return int(file.read_text())
            await deferLater(reactor, 0.02)  # type: ignore[arg-type]
        raise AssertionError("it did not start")

    def gone(self, process: int) -> None:
        self.assertRaises(ProcessLookupError, os.kill, process, 0)

    async def test_ended(self) -> None:
        """It gets its input, its folder and its environment and nothing else; its status and both
        streams come back.
        """
        code = (
            "import os, sys; print(sys.stdin.read(), os.getcwd(), sorted(os.environ)); "
            "sys.stderr.write('no'); sys.exit(3)"
        )
        ended = await self.running(code, b"spam\n")
        self.assertEqual((ended.status, ended.err), (3, b"no"))
        said = ended.out.decode()
        self.assertTrue(said.startswith(f"spam\n {self.folder.resolve()} ['A', "), said)
        self.assertNotIn("HOME", said)

    async def test_too_long(self) -> None:
        """What takes too long is ended, and that is told."""
        pid = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
        running = self.running(pid, within=1.0)
        with self.assertRaises(Busy) as raised:
            await running
        self.assertIn("longer than 1 s", str(raised.exception))
        self.gone(await self.started())

    async def test_too_much(self) -> None:
        """What says without end is ended, on either stream."""
        for stream in "stdout", "stderr":
            code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
            with self.assertRaises(Busy) as raised:
                await self.running(code)
            self.assertIn(f"more than {MOST} bytes", str(raised.exception))

    async def test_cancelled(self) -> None:
        """When nobody waits any more it is ended, and what waited for it ends after it."""
        running = self.running(
            "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
        )
        process = await self.started()
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        for _ in range(100):
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                break
            await deferLater(reactor, 0.02)  # type: ignore[arg-type]
        self.gone(process)
