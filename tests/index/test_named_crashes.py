"""A process that dies at any step of a publish into a named index, or of its deletion: whatever has a
record has its marker, and no upstream hears the name of it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import NoSuchProject, StorageDown
from pypid.core.model import Blob, SignedUrl, Span
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.index.named_indexes import Indexes
from pypid.ports import Blobs, Body
from tests.index.named import NamedCase
from tests.index.uploads import publishing, signed

SPAM = project_name("spam")
WHEEL = "spam-1.0-py3-none-any.whl"


@define(eq=False)
class Dying:
    """A store in which only so many `steps` succeed that change it: then the process has died."""

    behind: Blobs
    steps: int

    def step(self) -> None:
        """Count a change."""
        if self.steps <= 0:
            raise StorageDown("the process has died.")
        self.steps -= 1

    async def read(self, key: str, span: Span | None = None) -> Body:
        return await self.behind.read(key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            self.step()
            return await self.behind.write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        self.step()
        await self.behind.delete(key)

    async def stat(self, key: str) -> Blob:
        return await self.behind.stat(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        async with aclosing(self.behind.list(prefix)) as listing:
            async for blob in listing:
                yield blob

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self.behind.link(key, lifetime, filename)


class CrashTests(NamedCase, SynchronousTestCase):
    def dying(self, steps: int) -> Indexes:
        """Return the indexes of a process that dies after so many changes of the storage."""
        self.whole, self.store = self.store, Dying(self.store, steps)
        return self.started()

    def after_the_crash(self) -> Indexes:
        """Return the indexes of the next process, after checking what is in the storage; they have
        not compared anything.
        """
        self.store = self.whole
        keys = self.keys()
        has_record = any(key.endswith(f"/team/spam/{WHEEL}.record.json") for key in keys)
        if has_record:
            self.assertIn(".pypid/index-names/spam/team", keys)
        indexes = self.started(compared=False)
        if has_record:
            self.refused(self.index("", indexes).project(SPAM), NoSuchProject)
            self.have(self.index("", indexes).maintenance.reconcile())
            self.refused(self.index("", indexes).project(SPAM), NoSuchProject)
            self.assertEqual(self.told(), [])
        return indexes

    def test_publish(self) -> None:
        """An acknowledged file is there after the next start, and one that was not can be published
        again.
        """
        for steps in range(12):
            self.store = MemoryBlobs(self.world.now)
            self.create("team", self.started())
            dying = self.index("team", self.dying(steps))
            failures: list[object] = []
            start(publishing(dying, signed(b"bytes", WHEEL))).addErrback(failures.append)
            indexes = self.after_the_crash()
            if not failures:
                self.assertEqual(self.files(self.index("team", indexes), "spam"), {WHEEL: b"bytes"})
                self.assertGreater(steps, 3)
                return
            self.publish(self.index("team", indexes), WHEEL, b"bytes")
            self.assertEqual(self.files(self.index("team", indexes), "spam"), {WHEEL: b"bytes"})
        self.fail("The publish never ended.")

    def test_deletion(self) -> None:
        """Names stay private until all files are gone, and another call finishes the deletion."""
        for steps in range(20):
            self.store = MemoryBlobs(self.world.now)
            self.upstream.names_told.clear()
            indexes = self.started()
            team = self.create("team", indexes)
            self.have(publishing(team, signed(b"bytes", WHEEL)))
            dying = self.dying(steps)
            failures: list[object] = []
            start(dying.delete("team", force=True)).addErrback(failures.append)
            indexes = self.after_the_crash()
            if self.keys(".pypid/index"):
                self.have(indexes.delete("team", force=True))
            self.assertEqual(self.keys(".pypid/index"), [], steps)
            self.have(self.index("", indexes).project(SPAM))
            if not failures:
                self.assertGreater(steps, 4)
                return
        self.fail("The deletion never ended.")
