"""READMEs by way of a real process: one that does as it should, and all those that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from pypid.flow import start
from pypid.rendering import readmes as module
from pypid.rendering.readmes import LONGEST, SOURCE_NOTE, Readmes, Rendered
from tests.rendering.hostile import RST
from tests.rendering.looking import Looked

reactor: Any = installed
MD = "text/markdown"

SAYS = """
import json, os, sys, time
out = sys.stdout.buffer
def say(document):
    out.write(json.dumps(document).encode() + b"\\n"); out.flush()
def ready():
    say({"number": 0, "html": None})
def hear():
    line = sys.stdin.buffer.readline()
    if not line: sys.exit()
    return json.loads(line)["number"]
"""
"""How a child begins that was made for a test."""
WELL = (
    "ready()\ncount = 0\nwhile number := hear(): count += 1; say({'number': number, 'html': "
    "f'<p>{count}</p>'})"
)
SLOW = (
    "ready()\nwhile number := hear(): time.sleep(0.3); say({'number': number, 'html': "
    "'<p>late</p>'})"
)


def child(code: str) -> tuple[str, ...]:
    """A program that does this."""
    return (sys.executable, "-c", SAYS + code)


class ReadmesCase(TestCase):
    """Ends what it starts."""

    timeout = 60

    def readmes(self, *program: str, **more: float) -> Readmes:
        """Until the end of the test."""
        more = {"patience": 30.0, "limit": 20.0, **more}  # others may use the machine, too
        made = Readmes(reactor, **({"program": program} if program else {}), **more)  # type: ignore[arg-type]
        self.addCleanup(lambda: start(made.end()))
        return made

    def pid(self, readmes: Readmes) -> int:
        """That of the child."""
        assert readmes.child is not None
        return int(readmes.child.transport.pid)

    async def gone(self, pid: int) -> None:
        """Until there is no such process."""
        for _ in range(500):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await deferLater(reactor, 0.02)
        self.fail(f"{pid} is still there")


class WellTests(ReadmesCase):
    """The renderer itself."""

    async def test_rendered(self) -> None:
        """It is started by the first README, goes on with the next ones, and knows those that it
        had.
        """
        readmes = self.readmes()
        self.assertIsNone(readmes.child)
        made = await readmes.html("# *x*\n\n`y`", "text/markdown; charset=UTF-8; variant=GFM", "1")
        self.assertEqual((made.plain, made.cut), (False, False))
        self.assertEqual(made.html, '<h3 id="readme-x"><em>x</em></h3>\n<p><code>y</code></p>\n')
        pid = self.pid(readmes)
        self.assertIn("<em>x</em>", (await readmes.html("*x*", None, "2")).html)
        for text in ("*x", *RST[:6]):
            broken = await readmes.html(text, "text/x-rst", text)
            self.assertEqual((broken.plain, Looked(broken.html).tags), (True, ["p", "pre"]))
        self.assertEqual(self.pid(readmes), pid)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(await readmes.html("# *x*\n\n`y`", MD, "1"), made)
        self.assertTrue((await readmes.html("*x", None, "*x")).plain)
        await self.gone(pid)
        self.assertEqual((await readmes.html("*y*", MD, "3")).html, "<p><em>y</em></p>\n")

    async def test_large(self) -> None:
        """What is as long as may be comes whole, through both pipes; what grows too much is shown
        as it was written.
        """
        readmes = self.readmes(limit=30.0, patience=30.0)
        made = await readmes.html("word ä\n" * (LONGEST // 8), MD, "1")
        self.assertEqual((made.plain, made.html.count("word ä")), (False, LONGEST // 8))
        many = await readmes.html("- [x] \n" * (LONGEST // 8), MD, "2")
        self.assertLess(len(many.html), 5 << 20)
        self.assertTrue(many.plain)

    async def test_ends(self) -> None:
        """It ends with the service; what is asked then is shown as it was written, and starts no
        other.
        """
        readmes = self.readmes()
        await readmes.html("*x*", MD, "1")
        pid = self.pid(readmes)
        await readmes.stopService()
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.assertTrue((await readmes.html("*y*", MD, "2")).plain)
        self.assertIsNone(readmes.child)

    async def test_idle(self) -> None:
        """One that was not needed for a while ends, and the next README starts another."""
        readmes = self.readmes(idle=0.1)
        await readmes.html("*x*", MD, "1")
        pid = self.pid(readmes)
        await self.gone(pid)
        self.assertIsNone(readmes.child)
        self.assertFalse((await readmes.html("*y*", MD, "2")).plain)

    def test_killed(self) -> None:
        """It ends when pypid is killed."""
        code = (
            "import sys\n"
            "from twisted.internet import reactor\n"
            "from pypid.flow import start\n"
            "from pypid.rendering.readmes import Readmes\n"
            "readmes = Readmes(reactor)\n"
            "def said(made):\n    print(readmes.child.transport.pid, made.plain, flush=True)\n"
            "reactor.callWhenRunning(lambda: start(readmes.html('*x*', 'text/markdown', "
            "'1')).addCallback(said))\n"
            "reactor.run()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as pypid:
            assert pypid.stdout is not None
            pid, plain = pypid.stdout.readline().split()
            pypid.kill()
        self.assertEqual(plain, "False")
        return start(self.gone(int(pid)))  # type: ignore[return-value]


class IllTests(ReadmesCase):
    """Children that do not do as they should."""

    async def shown(self, readmes: Readmes, text: str) -> Rendered:
        """That README, as it was written."""
        made = await readmes.html(text, MD, text)
        self.assertEqual(
            made, Rendered(f'{SOURCE_NOTE}<pre class="readme-plain">{text}</pre>', plain=True)
        )
        return made

    async def test_ill(self) -> None:
        """Whatever a child does in place of an answer, the README is shown as it was written, and
        it is ended.
        """
        for code in (
            "sys.exit(1)",
            "ready()\nhear(); sys.exit(0)",
            "ready()\nhear(); os.kill(os.getpid(), 11)",
            (
                "ready()\nhear(); out.write(b'<script>alert(1)</script>' * 1000); out.flush(); "
                "time.sleep(60)"
            ),
            "ready()\nhear(); out.write(b'\\xff\\xff\\n'); out.flush(); time.sleep(60)",
            "ready()\nhear(); out.write(b'[]\\n'); out.flush(); time.sleep(60)",
            "ready()\nsay({'number': hear(), 'html': ['<p>']}); time.sleep(60)",
            "ready()\nsay({'number': hear()}); time.sleep(60)",
            "ready()\nsay({'number': hear() - 1, 'html': '<p>'}); time.sleep(60)",
            "ready(); ready(); time.sleep(60)",
            "ready()\nhear(); os.close(1); time.sleep(60)",
            "ready()\nos.close(0); time.sleep(60)",
            "ready()\nsys.stderr.write('x' * 1000000)\nhear(); raise ValueError('x' * 100000)",
        ):
            readmes = self.readmes(*child(code), limit=1.0)
            await self.shown(readmes, "x")
            self.assertIsNone(readmes.child, code)
            await readmes.end()

    async def test_hangs(self) -> None:
        """One that takes too long is killed; that README is not tried again before a while has
        passed, and others are.
        """
        readmes = self.readmes(*child("ready()\nhear(); time.sleep(60)"), limit=0.2)
        waiting = start(readmes.html("x", MD, "x"))
        while readmes.child is None:
            await deferLater(reactor, 0.01)
        pid = self.pid(readmes)
        self.assertTrue((await waiting).plain)
        await self.gone(pid)
        readmes.program, readmes.limit = child(WELL), 20.0
        await self.shown(readmes, "x")
        self.assertIsNone(readmes.child)
        self.assertEqual((await readmes.html("y", MD, "y")).html, "<p>1</p>")
        self.patch(module, "AGAIN", 0.0)
        readmes._failed.forget(next(iter(readmes._failed._held)))
        self.assertEqual((await readmes.html("x", MD, "x")).html, "<p>2</p>")

    async def test_log(self) -> None:
        """The log says what went wrong, in one line, and no more of what the child said than its
        last one, quoted.
        """
        heard: list[str] = []

        def hear(event: Any) -> None:
            heard.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        await self.shown(
            self.readmes(*child("ready()\nhear(); raise ValueError('\\x1b[31m' + 'x' * 100000)")),
            "x",
        )
        [line] = [line for line in heard if "README" in line]
        self.assertRegex(
            line,
            (
                "^a README is shown as it was written, since its renderer failed: it [^;]*; it "
                "said last: 'x+'$"
            ),
        )
        self.assertLess(len(line), 1200)
        heard.clear()
        failing = "ready()\nsay({'number': hear(), 'html': None, 'error': 'OSError: x'}); hear()"
        await self.shown(self.readmes(*child(failing)), "x")
        self.assertEqual(heard, ["README not rendered, its source is shown: OSError: x"])

    async def test_no_program(self) -> None:
        """One that cannot be started is one that failed."""
        readmes = self.readmes("/nonexistent/python")
        await self.shown(readmes, "x")
        readmes.program = child(WELL)
        self.assertEqual((await readmes.html("y", MD, "y")).html, "<p>1</p>")


class ManyTests(ReadmesCase):
    """Many who want READMEs at the same time."""

    async def test_once(self) -> None:
        """Those who want the same one wait for the same answer, and who goes away takes it from
        nobody.
        """
        readmes = self.readmes(*child(WELL))
        waiting = [start(readmes.html("x", MD, "x")) for _ in range(5)]
        waiting[0].addErrback(lambda _: None)
        waiting[0].cancel()
        found = await gatherResults(waiting[1:])
        self.assertEqual({each.html for each in found}, {"<p>1</p>"})
        self.assertEqual((await readmes.html("y", MD, "y")).html, "<p>2</p>")

    async def test_too_many(self) -> None:
        """No more wait than so many; the others are shown as they were written, and rendered when
        they are wanted again.
        """
        self.patch(module, "MOST_WAITING", 1)
        readmes = self.readmes(*child(SLOW))
        found = await gatherResults(
            [start(readmes.html(f"{number}", MD, f"{number}")) for number in range(4)]
        )
        self.assertEqual([each.plain for each in found], [False, False, True, True])
        self.assertEqual((await readmes.html("3", MD, "3")).html, "<p>late</p>")

    async def test_of_one(self) -> None:
        """Of one project two are made or wait; the rest is shown as it was written, and what other
        projects have is made.
        """
        readmes = self.readmes(*child(SLOW))
        spam = [start(readmes.html(f"{number}", MD, f"{number}", "spam")) for number in range(4)]
        eggs = start(readmes.html("eggs", MD, "eggs", "eggs"))
        found = await gatherResults([*spam, eggs])
        self.assertEqual([each.plain for each in found], [False, False, True, True, False])
        self.assertEqual((await readmes.html("3", MD, "3", "spam")).html, "<p>late</p>")
        self.assertEqual(dict(readmes._of), {})
