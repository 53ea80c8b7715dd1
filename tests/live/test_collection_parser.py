"""What is to be collected, parsed by a real process: as in this one, bounded in time and memory,
and ended with its client.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.collection import CollectOptions
from pypid.core.packaging.collection_request import JSON, parse_collection, parse_dependencies
from pypid.flow import start
from pypid.resolver.collection_parser import collections as module
from pypid.resolver.collection_parser.collections import CollectionParser
from tests.core.packaging.test_lock_files import PYLOCK

reactor: Any = installed
SHA = "a" * 64
LINES = (
    f"Spam>=1; python_version < '3.13'\n-r other\nham==1 --hash=sha256:{SHA} -C x=y\n--pre\n"
    + "".join(f"project-{number}!={number}\n" for number in range(1900))
)
PARTS = [
    ("requirements", LINES.encode()),
    ("requirements", b"eggs"),
    ("pylock.toml", PYLOCK.encode()),
    ("platform", b"linux, windows"),
    ("python", b"3.12 3.13"),
    ("other", b"x"),
]


def comparable(wishes: CollectOptions | None) -> object:
    """All of it but the functions of the locks, of which the results are taken."""
    assert wishes is not None
    pins = [
        {target: sorted(lock.pins_for(target), key=repr) for target in wishes.targets}
        for lock in wishes.locks
    ]
    return evolve(wishes, locks=()), pins


class CollectionParserTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.children: list[Any] = []
        real = module.start_child

        def watched(*given: Any) -> Any:
            self.children.append(real(*given))
            return self.children[-1]

        self.patch(module, "start_child", watched)

    async def parse(self, parts: Sequence[tuple[str, bytes]], **more: Any) -> CollectOptions | None:
        try:
            return await CollectionParser(reactor, **more).parse(parts, "3.12")
        finally:
            self.assertTrue(all(child.has_gone for child in self.children))

    async def refused(self, parts: Sequence[tuple[str, bytes]], **more: Any) -> str:
        try:
            await self.parse(parts, **more)
        except BadRequest as error:
            return str(error)
        raise AssertionError("it was not refused")

    async def test_same_as_in_this_process(self) -> None:
        """Requirements, locks, targets and remarks come back as they are; nothing asked for is
        nothing.
        """
        self.assertEqual(
            comparable(await self.parse(PARTS)), comparable(parse_collection(PARTS, "3.12"))
        )
        json = [(JSON, b'{"requirements": ["spam"], "python": "3.13"}')]
        self.assertEqual(
            comparable(await self.parse(json)), comparable(parse_collection(json, "3.12"))
        )
        self.assertIsNone(await self.parse([("platform", b"linux")]))

    async def test_dependencies(self) -> None:
        """The list of pinned releases comes back as this process would parse it."""
        parts = [("requirements", b"pinned==1.5\nloose>=1\n-e .\n"), *PARTS[2:]]
        parser = CollectionParser(reactor)
        found = await parser.dependencies(parts)
        assert found is not None
        self.assertEqual(found, parse_dependencies(parts))
        self.assertIn(("pinned", "1.5"), {(pin.project, pin.version) for pin in found.pins})
        self.assertEqual([remark.line for remark in found.unpinned], ["loose>=1"])
        self.assertIsNone(await parser.dependencies([]))
        await self.assertFailure(start(parser.dependencies([("pylock.toml", b"=")])), BadRequest)
        self.assertTrue(all(child.has_gone for child in self.children))

    async def test_refusal_comes_back(self) -> None:
        """In the words of the parser."""
        self.assertIn("not TOML", await self.refused([("pylock.toml", b"=")]))
        self.assertIn("not what is expected", await self.refused([(JSON, b"[" * 1_000_000)]))

    async def test_memory_is_bounded(self) -> None:
        """A text that takes more memory than the child may have is refused."""
        text = "\n".join(f"[a.b.c.d.e.f.g{number}]" for number in range(600_000))
        said = await self.refused([("pylock.toml", text.encode())])
        self.assertTrue("memory" in said or "cannot be read" in said, said)

    async def test_time_is_bounded(self) -> None:
        """A child that computes for too long is ended, and the client is told."""
        ready = "import sys, time; sys.stdout.buffer.write(b'\\0\\0\\0\\x02{}'); sys.stdout.flush()"
        program = (sys.executable, "-c", ready + "\nwhile True: pass")
        self.assertIn(
            "within 0.5 s", await self.refused([("pylock.toml", b"x")], program=program, limit=0.5)
        )

    async def test_child_ends_before_a_client_that_went_away_is_forgotten(self) -> None:
        """So the place of a collection is given back when nothing computes any more."""
        ready = "import sys, time; sys.stdout.buffer.write(b'\\0\\0\\0\\x02{}'); sys.stdout.flush()"
        program = (sys.executable, "-c", ready + "\nwhile True: pass")
        parsing = start(self.parse([("pylock.toml", b"x" * 1_000_000)], program=program))
        await deferLater(reactor, 1.0, lambda: None)
        [child] = self.children
        pid = child.transport.pid
        os.kill(pid, 0)
        parsing.cancel()
        await self.assertFailure(parsing, CancelledError)
        self.assertTrue(child.has_gone)
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
