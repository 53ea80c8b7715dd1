"""Files that are sent to S3 while they are still being received."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from pypid.blobs.s3 import object_writer, payloads
from pypid.blobs.s3.payloads import MEBI
from pypid.core.errors import Exists, StorageDown
from pypid.core.model import Blob
from pypid.flow import BytesBody, at_once, start
from pypid.flow.growing_file import GrowingFile
from tests.blobs.bucket import Said, error
from tests.blobs.fake_s3 import hangs_up, says, silent
from tests.blobs.s3_cases import S3Case

DATA = os.urandom(5 * MEBI + 7)
SLOW = says(error("SlowDown", 503))


class Growing:
    """A file that a test fills."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.body = GrowingFile(self.file, at_once, 1 << 30)  # type: ignore[arg-type]

    def fill(self, start: int, stop: int) -> None:
        """Append these bytes of `DATA`."""
        os.pwrite(self.file.fileno(), DATA[start:stop], start)
        self.body.grew(stop)


class GrowingFileTests(S3Case):
    """Parts of one mebibyte are sent as soon as they are in the file."""

    async def setUp(self) -> None:
        """Smaller parts are quicker."""
        await super().setUp()
        self.patch(payloads, "SINGLE", 4 * MEBI)
        self.patch(payloads, "HELD_PART", MEBI)
        self.growing = Growing()

    def write(self, key: str = "spam/x") -> Deferred[Blob]:
        """Begin to write the growing file."""
        return start(self.blobs.write(key, self.growing.body))

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds."""
        while not condition():
            await deferLater(self.reactor, 0.01)

    def parts(self) -> list[bytes]:
        """The parts that the store has, in order."""
        ((_, _, parts),) = self.bucket.uploads.values()
        return [parts[number] for number in sorted(parts)]

    async def test_parts_are_sent_while_the_file_grows(self) -> None:
        """Each part is sent once more bytes follow it; the object appears at the end, and is the
        same as the file.
        """
        writing = self.write()
        self.growing.fill(0, 2 * MEBI)
        await deferLater(self.reactor, 0.05)
        self.assertEqual(self.fake.operations(), [])
        self.growing.fill(2 * MEBI, 4 * MEBI)
        await self.until(lambda: self.bucket.uploads and len(self.parts()) == 3)
        self.assertEqual(b"".join(self.parts()), DATA[: 3 * MEBI])
        self.growing.fill(4 * MEBI, len(DATA))
        await self.until(lambda: len(self.parts()) == 5)
        self.assertEqual((await self.keys(), self.bucket.objects), ([], {}))
        self.growing.body.end(len(DATA))
        blob = await writing
        self.assertEqual((blob, blob.size), (await self.blobs.stat("spam/x"), len(DATA)))
        self.assertTrue(self.stored("spam/x") == DATA)
        self.assertEqual((self.bucket.uploads, self.growing.file.closed), ({}, True))

    async def test_sizes_around_those_of_parts(self) -> None:
        """A file of one part, or a little more, arrives whole; the smaller ones in one request."""
        for size, operation in (
            (0, "PutObject"),
            (MEBI, "PutObject"),
            (MEBI + 1, "UploadPart"),
            (2 * MEBI, "UploadPart"),
            (3 * MEBI, "UploadPart"),
        ):
            self.growing = Growing()
            self.fake.asked.clear()
            writing = self.write(f"spam/{size}")
            self.growing.fill(0, size)
            self.growing.body.end(size)
            self.assertEqual((await writing).size, size)
            self.assertTrue(self.stored(f"spam/{size}") == DATA[:size])
            self.assertEqual(
                self.fake.operations().count(operation), max(1, -(-size // MEBI)), size
            )

    async def test_store_that_is_exclusive_in_one_request_only(self) -> None:
        """Where a conditional write in parts does not exist, one request is used as far as for
        other files.
        """
        self.bucket.able = ("once", "checksums")
        self.blobs = await self.open()
        for size, puts in ((4 * MEBI, 1), (4 * MEBI + 1, 0)):
            self.growing = Growing()
            self.fake.asked.clear()
            writing = self.write(f"spam/{size}")
            self.growing.fill(0, size)
            self.growing.body.end(size)
            await writing
            self.assertEqual(self.fake.operations().count("PutObject"), puts)
            self.assertTrue(self.stored(f"spam/{size}") == DATA[:size])

    async def test_parts_are_repeated(self) -> None:
        """A part that the store refuses for a moment is read from the file again."""
        self.fake.script("UploadPart", SLOW, hangs_up(), SLOW)
        writing = self.write()
        self.growing.fill(0, len(DATA))
        self.growing.body.end(len(DATA))
        await writing
        self.assertTrue(self.stored("spam/x") == DATA)

    async def test_completion_that_fails_within_a_success(self) -> None:
        """A completion that is refused with a status of 200 is repeated."""
        self.fake.script("CompleteMultipartUpload", says(Said(200, error("InternalError").body)))
        writing = self.write()
        self.growing.fill(0, len(DATA))
        self.growing.body.end(len(DATA))
        await writing
        self.assertTrue(self.stored("spam/x") == DATA)

    async def test_gives_up(self) -> None:
        """A write that is cancelled, whatever it is doing, takes its parts away."""
        for filled in (0, 2 * MEBI, 5 * MEBI):
            self.growing = Growing()
            writing = self.write()
            self.growing.fill(0, filled)
            await deferLater(self.reactor, 0.05)
            writing.cancel()
            with self.assertRaises(CancelledError):
                await writing
            self.assertTrue(self.growing.file.closed)
            await self.blobs._writer.settled()
            self.assertEqual((self.bucket.objects, self.bucket.uploads), ({}, {}))

    async def test_part_that_is_refused_ends_the_others(self) -> None:
        """A part that fails for good ends the write, also while another one waits for its answer."""
        self.fake.script("UploadPart", silent(10), says(error("AccessDenied", 403)))
        writing = self.write()
        self.growing.fill(0, 4 * MEBI)
        await self.until(lambda: self.fake.operations().count("UploadPart") >= 2)
        began = self.reactor.seconds()
        self.growing.fill(4 * MEBI, len(DATA))
        self.growing.body.end(len(DATA))
        with self.assertRaises(StorageDown):
            await writing
        self.assertLess(self.reactor.seconds() - began, 5)
        await self.blobs._writer.settled()
        self.assertEqual((self.bucket.objects, self.bucket.uploads), ({}, {}))

    async def test_parts_of_all_uploads_are_bounded(self) -> None:
        """However many files come at once, so many parts are sent at the same time."""
        self.patch(object_writer, "MOST_AT_ONCE", 2)
        self.blobs = await self.open(timeout=10.0)
        self.fake.script("UploadPart", *[silent(20)] * 2)
        files = [Growing() for _ in range(3)]
        writing = [start(self.blobs.write(f"spam/{id(each)}", each.body)) for each in files]
        for each in files:
            each.fill(0, len(DATA))
        await self.until(lambda: len(self.bucket.uploads) == 3)
        await deferLater(self.reactor, 0.1)
        self.assertEqual(self.fake.operations().count("UploadPart"), 2)
        for result in writing:
            result.cancel()
            with self.assertRaises(CancelledError):
                await result
        self.assertEqual(self.fake.operations().count("UploadPart"), 2)

    async def test_upload_that_was_swept(self) -> None:
        """A write whose parts an administrator swept meanwhile fails, and stores nothing."""
        writing = self.write()
        self.growing.fill(0, 4 * MEBI)
        await self.until(lambda: self.bucket.uploads and len(self.parts()) == 3)
        self.bucket.uploads.clear()
        self.growing.fill(4 * MEBI, len(DATA))
        self.growing.body.end(len(DATA))
        with self.assertRaises(StorageDown):
            await writing
        self.assertEqual(self.bucket.objects, {})

    async def test_taken(self) -> None:
        """A key that is taken before the file ends keeps its bytes."""
        for able in (("once", "once_in_parts", "checksums"), ()):
            self.bucket.able = able
            self.blobs = await self.open()
            self.growing = Growing()
            key = f"spam/{len(able)}"
            writing = self.write(key)
            self.growing.fill(0, 4 * MEBI)
            await self.until(lambda: self.bucket.uploads and len(self.parts()) == 3)
            await self.blobs.write(key, BytesBody(b"faster"))
            self.growing.fill(4 * MEBI, len(DATA))
            self.growing.body.end(len(DATA))
            with self.assertRaises(Exists):
                await writing
            self.assertEqual(self.stored(key), b"faster")
            await self.blobs._writer.settled()
            self.assertEqual(self.bucket.uploads, {})
