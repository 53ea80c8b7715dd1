"""Signed URLs that several nodes give: the same one, by the engine that they share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.signed_urls import AGAIN, Links
from pypid.catalog.shared import EngineLinks, SharedCatalog
from pypid.core.model import SignedUrl
from pypid.database.engine import Engine
from pypid.ports import Blobs
from tests.blobs.test_signed_urls import Signer, file
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared
from tests.support.worlds import Timed

LIFETIME, BUFFER = timedelta(seconds=100), timedelta(seconds=10)


class SharedLinksCase(Timed, SynchronousTestCase):
    """Two nodes, each with a signer of its own that makes each URL but once."""

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.catalogs: list[SharedCatalog] = []
        self.here, self.there = self.node(), self.node()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(globalLogPublisher.removeObserver, self._hear)

    def _hear(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def engine(self) -> Engine:
        """Another node's way to it."""
        return PlacedEngine(self.clock, self.place)

    def node(self, signer: str = "keys", **more: Any) -> Links:
        """Another node's links."""
        catalog = self.have(open_shared(SharedSettings("storage"), self.engine(), self.world))
        self.addCleanup(lambda: self.have(catalog.close()))
        self.catalogs.append(catalog)
        made = Links(
            cast(Blobs, Numbered(self.clock, len(self.catalogs))),
            self.world,
            LIFETIME,
            BUFFER,
            identity=signer,
            **more,
        )
        made.shared = EngineLinks(catalog.following)
        return made

    def url(self, node: Links, number: int = 1) -> str:
        """What a client is sent to there."""
        link = self.have(node.link(file(number)))
        assert link is not None
        return link.url

    def placed(self, number: int) -> PlacedEngine:
        """The engine of a node."""
        engine = self.catalogs[number].following.engine
        assert isinstance(engine, PlacedEngine)
        return engine


class Numbered(Signer):
    """A signer whose URLs tell which node it is of."""

    def __init__(self, clock: Any, node: int) -> None:
        super().__init__(clock)
        self._node = node

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        made = await super().link(key, lifetime, filename)
        return made and SignedUrl(f"{made.url}&node={self._node}", made.expires, made.signer)


class SharingTests(SharedLinksCase):
    """While the engine is there."""

    def test_links_that_replaced_keys_signed_are_given_by_no_node(self) -> None:
        """A node whose keys are other ones by now does not give what another node signed with the
        keys before.
        """
        for node in (self.here, self.there):
            signer = cast(Numbered, node.blobs)
            node.signer = signer.signer
        first = self.url(self.here)
        for node in (self.here, self.there):
            cast(Numbered, node.blobs).keys = "others"
        self.assertNotEqual(self.url(self.there), first)
        self.assertEqual(self.url(self.here), self.url(self.there))

    def test_nothing_readable(self) -> None:
        """Under what they are kept tells neither the file nor the signer."""
        self.url(self.here)
        [key] = self.place.links
        self.assertNotIn("spam", key)
        self.assertNotIn("keys", key)

    def test_remembered(self) -> None:
        """A node that remembers a URL from before its restart gives the one that others give by
        now; where there is none, all give what it remembers.
        """
        first = self.url(self.here)
        node = self.node()
        node.remember(
            [(file().key or "", SignedUrl("https://s3.example/old", self.world.now() + LIFETIME))]
        )
        self.assertEqual(self.url(node), first)
        node.remember(
            [(file(2).key or "", SignedUrl("https://s3.example/old", self.world.now() + LIFETIME))]
        )
        self.assertEqual(self.url(node, 2), "https://s3.example/old")
        self.assertEqual(self.url(self.there, 2), "https://s3.example/old")


class AwayTests(SharedLinksCase):
    """While it is not."""

    def test_away(self) -> None:
        """Each gives its own, again and again; and soon after the engine is back, all give the
        same.
        """
        for number in (0, 1):
            self.placed(number).is_down = True
        here, there = self.url(self.here), self.url(self.there)
        self.assertNotEqual(here, there)
        self.clock.advance(5)
        self.assertEqual((self.url(self.here), self.url(self.there)), (here, there))
        for number in (0, 1):
            self.placed(number).is_down = False
        self.clock.advance(AGAIN.total_seconds())
        self.assertEqual(self.url(self.here), here)
        self.assertEqual(self.url(self.there), here)
