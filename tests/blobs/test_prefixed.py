"""The part of a store below a prefix."""

from __future__ import annotations

from contextlib import aclosing

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs import files
from pypid.blobs.files import FilesSettings
from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store, part
from pypid.core.errors import Exists, Missing
from pypid.core.model import Blob
from pypid.flow import BytesBody, start, whole
from pypid.ports import Blobs
from tests.blobs.s3_cases import S3Case
from tests.support import contents, world
from tests.support.blobs import BlobsContract
from tests.support.worlds import Awaiting, Fed

TEAM = ".pypid/index/team/"


class Beside(BlobsContract):
    """The contract, in a store that has other blobs, which stay as they are."""

    whole: Blobs

    async def opened(self) -> Blobs:
        """Return the store that the part is a part of."""
        raise NotImplementedError

    async def make(self) -> Blobs:
        self.whole = await self.opened()
        for key in (".pypid/index/team-2/spam/x", ".pypid/index/tea/spam/x", "spam/x"):
            await self.whole.write(key, BytesBody(b"another index's"))
        self.addCleanup(self.check_others)
        return Store(self.whole, TEAM)

    def check_others(self) -> None:
        """Nothing else was touched."""
        others = [key for key in self.have(contents(self.whole)) if not key.startswith(TEAM)]
        self.assertEqual(
            others, [".pypid/index/tea/spam/x", ".pypid/index/team-2/spam/x", "spam/x"]
        )


class MemoryPartContractTests(Beside, SynchronousTestCase):
    """A part of a store in memory keeps the contract."""

    async def opened(self) -> Blobs:
        return MemoryBlobs(world().now)


class FilesPartContractTests(Beside, SynchronousTestCase):
    """A part of a folder keeps the contract."""

    async def opened(self) -> Blobs:
        return await files.open(FilesSettings(self.mktemp(), create=True), world())


class PrefixedTests(Awaiting, SynchronousTestCase):
    """What is special about a part."""

    def setUp(self) -> None:
        super().setUp()
        self.whole: MemoryBlobs = MemoryBlobs(world().now)
        self.part = Store(self.whole, TEAM)

    def test_prefix_is_a_folder(self) -> None:
        """A prefix that does not end a segment is refused: it would mix two indexes."""
        for prefix in ("team", "/", "team//", "/team/"):
            self.assertRaises(ValueError, Store, self.whole, prefix)

    def test_part_of_a_part(self) -> None:
        """A part of a part is one layer over the whole store."""
        inner = part(self.part, "spam/")
        self.have(inner.write("x", BytesBody(b"1")))
        self.assertEqual((inner.backend, inner.prefix), (self.whole, f"{TEAM}spam/"))
        self.assertEqual(self.have(contents(self.whole)), [f"{TEAM}spam/x"])

    def test_keys(self) -> None:
        """In the whole store the keys begin with the prefix; here, and in errors, they do not."""
        blob = self.have(self.part.write("spam/x", BytesBody(b"1")))
        self.assertEqual(blob.key, "spam/x")
        self.assertEqual(self.have(contents(self.whole)), [f"{TEAM}spam/x"])
        self.assertEqual(
            self.have(self.whole.stat(f"{TEAM}spam/x")), evolve(blob, key=TEAM + blob.key)
        )
        error = self.refused(self.part.write("spam/x", BytesBody(b"2")), Exists)
        self.assertEqual(error.key, "spam/x")  # type: ignore[attr-defined]

    def test_errors_of_bodies(self) -> None:
        """An error that names another blob, which the body is read from, is not changed."""
        error = self.refused(self.part.write("spam/x", Fed(Missing("ham/x"))), Missing)
        self.assertEqual(error.key, "ham/x")  # type: ignore[attr-defined]

    def test_provisional(self) -> None:
        """A mark of a part's blob shows in the whole store, until it is confirmed."""
        folder = self.have(files.open(FilesSettings(self.mktemp(), create=True), world()))
        part, marks = Store(folder, TEAM), Store(folder, TEAM)
        blob = self.have(marks.write_provisional("spam/x", BytesBody(b"1")))
        self.assertEqual((blob.key, blob.provisional), ("spam/x", True))
        self.assertTrue(self.have(folder.stat(f"{TEAM}spam/x")).provisional)
        self.refused(marks.write_provisional("spam/x", BytesBody(b"2")), Exists)
        self.have(marks.confirm("spam/x"))
        self.assertFalse(self.have(part.stat("spam/x")).provisional)
        self.have(marks.confirm("spam/nothing"))


class BucketTests(S3Case):
    """The abilities of a bucket, for a part of it."""

    async def setUp(self) -> None:
        await super().setUp()
        self.part = Store(self.blobs, TEAM)
        self.of_bucket = self.blobs.classes.below(TEAM)
        await self.part.write("spam/x", BytesBody(b"0123456789"))

    async def listed(self) -> list[Blob]:
        async with aclosing(self.part.list()) as found:
            return [blob async for blob in found]

    async def test_classes(self) -> None:
        """A blob of the part is moved, copied inside the part, and restored."""
        await self.of_bucket.move("spam/x", "STANDARD_IA")
        self.assertEqual(
            (await self.of_bucket.archive_state("spam/x")).storage_class, "STANDARD_IA"
        )
        await self.of_bucket.copy("spam/x", ".kept/spam/x")
        self.assertEqual([blob.key for blob in await self.listed()], [".kept/spam/x", "spam/x"])
        self.assertEqual(await whole(await self.part.read(".kept/spam/x"), 100), b"0123456789")
        for asked in (
            self.of_bucket.archive_state("spam/nothing"),
            self.of_bucket.move("spam/nothing", "STANDARD_IA"),
            self.of_bucket.copy("spam/nothing", "spam/y"),
            self.of_bucket.restore("spam/nothing"),
        ):
            error = await self.assertFailure(start(asked), Missing)
            self.assertEqual(error.key, "spam/nothing")

    async def test_restores(self) -> None:
        """An archived blob of the part is restored."""
        await self.of_bucket.move("spam/x", "GLACIER")
        await self.of_bucket.restore("spam/x")
        self.assertTrue(self.fake.asked[-1].key.endswith(f"{TEAM}spam/x"))
        self.assertEqual(self.fake.operations()[-1], "RestoreObject")
