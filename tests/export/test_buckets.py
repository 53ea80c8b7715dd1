"""A tree in a store of blobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import BadRequest, StorageDown
from pypid.core.model import Blob
from pypid.export.buckets import BucketPlace, content_type
from pypid.export.one_pass import export
from pypid.export.options import ExportOptions
from pypid.export.publish import LONGEST, Publishing
from pypid.export.targets import Stamp
from pypid.flow import BytesBody, start, whole
from pypid.ports import Body
from tests.distributions import wheel_filename
from tests.export.trees import BASE, IDENTITY, TreeCase, authority_of
from tests.web.full_app import HTML, J


class Bucket(MemoryBlobs):
    """A store that notes in which order things came and went, and can be away."""

    away = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.order: list[str] = []

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        self.there()
        self.order.append(key)
        return await super().write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        self.there()
        self.order.append(f"-{key}")
        await super().delete(key)

    def there(self) -> None:
        """Raise if it is away."""
        if self.away:
            raise StorageDown("it is away.")

    async def close(self) -> None:
        """Nothing is open."""


class BucketCase(TreeCase):
    """A pypid, and a bucket."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        self.bucket = Bucket(self.pypid.world.now)

    def place(self) -> BucketPlace:
        """A new one, that knows nothing."""

        async def opened() -> Bucket:
            return self.bucket

        return BucketPlace(opened, self.pypid.world)

    def read(self, key: str) -> bytes:
        """What lies there."""

        async def read() -> bytes:
            return await whole(await self.bucket.read(key), 1 << 20)

        return self.have(read())

    def keys_there(self) -> list[str]:
        """All of them."""
        return sorted(self.bucket._held)


class OnceTests(BucketCase):
    """An export."""

    def test_served(self) -> None:
        """The pages are the server's; files come before pages, and pages before lists."""
        filename, data = self.have_wheel()
        self.write(self.place(), copies=True)
        for accept, page in ((J, "index.json"), (HTML, "index.html")):
            self.assertEqual(
                self.read(f"simple/spam/{page}"), self.pypid.get("/simple/spam/", accept).body
            )
            self.assertEqual(self.read(f"simple/{page}"), self.pypid.get("/simple/", accept).body)
        self.assertEqual(self.read(f"packages/spam/{filename}"), data)
        order = self.bucket.order
        steps = [
            f"packages/spam/{filename}.metadata",
            f"packages/spam/{filename}",
            "simple/spam/index.html",
            "simple/index.html",
        ]
        self.assertEqual(sorted(steps, key=order.index), steps)
        self.assertFalse([key for key in order if key.endswith(".gz")])

    def test_again(self) -> None:
        """What is there is left alone; what is gone goes, files last."""
        self.have_wheel()
        self.have_wheel("eggs")
        place = self.place()
        self.write(place, copies=True)
        self.bucket.order.clear()
        again = self.write(place, copies=True, clears=True)
        self.assertEqual((again.counts.copied, self.bucket.order), (0, self.bucket.order))
        self.hide("eggs")
        self.bucket.order.clear()
        self.write(place, copies=True, clears=True)
        self.assertFalse([key for key in self.keys_there() if "eggs" in key])
        gone = [key for key in self.bucket.order if key.startswith("-")]
        self.assertTrue(
            self.bucket.order.index("simple/index.html") < self.bucket.order.index(gone[0])
        )
        self.assertEqual(gone[-1].split("/")[0], "-packages")

    def test_claimed(self) -> None:
        """A bucket with somebody's files, or another index's, is refused."""
        self.bucket._size = 0
        self.have(self.put("own.txt"))
        self.failureResultOf(start(self.writing(self.place())), BadRequest)
        self.have(self.bucket.delete("own.txt"))
        self.write(self.place())
        other = export(
            self.pypid.index, authority_of(self.pypid), self.place(), ExportOptions(), "another"
        )
        failure = self.failureResultOf(start(other), BadRequest)
        self.assertIn("another index", str(failure.value))

    async def put(self, key: str) -> None:
        await self.bucket.write(key, BytesBody(b"own"))

    def test_types(self) -> None:
        """Each page has the type that the server gives it; of files the store knows."""
        for key, said in {
            "simple/index.json": J,
            "simple/spam/index.json": J,
            "simple/spam/index.html": HTML,
            "index.html": HTML,
            "pypi/spam/json": "application/json",
            "pypi/spam/1.0/json": "application/json",
            "integrity/spam/1.0/spam-1.0.tar.gz/provenance": "application/json",
            "rss/updates.xml": "text/xml; charset=utf-8",
            "filter.js": "text/javascript; charset=utf-8",
            "packages/spam/index.html": None,
            "packages/spam/spam-1.0.tar.gz": None,
        }.items():
            self.assertEqual(content_type(key), said, key)


class KeptTests(BucketCase):
    """A bucket that is kept up to date."""

    def test_away(self) -> None:
        """It follows; while it is away that is said once, and then everything is there."""

        async def alone(job: Callable[[], Awaitable[object]]) -> bool:
            await job()
            return True

        made = Publishing(
            self.pypid.index,
            authority_of(self.pypid),
            self.place(),
            ExportOptions(copies=True, base_url=BASE),
            Stamp(IDENTITY, "anonymous"),
            "s3://acme",
            alone,
        )
        made.startService()
        self.have_wheel()
        self.soon(0.5)
        self.assertIn(f"packages/spam/{wheel_filename()}", self.keys_there())
        self.bucket.away = True
        self.have_wheel("eggs")
        self.soon(5)
        self.assertIsNotNone(made.away)
        self.bucket.away = False
        self.soon(LONGEST)
        self.assertIsNone(made.away)
        self.assertIn("simple/eggs/index.html", self.keys_there())
        self.assertIn(b"eggs", self.read("simple/index.html"))
        stopped = made.stopService()
        assert stopped is not None
        self.successResultOf(stopped)

    def soon(self, seconds: float) -> None:
        """So much later."""
        for _ in range(int(seconds / 0.25)):
            self.pypid.clock.advance(0.25)
