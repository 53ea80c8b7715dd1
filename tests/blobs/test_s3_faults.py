"""What can go wrong between pypid and S3, and what a store makes of it."""

from __future__ import annotations

import os
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater

from pypid.blobs.s3 import client, store
from pypid.blobs.s3.client import MEBI, TRIES
from pypid.core.errors import Exists, StorageDown, StorageFull
from pypid.core.model import Span
from pypid.flow import BytesBody, FileBody, at_once, start
from pypid.flow.coroutines import is_patient
from tests.blobs.bucket import Asked, Said, error
from tests.blobs.fake_s3 import (
    Talk,
    breaks_off,
    does_and_hangs_up,
    hangs_up,
    lies,
    says,
    silent,
    stalls,
)
from tests.blobs.s3_cases import PATIENCE, S3Case, Stream
from tests.support import Fed

SLOW = says(error("SlowDown", 503))
BROKEN = says(error("InternalError", 500))
LARGE = bytes(range(251)) * 40_000
PARTS = os.urandom(2 * MEBI + 12_345)


class BurstTests(S3Case):
    """A store that is overloaded for a moment."""

    async def test_rides_out_a_burst(self) -> None:
        """A burst of 500, 503 and 429 in every operation is ridden out; nobody notices."""
        for operation in ("PutObject", "HeadObject", "GetObject", "ListObjectsV2", "DeleteObject"):
            self.fake.script(
                operation, SLOW, BROKEN, says(Said(503)), says(error("TooManyRequests", 429))
            )
        await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.assertEqual(await self.get("spam/x"), b"bytes")
        self.assertEqual((await self.blobs.stat("spam/x")).size, 5)
        self.assertEqual(await self.keys(), ["spam/x"])
        await self.blobs.delete("spam/x")
        self.assertEqual(self.bucket.objects, {})

    async def test_gives_up(self) -> None:
        """A store that stays overloaded is down, after a bounded number of tries, and nothing is
        stored.
        """
        self.fake.script("PutObject", *[SLOW] * 50)
        await self.fails(StorageDown, self.blobs.write("spam/x", BytesBody(b"bytes")))
        self.assertLess(len(self.fake.asked), 10)
        self.assertEqual(self.bucket.objects, {})
        self.assertTrue(any("503 SlowDown" in line for line in self.logged))


class SilenceTests(S3Case):
    """A store that does not answer, or stops in the middle."""

    async def test_stalls_in_the_middle(self) -> None:
        """A download that stops goes on where it stopped, of the same version."""
        await self.blobs.write("spam/x", BytesBody(LARGE))
        self.fake.script("GetObject", stalls(500_000), stalls(300_000))
        self.assertEqual(await self.get("spam/x"), LARGE)
        ranges = [
            asked.headers.get("range", "")
            for asked in self.fake.asked
            if asked.operation == "GetObject"
        ]
        self.assertEqual(ranges, ["", "bytes=500000-10039999", "bytes=800000-10039999"])

    async def test_takes_nothing(self) -> None:
        """An upload of which the store takes nothing more is tried again."""

        async def asleep(talk: Talk, asked: Asked, said: Said) -> None:
            talk.transport.pauseProducing()
            await talk.wait(2 * PATIENCE)
            talk.transport.resumeProducing()  # to see that the other side has gone

        self.fake.early["PutObject"].append(asleep)
        body = LARGE * 4
        await self.blobs.write("spam/x", BytesBody(body))
        self.assertEqual(self.stored("spam/x"), body)


class ResetTests(S3Case):
    """Connections that end too early."""

    async def test_while_downloading(self) -> None:
        """A download that is cut goes on where it was; no byte is missing or there twice, with a
        span too.
        """
        await self.blobs.write("spam/x", BytesBody(LARGE))
        for span in (None, Span(1000, 9_000_000)):
            self.fake.script(
                "GetObject", breaks_off(1), breaks_off(1_000_000), hangs_up(), breaks_off(0)
            )
            self.assertEqual(
                await self.get("spam/x", span), LARGE[span.start : span.stop] if span else LARGE
            )

    async def test_always(self) -> None:
        """One that is cut again and again without a byte in between is an error, never a short
        body.
        """
        await self.blobs.write("spam/x", BytesBody(LARGE))
        self.fake.script("GetObject", breaks_off(100_000), *[breaks_off(0)] * 30)
        await self.fails(StorageDown, self.get("spam/x"))

    async def test_replaced_meanwhile(self) -> None:
        """A download that would have to go on with another version is an error."""
        await self.blobs.write("spam/x", BytesBody(LARGE))
        self.fake.script("GetObject", breaks_off(100_000))
        body = await self.blobs.read("spam/x")
        self.bucket.objects["some/prefix-spam/x"].etag = '"another"'

        async def rest() -> None:
            async with aclosing(body):
                async for _ in body:
                    pass

        await self.fails(StorageDown, rest())

    async def test_answer_lost(self) -> None:
        """A write that was done, but whose answer got lost, is one of ours and no conflict."""
        self.fake.script("PutObject", does_and_hangs_up)
        blob = await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.assertEqual(blob, await self.blobs.stat("spam/x"))
        self.fake.script("PutObject", hangs_up())
        await self.fails(Exists, self.blobs.write("spam/x", BytesBody(b"others")))


