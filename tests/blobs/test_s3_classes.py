"""Storage classes in S3, towards a fake that does what a test tells it to."""

from __future__ import annotations

from contextlib import aclosing
from unittest.mock import patch
from xml.etree import ElementTree

from pypid.blobs.s3 import store
from pypid.core.errors import Archived, BadRequest, Missing, StorageDown
from pypid.core.model import Blob
from pypid.flow import BytesBody, start, whole
from tests.blobs.bucket import Said, error
from tests.blobs.fake_s3 import does_and_hangs_up, says
from tests.blobs.s3_cases import S3Case

KEY = "spam/spam-1.0+x.zip"
THERE = f"some/prefix-{KEY}"
FAILED = Said(200, b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code></Error>")


class ClassCase(S3Case):
    """A store with one object."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.blobs.write(KEY, BytesBody(b"0123456789"))
        self.before = dict(self.bucket.objects[THERE].headers)
        self.fake.asked.clear()

    async def listed(self) -> list[Blob]:
        async with aclosing(self.blobs.list()) as found:
            return [blob async for blob in found]

    async def read(self) -> bytes:
        return await whole(await self.blobs.read(KEY), 100)

    def stored(self) -> tuple[bytes, dict[str, str]]:
        """The object, and what is said of it."""
        found = self.bucket.objects[THERE]
        return found.data, dict(found.headers)


class MoveTests(ClassCase):
    """`Classes.move`."""

    async def test_moves(self) -> None:
        """It is one copy onto itself, of the very bytes that were looked at; what is said of them
        stays.
        """
        await self.blobs.classes.move(KEY, "GLACIER_IR")
        self.assertEqual(self.fake.operations(), ["HeadObject", "CopyObject"])
        self.assertEqual(
            self.stored(), (b"0123456789", {**self.before, "x-amz-storage-class": "GLACIER_IR"})
        )
        headers = self.fake.asked[-1].headers
        self.assertEqual(headers["x-amz-copy-source"], "/bucket/some/prefix-spam/spam-1.0%2Bx.zip")
        self.assertEqual(headers["x-amz-metadata-directive"], "REPLACE")
        self.assertEqual((await self.blobs.classes.archive_state(KEY)).storage_class, "GLACIER_IR")
        self.assertEqual(await self.read(), b"0123456789")

    async def test_refused(self) -> None:
        """What is missing, changed, archived, of an unknown class or forbidden is each refused as
        what it is.
        """
        for said, kind in (
            (error("NoSuchKey", 404), Missing),
            (error("PreconditionFailed", 412), StorageDown),
            (error("InvalidObjectState", 403), Archived),
            (error("InvalidStorageClass", 400), BadRequest),
            (error("AccessDenied", 403), StorageDown),
        ):
            self.fake.script("CopyObject", says(said))
            await self.assertFailure(start(self.blobs.classes.move(KEY, "STANDARD_IA")), kind)
        self.assertEqual(self.stored(), (b"0123456789", self.before))
        self.assertTrue(any("s3:PutObject" in line for line in self.logged), self.logged)

    async def test_parts(self) -> None:
        """What is larger than one copy can be is copied in parts, each tried again by itself."""
        self.fake.script("UploadPartCopy", says(FAILED), does_and_hangs_up)
        with patch.object(store, "LARGEST_COPY", 9), patch.object(store, "COPY_PART", 3):
            await self.blobs.classes.move(KEY, "GLACIER_IR")
        data, headers = self.stored()
        self.assertEqual(data, b"0123456789")
        self.assertEqual(headers, {**self.before, "x-amz-storage-class": "GLACIER_IR"})
        self.assertEqual(self.bucket.uploads, {})

    async def test_parts_that_fail(self) -> None:
        """A part that cannot be copied ends it: the object is as it was, and nothing
        is left over.
        """
        self.fake.script("UploadPartCopy", says(error("AccessDenied", 403)))
        with patch.object(store, "LARGEST_COPY", 9), patch.object(store, "COPY_PART", 3):
            await self.assertFailure(start(self.blobs.classes.move(KEY, "GLACIER_IR")), StorageDown)
        self.assertEqual(self.stored(), (b"0123456789", self.before))
        self.assertEqual(self.bucket.uploads, {})


class CopyTests(ClassCase):
    """`Classes.copy`."""

    target = ".pypid/held/b1/spam/spam-1.0+x.zip"

    def copied(self) -> tuple[bytes, dict[str, str]]:
        found = self.bucket.objects[f"some/prefix-{self.target}"]
        return found.data, dict(found.headers)

    async def test_copies(self) -> None:
        """The copy has the bytes and the headers of the source, which stays."""
        await self.blobs.classes.move(KEY, "STANDARD_IA")
        await self.blobs.classes.copy(KEY, self.target)
        self.assertEqual(self.copied(), self.stored())
        self.assertEqual(self.copied()[0], b"0123456789")

    async def test_parts(self) -> None:
        """A large object is copied in parts, without reading it here."""
        self.fake.asked.clear()
        with patch.object(store, "LARGEST_COPY", 9), patch.object(store, "COPY_PART", 3):
            await self.blobs.classes.copy(KEY, self.target)
        self.assertEqual(self.copied(), (b"0123456789", self.before))
        self.assertNotIn("GetObject", self.fake.operations())
        self.assertEqual(self.bucket.uploads, {})

    async def test_archived(self) -> None:
        """An archived object cannot be copied; a restored one returns to an ordinary class."""
        await self.blobs.classes.move(KEY, "DEEP_ARCHIVE")
        await self.assertFailure(start(self.blobs.classes.copy(KEY, self.target)), Archived)
        self.bucket.objects[THERE].headers["x-amz-restore"] = (
            'ongoing-request="false", expiry-date="Fri, 21 Dec 2029"'
        )
        await self.blobs.classes.copy(KEY, self.target)
        self.assertNotIn("x-amz-storage-class", self.copied()[1])


class DuplicateTests(ClassCase):
    """`S3Blobs.duplicate`."""

    async def test_is_one_copy(self) -> None:
        """The bytes are not read: one copy inside the bucket, after the key was taken."""
        await self.blobs.duplicate(KEY, "team/x")
        self.assertEqual(self.fake.operations().count("CopyObject"), 1)
        self.assertNotIn("GetObject", self.fake.operations())
        self.assertEqual(self.bucket.objects["some/prefix-team/x"].data, b"0123456789")

    async def test_large_object_is_copied_in_parts(self) -> None:
        """One copy has at most 5 GB."""
        with patch.object(store, "LARGEST_COPY", 9), patch.object(store, "COPY_PART", 3):
            await self.blobs.duplicate(KEY, "team/x")
        self.assertEqual(self.bucket.objects["some/prefix-team/x"].data, b"0123456789")
        self.assertEqual(self.bucket.uploads, {})

    async def test_failed_copy_frees_the_key(self) -> None:
        """An archived source cannot be copied; nothing stays at the target. A key that was taken
        before keeps its bytes.
        """
        await self.blobs.write("team/y", BytesBody(b"before"))
        for target, replace in (("team/x", False), ("team/y", True)):
            self.fake.script("CopyObject", says(error("InvalidObjectState", 403)))
            copying = self.blobs.duplicate(KEY, target, replace=replace)
            await self.assertFailure(start(copying), Archived)
        self.assertNotIn("some/prefix-team/x", self.bucket.objects)
        self.assertEqual(self.bucket.objects["some/prefix-team/y"].data, b"before")


class VersioningTests(ClassCase):
    """`Classes.is_versioned`."""

    async def test_known(self) -> None:
        """A bucket that keeps versions, or kept them once, says so; an unknown answer is None."""
        versioning = (
            b"<VersioningConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
            b"%s</VersioningConfiguration>"
        )
        for said, known in (
            (Said(200, versioning % b"<Status>Enabled</Status>"), True),
            (Said(200, versioning % b"<Status>Suspended</Status>"), True),
            (Said(200, versioning % b""), False),
            (error("AccessDenied", 403), None),
        ):
            self.fake.script("GetBucketVersioning", says(said))
            self.assertEqual(await self.blobs.classes.is_versioned(), known)


class ArchiveTests(ClassCase):
    """What lies in an archive."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.blobs.classes.move(KEY, "DEEP_ARCHIVE")
        self.fake.asked.clear()

    async def test_known(self) -> None:
        """A listing tells, and so does a look; who reads it is told at once, and it is not tried
        again.
        """
        (blob,) = await self.listed()
        self.assertEqual((blob.archived, blob), (True, await self.blobs.stat(KEY)))
        self.assertFalse((await self.blobs.classes.archive_state(KEY)).readable)
        self.fake.asked.clear()
        await self.assertFailure(start(self.read()), Archived)
        self.assertEqual(self.fake.operations(), ["GetObject"])

    async def test_restore(self) -> None:
        """It is asked back with one question, for some days; where that was done before, no other
        one follows.
        """
        await self.blobs.classes.restore(KEY)
        asked = self.fake.asked[-1]
        self.assertEqual((asked.operation, asked.query), ("RestoreObject", {"restore": ""}))
        said = {
            child.tag.rpartition("}")[2]: child
            for child in ElementTree.fromstring(bytes(asked.body))
        }
        self.assertEqual(
            (said["Days"].text, said["GlacierJobParameters"][0].text), ("7", "Standard")
        )
        await self.blobs.classes.restore(KEY)
        self.assertEqual(self.fake.operations().count("RestoreObject"), 1)
        self.assertFalse((await self.blobs.classes.archive_state(KEY)).readable)
        self.bucket.objects[THERE].headers["x-amz-restore"] = (
            'ongoing-request="false", expiry-date="Fri, 21 Dec 2029"'
        )
        self.assertTrue((await self.blobs.classes.archive_state(KEY)).readable)
        self.assertEqual(await self.read(), b"0123456789")
