"""Signed URLs that are written down."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import signed_urls
from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.signed_urls import FILE, Links, WrittenLinks
from pypid.core.model import File, SignedUrl
from pypid.core.packaging.names import project_name
from pypid.ports import Blobs
from tests.support import world
from tests.support.catalog import a_file
from tests.support.worlds import Awaiting

SPAM = project_name("spam")
DAY = timedelta(days=1)


class Signing(MemoryBlobs):
    """Signs a new URL each time that it is asked."""

    signed = 0

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        self.signed += 1
        return SignedUrl(
            f"https://s3.example/{key}?X-Amz-Signature={self.signed}", self._now() + lifetime
        )


class UrlsTests(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name) / "snapshot"
        self.clock = Clock()
        self.world = world(self.clock)
        self.store = Signing(self.world.now)
        self.events: list[object] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.links = self.new()
        self.written = self.of(self.links)

    def new(self) -> Links:
        return Links(cast(Blobs, self.store), self.world, DAY, timedelta(minutes=5))

    def now(self) -> datetime:
        return self.world.now()

    def of(self, links: Links, signer: str = "me") -> WrittenLinks:
        return WrittenLinks(links, self.folder, signer, self.world)

    def url(self, links: Links, version: str = "1") -> str:
        link = self.have(links.link(self.file(version)))
        assert link is not None
        return link.url

    def file(self, version: str) -> File:
        return a_file(SPAM, version)

    def restarted(self, signer: str = "me") -> Links:
        links = self.new()
        self.have(self.of(links, signer).load())
        return links

    def test_other_signer(self) -> None:
        """With other credentials, or another bucket, none of them is."""
        first = self.url(self.links)
        self.have(self.written.write())
        self.assertNotEqual(self.url(self.restarted("somebody else")), first)

    def test_torn(self) -> None:
        """Cut off anywhere, or anything else, it is no loss; and no URL is told to the log."""
        self.url(self.links)
        self.have(self.written.write())
        data = (self.folder / FILE).read_bytes()
        for wrong in (
            *(data[:end] for end in range(0, len(data) - 1, 5)),
            b"\xff\n",
            data.replace(b"expires", b"expired"),
        ):
            (self.folder / FILE).write_bytes(wrong)
            self.assertEqual(self.restarted().good(), [], wrong)
        self.patch(signed_urls, "LARGEST", 10)
        self.assertEqual(self.restarted().good(), [])
        self.assertNotIn("X-Amz-Signature", str(self.events))
        self.assertTrue(self.events)