class PartsTests(S3Case):
    """Uploads in parts, of one mebibyte here."""

    async def setUp(self) -> None:
        """Smaller parts are quicker."""
        await super().setUp()
        self.patch(client, "SINGLE", 4 * MEBI)
        self.patch(client, "FILE_PART", MEBI)
        self.patch(client, "HELD_PART", MEBI)

    async def test_each_part_is_repeated(self) -> None:
        """A part that fails is sent again, by itself; all arrive in order."""
        self.fake.script("UploadPart", SLOW, hangs_up(), BROKEN)
        self.fake.early["UploadPart"].append(hangs_up())
        blob = await self.blobs.write("spam/x", Stream(PARTS))
        self.assertEqual(self.stored("spam/x"), PARTS)
        self.assertEqual((blob.size, blob), (len(PARTS), await self.blobs.stat("spam/x")))
        self.assertEqual(self.bucket.uploads, {})

    async def test_out_of_a_file(self) -> None:
        """What lies in a file goes in one request up to the limit, and above it in parts; a part of
        it as well.
        """
        path = Path(self.mktemp())
        single = 4 * MEBI
        data = os.urandom(single) + b"tail"
        path.write_bytes(data)
        self.blobs = await self.open(timeout=10.0)
        for span, puts in ((Span(0, single), 1), (Span(2, single + 4), 0)):
            self.fake.asked.clear()
            await self.blobs.write("spam/x", FileBody(path.open("rb"), span, at_once), replace=True)
            self.assertEqual(self.fake.operations().count("PutObject"), puts)
            self.assertTrue(self.stored("spam/x") == data[span.start : span.stop])

    async def test_gives_up(self) -> None:
        """An upload that fails for good, or whose body does, leaves nothing behind: no object, no
        parts.
        """
        self.fake.script("UploadPart", *[says(error("AccessDenied", 403))] * 9)
        await self.fails(StorageDown, self.blobs.write("spam/x", Stream(PARTS)))
        self.fake.scripts.clear()
        failing = Fed(PARTS, ConnectionResetError("gone"))
        await self.fails(ConnectionResetError, self.blobs.write("spam/x", failing))
        short = Stream(PARTS)
        short.size = len(PARTS) + 1
        await self.fails(EOFError, self.blobs.write("spam/x", short))
        await self.blobs.close()
        self.assertEqual((self.bucket.objects, self.bucket.uploads), ({}, {}))

    async def test_closes_in_time(self) -> None:
        """A store that does not answer keeps nobody from stopping: what was given up stays there
        then.
        """
        self.patch(store, "CLOSING", 0.1)
        self.fake.script("UploadPart", says(error("AccessDenied", 403)))
        self.fake.script("AbortMultipartUpload", *[silent()] * 20)
        await self.fails(StorageDown, self.blobs.write("spam/x", Stream(PARTS)))
        began = self.reactor.seconds()
        await self.blobs.close()
        self.assertLess(self.reactor.seconds() - began, 1)
        self.assertFalse([line for line in self.logged if "aborting an upload" in line])

    async def test_cancelled(self) -> None:
        """An upload that is cancelled while parts are under way takes them away."""
        self.fake.script("UploadPart", *[silent(5)] * 3)
        body = Fed(PARTS)
        writing = start(self.blobs.write("spam/x", body))
        while "UploadPart" not in self.fake.operations():
            await deferLater(self.reactor, 0.01)
        writing.cancel()
        with self.assertRaises(CancelledError):
            await writing
        self.assertTrue(body.closed)
        await self.blobs.close()
        self.assertEqual((self.bucket.objects, self.bucket.uploads), ({}, {}))

    async def test_error_within_success(self) -> None:
        """An ``<Error>`` in a 200 is an error: the parts are put together again, or the upload
        fails.
        """
        self.fake.script(
            "CompleteMultipartUpload", says(Said(200, error("InternalError").body)), SLOW
        )
        await self.blobs.write("spam/x", Stream(PARTS))
        self.assertEqual(self.stored("spam/x"), PARTS)
        self.fake.script(
            "CompleteMultipartUpload", *[says(Said(200, error("InternalError").body))] * 9
        )
        await self.fails(StorageDown, self.blobs.write("spam/y", Stream(PARTS)))
        await self.blobs.close()
        self.assertEqual((len(self.bucket.objects), self.bucket.uploads), (1, {}))

    async def test_completion_lost(self) -> None:
        """Parts that were put together, but whose answer got lost, are the object."""
        self.fake.script("CompleteMultipartUpload", does_and_hangs_up)
        blob = await self.blobs.write("spam/x", Stream(PARTS))
        self.assertEqual(blob, await self.blobs.stat("spam/x"))

    async def test_taken(self) -> None:
        """A key that is taken is refused before anything is sent, and at the end."""
        await self.blobs.write("spam/x", BytesBody(b"first"))
        self.fake.asked.clear()
        body = Stream(PARTS)
        await self.fails(Exists, self.blobs.write("spam/x", body))
        self.assertEqual((self.fake.operations(), body.closed), (["HeadObject"], True))
        slow = Fed(PARTS)
        writing = start(self.blobs.write("spam/y", slow))
        while "UploadPart" not in self.fake.operations():
            await deferLater(self.reactor, 0.01)
        await self.blobs.write("spam/y", BytesBody(b"faster"))
        slow.feed(None)
        with self.assertRaises(Exists):
            await writing
        self.assertEqual(self.stored("spam/y"), b"faster")
        await self.blobs.close()
        self.assertEqual(self.bucket.uploads, {})


