"""A second pypid is an index like any other: it keeps the contract, and says everything that it
knows.
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Listing
from pypid.flow import whole
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.ports import Upstream
from pypid.upstream.client import Base, FileHosts, UpstreamClient
from pypid.upstream.indexes import PageReader, Several, SimpleUpstream
from tests.distributions import sdist, wheel, wheel_filename
from tests.support import UpstreamContract
from tests.support.upstream import FILENAME, SPAM
from tests.support.worlds import Awaiting, world
from tests.upstream.chain import Wires
from tests.web.full_app import J, Pypid, content, form

T = TypeVar("T")


class Chained(Awaiting):
    """There is a pypid with one file, and an upstream that asks it."""

    def setUp(self) -> None:
        """Both."""
        self.pypid = Pypid(Path(self.mktemp()))
        self.wires = Wires(self.pypid.site, self.pypid.clock)
        super().setUp()

    def publish(self, filename: str, data: bytes) -> None:
        """Put a file into the pypid behind."""
        parts = [
            ('name=":action"', "file_upload"),
            ('name="protocol_version"', "1"),
            content(filename, data),
        ]
        kind = ("Content-Type", "multipart/form-data; boundary=b")
        answer = self.pypid.ask("POST", "/legacy/", kind, body=form(parts, "b"), user="alice")
        self.assertEqual(answer.status, 200, answer)

    def index(self) -> SimpleUpstream:
        """An upstream that asks the pypid."""
        world = self.pypid.world
        asker = UpstreamClient(
            self.wires.agent(),
            world.clock,
            "pypid-near",
            10.0,
            FileHosts.of(("http://far.example/",)),
        )
        return SimpleUpstream(
            Base.parse("http://far.example/simple/"), asker, world, PageReader(world.thinking)
        )

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, while bytes flow."""
        return self.wires.have(coroutine)

    def refused(
        self, coroutine: Coroutine[Any, Any, object], kind: type[BaseException]
    ) -> BaseException:
        """The exception that it ends with."""
        with self.assertRaises(kind) as context:
            self.have(coroutine)
        error: BaseException = context.exception
        return error

    def take_away(self) -> None:
        """The pypid is gone."""
        self.wires.take_away()


class PypidContractTests(Chained, UpstreamContract, SynchronousTestCase):
    """An upstream in front of a pypid keeps the contract."""

    async def make(self) -> tuple[Upstream, bytes]:
        data = sdist("spam", "1.0")
        self.publish(FILENAME, data)
        return self.index(), data


class SeveralContractTests(Chained, UpstreamContract, SynchronousTestCase):
    """So do several."""

    async def make(self) -> tuple[Upstream, bytes]:
        data = sdist("spam", "1.0")
        self.publish(FILENAME, data)
        return Several([self.index(), self.index()], [CircuitBreaker(world())]), data


class PypidTests(Chained, SynchronousTestCase):
    """What two pypids tell each other."""

    def said(self, known: Listing | None = None) -> Listing:
        """What the one behind says of spam."""
        return self.have(self.index().project(SPAM, known, ()))

    def test_everything(self) -> None:
        """Everything that a page of ours says of a file is understood, and its metadata is where it
        should be.
        """
        filename = wheel_filename("spam", "2.0")
        self.publish(filename, wheel("spam", "2.0"))
        [ours] = self.pypid.page("spam")["files"]
        [file] = self.said().files or ()
        self.assertEqual(file.sha256, ours["hashes"]["sha256"])
        self.assertEqual(file.size, ours["size"])
        self.assertEqual(file.metadata_sha256, ours["core-metadata"]["sha256"])
        self.assertTrue(file.metadata_offered)
        assert file.uploaded is not None and file.source is not None
        metadata = self.have(self.index().fetch(f"{file.source}.metadata", None, ()))
        self.assertIn(b"Name: spam", self.have(whole(metadata, 9999)))

    def test_not_modified(self) -> None:
        """The ETag of our pages is one that we send back."""
        self.publish(FILENAME, sdist("spam", "1.0"))
        known = self.said()
        self.assertIsNotNone(known.etag)
        self.said(known)
        answer = self.pypid.get("/simple/spam/", J)
        self.assertEqual(answer["etag"], known.etag)
        self.assertIn(" 304 ", self.pypid.log[-2])
