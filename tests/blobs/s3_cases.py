"""What tests of S3 share: a fake on a port of its own, a store that is open, and a look at what is
left behind.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from pypid.blobs.s3 import signatures, store
from pypid.blobs.s3.objects import Ability
from pypid.blobs.s3.signatures import Address
from pypid.blobs.s3.store import S3Blobs, S3Settings
from pypid.core.configuration.choices import Addressing
from pypid.core.model import Span
from pypid.flow import World, at_once, whole
from pypid.ports import Body
from tests.blobs.bucket import ACCESS, BUCKET, SECRET
from tests.blobs.fake_s3 import EVERYTHING, FakeS3

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
PATIENCE = 0.5


def chance(size: int) -> bytes:
    """Unpredictable, but that all pauses before another try are 0."""
    return bytes(size) if size == 4 else os.urandom(size)


def settings(fake: FakeS3, **more: Any) -> S3Settings:
    """The fake's bucket."""
    given = {
        "access_key": ACCESS,
        "secret_key": SECRET,
        "prefix": "some/prefix-",
        "timeout": PATIENCE,
        **more,
    }
    return S3Settings(**{"bucket": BUCKET, "endpoint_url": fake.url, **given})


def resolved(bucket: str, region: str, endpoint_url: str | None, addressing: Addressing) -> Address:
    """Where the fake is, without reading botocore's rules, which takes a tenth of a second."""
    return Address(f"{endpoint_url}/{bucket}", region)


def abilities(able: Sequence[str]) -> Ability:
    """What a start finds out of a fake that can do this."""
    return Ability(
        *(name in able for name in ("once", "once_in_parts", "once", "checksums", "checksums"))
    )


class S3Case(TestCase):
    """Each test has a fake and a store; all that a test leaves open fails it."""

    timeout = 20
    able: Sequence[str] = EVERYTHING
    probes = False
    """Whether the start finds out what the fake can do; else it is told, which is quicker."""

    async def setUp(self) -> None:
        """Make a fake, open it, and watch the log."""
        # Twisted notices that no address can be reached when it would try the next one
        self.patch(HostnameEndpoint, "_DEFAULT_ATTEMPT_DELAY", 0.01)
        self.reactor: Any = reactor
        self.skew = timedelta()
        self.began = self.reactor.seconds()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._watch)
        self.addCleanup(globalLogPublisher.removeObserver, self._watch)
        self.fake = FakeS3(self.reactor, lambda: self.now() + self.skew, self.able)
        self.bucket = self.fake.bucket
        self.world = World(self.reactor, self.now, at_once, chance)
        self.opened: list[S3Blobs] = []
        if not self.probes:
            self.patch(store, "probe", self._told)
            self.patch(signatures, "resolve", resolved)
        self.blobs = await self.open()
        self.fake.asked.clear()

    def now(self) -> datetime:
        """The time here."""
        return NOW + timedelta(seconds=self.reactor.seconds() - self.began)

    def _watch(self, event: Any) -> None:
        self.logged.append((event.get("log_format") or "").format(**event))

    async def _told(self, *_: object) -> Ability:
        return abilities(self.bucket.able)

    async def open(self, **more: Any) -> S3Blobs:
        """A store in the fake's bucket."""
        given = settings(self.fake, **more)
        blobs = await store.open(given, self.world, self.reactor)
        self.opened.append(blobs)
        return blobs

    async def tearDown(self) -> None:
        """No connection is left, no script failed, nothing secret was logged."""
        await deferLater(self.reactor, 0)  # out of the turn in which the last byte came
        for blobs in self.opened:
            await blobs.close()
        await maybeDeferred(self.fake.port.stopListening)
        self.assertTrue(await self.fake.all_gone(), "a connection is left open")
        self.assertEqual(self.fake.errors, [])
        for line in self.logged:
            for secret in (SECRET, ACCESS, "hush", "Signature="):
                self.assertNotIn(secret, line)

    async def get(self, key: str, span: Span | None = None) -> bytes:
        """What the store gives."""
        return await whole(await self.blobs.read(key, span), 64 << 20)

    async def keys(self, prefix: str = "") -> list[str]:
        """What a listing gives."""
        async with aclosing(self.blobs.list(prefix)) as listing:
            return [blob.key async for blob in listing]

    def stored(self, key: str) -> bytes:
        """What lies in the bucket."""
        return self.bucket.objects["some/prefix-" + key].data

    async def fails(self, kind: type[E], doing: Coroutine[Any, Any, object]) -> E:
        """The exception of this kind that it ends with."""
        try:
            await doing
        except kind as error:
            for secret in (SECRET, ACCESS, "hush", "Signature="):
                self.assertNotIn(secret, f"{error} {error!r} {error.__cause__} {error.__cause__!r}")
            return error
        raise self.failureException(f"no {kind.__name__}")


class Stream:
    """A body that comes once, in pieces of `piece` bytes, and does not say how long it is unless
    `told`.
    """

    def __init__(self, data: bytes, piece: int = 100_003, *, told: bool = False) -> None:
        self._data = data
        self._piece = piece
        self.closed = False
        self.size = len(data) if told else None

    async def __aiter__(self) -> Any:
        for begin in range(0, len(self._data), self._piece):
            yield self._data[begin : begin + self._piece]

    async def aclose(self) -> None:
        self.closed = True


_: type[Body] = Stream
