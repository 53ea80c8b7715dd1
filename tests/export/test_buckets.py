"""A tree in a store of blobs."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import BadRequest, StorageDown
from pypid.core.model import Blob
from pypid.export.buckets import BucketPlace
from pypid.export.exporter import export
from pypid.export.source import ExportViewer
from pypid.export.tree import ExportOptions
from pypid.flow import BytesBody, start, whole
from pypid.ports import Body
from tests.export.trees import BASE, TreeCase, authority_of
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
        self.assertEqual((again.copied, self.bucket.order), (0, self.bucket.order))
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
        viewer = ExportViewer(self.pypid.index, authority_of(self.pypid))
        other = export(viewer, self.place(), ExportOptions(), "another")
        failure = self.failureResultOf(start(other), BadRequest)
        self.assertIn("another index", str(failure.value))

    async def put(self, key: str) -> None:
        await self.bucket.write(key, BytesBody(b"own"))
