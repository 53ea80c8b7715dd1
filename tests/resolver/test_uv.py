"""What uv is given, what its answers become, and the limits of its process."""

import os
import sys
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251  # real processes need the real one
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.core.errors import Busy, Unauthenticated, Unresolvable
from pypid.core.packaging.requirements import target
from pypid.core.permissions import Credential, Identity
from pypid.daemon.loopback import OneTime
from pypid.flow import start
from pypid.flow.spool import COLLECTING, sweep_collections
from pypid.resolver import uv
from pypid.resolver.uv import MOST, ProgramResult, ResolverIndex, Uv, run

SECRET = "5ecre7"
NO = f"""error: No solution found when resolving dependencies
  cause: Because src was not found in http://u:{SECRET}@127.0.0.1:1/simple/ and \x1b[1myou\x1b[0m require src, we can conclude
         that your requirements are unsatisfiable.
"""


class UvTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ends: list[ProgramResult] = []
        self.ran: list[tuple[list[str], dict[str, str], bytes]] = []
        self.patch(uv, "run", self.run_uv)
        place = ResolverIndex(f"http://u:{SECRET}@127.0.0.1:1/simple/", (SECRET,))
        self.clock = Clock()
        self.uv = Uv(
            reactor=self.clock, program="/x/uv", place=place, folder=Path("/f"), until=10.0
        )

    async def run_uv(self, reactor, command, *, environ, folder, stdin, within) -> ProgramResult:  # type: ignore[no-untyped-def]
        self.ran.append((command, environ, stdin))
        return self.ends.pop()

    def resolve(self, *requirements: str, prereleases: bool = False) -> object:
        return self.successResultOf(
            start(self.uv.resolve(requirements, target("linux", "3.12"), prereleases=prereleases))
        )

    def test_said(self) -> None:
        """The password is in the environment alone; nothing is built, and nobody's configuration is
        read.
        """
        self.ends = [ProgramResult(0, b"spam==1.0\nham==2.0+local\n\n# x\n", b"")]
        self.assertEqual(self.resolve("spam", "ham>1"), [("spam", "1.0"), ("ham", "2.0+local")])
        [(command, environ, stdin)] = self.ran
        self.assertEqual(stdin, b"spam\nham>1\n")
        self.assertNotIn(SECRET, " ".join(command))
        self.assertIn(SECRET, environ["UV_DEFAULT_INDEX"])
        for word in "--no-config", "--no-build", "--no-sources":
            self.assertIn(word, command)
        self.assertEqual(
            command[-5:], ["--python-platform", "linux", "--python-version", "3.12", "-"]
        )
        self.assertEqual(
            (environ["HOME"], environ["UV_CACHE_DIR"], environ["UV_PYTHON_DOWNLOADS"]),
            ("/f", "/f/cache", "never"),
        )
        self.assertNotIn(SECRET, repr(self.uv))

    def test_prereleases(self) -> None:
        """They are allowed where they were asked for."""
        self.ends = [ProgramResult(0, b"", b"")]
        self.resolve("spam", prereleases=True)
        self.assertEqual(self.ran[0][0][-3:], ["--prerelease", "allow", "-"])

    def test_no(self) -> None:
        """uv's explanation comes as one line, without the address, the password and control
        characters.
        """
        self.ends = [ProgramResult(1, b"", NO.encode())]
        failed = self.failureResultOf(
            start(self.uv.resolve(["src"], target("linux", "3.12"), prereleases=False)),
            Unresolvable,
        )
        said = str(failed.value)
        self.assertTrue(said.startswith("Because src was not found in this index and"), said)
        self.assertTrue(said.endswith("unsatisfiable."), said)
        self.assertTrue(said.isprintable(), said)
        self.assertNotIn(SECRET, said)

    def test_odd(self) -> None:
        """What is not understood, a failure, and silence are told as reasons."""
        for ended, words in (
            (ProgramResult(0, b"spam @ file:///x\n", b""), "not understood"),
            (ProgramResult(2, b"", b"error: " + b"x" * 9000), "xxx..."),
            (ProgramResult(None, b"", b""), "did not say why"),
        ):
            self.ends = [ended]
            question = start(self.uv.resolve(["src"], target("linux", "3.12"), prereleases=False))
            self.assertIn(words, str(self.failureResultOf(question, Unresolvable).value))

    def test_in_all(self) -> None:
        """All the runs of a collection together have an end."""
        self.clock.advance(10.0)
        question = start(self.uv.resolve(["src"], target("linux", "3.12"), prereleases=False))
        self.failureResultOf(question, Busy)
        self.assertEqual(self.ran, [])


class LoopbackTests(SynchronousTestCase):
    def test_one_time(self) -> None:
        """Whoever has the password is the person, whatever the user is called; any other password
        is refused.
        """
        access = OneTime(SECRET, Identity("bob"))
        self.assertEqual(
            self.successResultOf(start(access.identify(Credential("x", SECRET)))).user, "bob"
        )
        for password in "", "x", SECRET + "x", "\xe4":
            self.failureResultOf(
                start(access.identify(Credential("bob", password))), Unauthenticated
            )
        self.assertNotIn(SECRET, repr(access))

    def test_sweep(self) -> None:
        """What a crash left is removed, and nothing else."""
        folder = Path(self.mktemp())
        (folder / f"{COLLECTING}x/cache").mkdir(parents=True)
        (folder / "incoming-x").write_bytes(b"")
        sweep_collections(folder)
        self.assertEqual([path.name for path in folder.iterdir()], ["incoming-x"])


class RunTests(TestCase):
    """A program runs within limits, and has ended when its run is over."""

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