class AnswerTests(S3Case):
    """Answers that are not what they should be."""

    async def test_replaced_at_once(self) -> None:
        """A write whose object was replaced or deleted before we looked says what it wrote."""
        self.fake.script(
            "HeadObject",
            lies(ETag='"others"', Content_Length="999", x_amz_meta_pypid_write="others"),
        )
        blob = await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.assertEqual(
            (blob.size, blob.etag), (5, self.bucket.objects["some/prefix-spam/x"].etag.strip('"'))
        )
        self.fake.script("HeadObject", says(Said(404)))
        self.assertEqual((await self.blobs.write("spam/y", BytesBody(b"bytes"))).size, 5)

    async def test_says_nothing_of_a_write(self) -> None:
        """A 200 that says nothing of an object, as a proxy in between may give, is no write, unless
        the object is there.
        """
        self.fake.script("PutObject", says(Said(200, b"<html>welcome</html>")))
        await self.fails(StorageDown, self.blobs.write("spam/x", BytesBody(b"bytes")))
        self.fake.script("PutObject", lies(ETag=""))
        self.assertEqual(
            await self.blobs.write("spam/y", BytesBody(b"bytes")), await self.blobs.stat("spam/y")
        )

    async def test_truncated_listings(self) -> None:
        """A listing that is cut, or does not say whether it ends, is an error and never a shorter
        listing.
        """
        for number in range(5):
            await self.blobs.write(f"spam/{number}", BytesBody(b""))
        self.fake.script("ListObjectsV2", breaks_off(100), stalls(300))
        self.assertEqual(len(await self.keys()), 5)
        whole = self.bucket.answer(self.fake.asked[-1]).body
        for body in (
            whole[:300],
            whole.replace(b"<IsTruncated>false</IsTruncated>", b""),
            whole.replace(b"<IsTruncated>false", b"<IsTruncated>true"),
            whole.replace(b"<Size>0</Size>", b""),
            b"<html></html>",
            b"",
            b'<!DOCTYPE x [<!ENTITY y "z">]>' + whole,
        ):
            self.fake.script("ListObjectsV2", says(Said(200, body)))
            await self.fails(StorageDown, self.keys())

    async def test_disorder(self) -> None:
        """A store that lists in another order is refused: what relies on the order would miss
        things.
        """
        for key in ("a", "b"):
            await self.blobs.write(key, BytesBody(b""))
        await self.keys()
        body = self.bucket.answer(self.fake.asked[-1]).body
        turned = body.replace(b"prefix-a<", b"prefix-c<")
        self.fake.script("ListObjectsV2", says(Said(200, turned)))
        await self.fails(StorageDown, self.keys())


class PatienceTests(S3Case):
    """Requests of a client that waits anyway."""

    async def test_upload_waits_for_a_store_that_comes_back(self) -> None:
        """What belongs to an upload is tried again for up to a minute, with pauses; everything else
        fails after six tries.
        """
        self.assertEqual(client.LEAST_PATIENT_PAUSE, 1.0)
        self.patch(client, "LEAST_PATIENT_PAUSE", 0.1)
        for operation in ("PutObject", "HeadObject"):
            self.fake.script(operation, *[says(Said(503))] * (TRIES + 2))
        await self.fails(StorageDown, self.blobs.write("spam/x", BytesBody(b"bytes")))
        self.fake.scripts.clear()
        before = is_patient.set(True)
        try:
            self.fake.script("PutObject", *[says(Said(503))] * (TRIES + 2))
            began = self.reactor.seconds()
            await self.blobs.write("spam/x", BytesBody(b"bytes"))
            self.assertGreaterEqual(self.reactor.seconds() - began, 0.3)
        finally:
            is_patient.reset(before)
        self.assertEqual(self.stored("spam/x"), b"bytes")


class AccessTests(S3Case):
    """Keys, clocks, rights and room."""

    async def test_bucket_deleted(self) -> None:
        """Without its bucket a store is down; nothing is missing."""
        await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.bucket.gone = True
        await self.fails(StorageDown, self.blobs.read("spam/x"))
        await self.fails(StorageDown, self.blobs.read("spam/x", Span(0, 0)))
        await self.fails(StorageDown, self.blobs.stat("spam/x"))
        await self.fails(StorageDown, self.blobs.delete("spam/x"))
        await self.fails(StorageDown, self.keys())
        problem = await self.fails(StorageDown, self.blobs.write("spam/y", BytesBody(b"bytes")))
        self.assertIn("bucket", str(problem))

    async def test_denied(self) -> None:
        """Where a right is missing the log says which; the client hears only that."""
        no = error("AccessDenied", 403, Message="User arn:aws:iam::1:user/x is not authorized")
        for operation, doing, right in (
            ("PutObject", self.blobs.write("spam/x", BytesBody(b"")), "s3:PutObject"),
            ("GetObject", self.blobs.read("spam/x"), "s3:GetObject"),
            ("HeadObject", self.blobs.stat("spam/x"), "s3:GetObject"),
            ("DeleteObject", self.blobs.delete("spam/x"), "s3:DeleteObject"),
            ("ListObjectsV2", self.keys(), "s3:ListBucket"),
        ):
            self.logged.clear()
            self.fake.script(operation, says(no))
            problem = await self.fails(StorageDown, doing)
            self.assertEqual(problem.reason, "it denies access.")
            self.assertIn(right, "".join(self.logged))

    async def test_full(self) -> None:
        """A store without room is full."""
        for full in (
            error("QuotaExceeded", 403),
            error("XMinioStorageFull", 507),
            Said(507),
            error("EntityTooLarge", 413),
        ):
            self.fake.script("PutObject", says(full))
            await self.fails(StorageFull, self.blobs.write("spam/x", BytesBody(b"bytes")))

    async def test_clock_skew(self) -> None:
        """Where the clocks differ, the store's is believed after its first refusal,
        for links too.
        """
        for hours in (1, -2):
            self.skew = timedelta(hours=hours)
            await self.blobs.write("spam/x", BytesBody(b"bytes"), replace=True)
            self.assertEqual((await self.blobs.stat("spam/x")).size, 5)
            self.fake.asked.clear()
            self.assertEqual(await self.get("spam/x"), b"bytes")
            self.assertEqual(self.fake.operations(), ["GetObject"])
            link = await self.blobs.link("spam/x", timedelta(hours=1))
            assert link is not None
            self.assertEqual(link.expires, self.now().replace(microsecond=0) + timedelta(hours=1))
            self.assertIn((self.now() + self.skew).strftime("%Y%m%dT%H"), link.url)

    async def test_requests_in_flight_together_survive_a_clock_step(self) -> None:
        """Of several requests that were signed before the clock was stepped, each is tried again
        with the corrected time.
        """
        await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.skew = timedelta(hours=3)
        results = await gatherResults(
            [start(self.get("spam/x")) for _ in range(5)], consumeErrors=True
        )
        self.assertEqual(results, [b"bytes"] * 5)

    async def test_mute_refusal_of_a_head_is_logged_with_its_cause(self) -> None:
        """A HEAD that is refused because the key was deleted, the secret replaced or the clock is
        off says so in the log.
        """
        await self.blobs.write("spam/x", BytesBody(b"bytes"))
        for code, words in (
            ("InvalidAccessKeyId", "access_key, secret_key or region"),
            ("SignatureDoesNotMatch", "access_key, secret_key or region"),
            ("RequestTimeTooSkewed", "clock of this machine"),
            ("", "without a reason"),
        ):
            self.logged.clear()
            self.fake.script("HeadObject", says(Said(403)))
            self.fake.script("ListObjectsV2", *([says(error(code, 403))] if code else []))
            await self.fails(StorageDown, self.blobs.stat("spam/x"))
            logged = "".join(self.logged)
            self.assertIn(words, logged)
            self.assertEqual("need the permission" in logged, not code)
