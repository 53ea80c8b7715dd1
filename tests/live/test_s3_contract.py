"""What every `Blobs` keeps, kept by `pypid.blobs.s3` towards servers that verify signatures; and
what only they can tell.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import tempfile
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve
from twisted.internet.defer import DeferredList
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.s3.store import S3Blobs, S3Settings
from pypid.core.configuration.choices import Encryption
from pypid.core.errors import CannotStart, Exists, StorageDown
from pypid.core.model import Blob, Span
from pypid.flow import BytesBody, FileBody, start, whole
from pypid.ports import Blobs, Body
from tests.live.stores import Answer
from tests.live.stores.waiting import OverSockets
from tests.support.blobs import ODD_KEYS, BlobsContract
from tests.support.worlds import Fed, contents

MEBIBYTE = 1 << 20
PREFIX = "some packages+\u00e9%2F/of ours/"


class ContractTests(OverSockets, BlobsContract, SynchronousTestCase):
    """The contract."""

    async def make(self) -> Blobs:
        return await self.opened(self.told(self.s3, self.s3.bucket("contract")))


class TruthTests(OverSockets, SynchronousTestCase):
    """What no fake can tell."""

    settings = S3Settings(bucket="", prefix=PREFIX)

    def setUp(self) -> None:
        super().setUp()
        self.bucket = self.s3.bucket("truths")
        self.blobs: S3Blobs = self.have(self.opened(self.told(self.s3, self.bucket)))

    def asked(self, method: str, key: str) -> Answer:
        """What the store itself says of a key."""
        return self.s3.ask(method, f"/{self.bucket}/{PREFIX}{key}")

    def cannot_open(self, **changed: Any) -> str:
        """Why not, with these settings."""
        settings = evolve(self.told(self.s3, self.bucket), **changed)
        return str(self.refused(self.opened(settings), CannotStart))

    # --- links ---

    def test_links(self) -> None:
        """A link to any key gives its bytes, as a file of its name and of a type that nobody
        unpacks, and nothing else.
        """
        for key in ODD_KEYS:
            self.have(self.blobs.write(key, BytesBody(key.encode())))
            link = self.have(self.blobs.link(key, timedelta(minutes=1)))
            assert link is not None
            parts = urlsplit(link.url)
            self.assertEqual(f"{parts.scheme}://{parts.netloc}", self.s3.endpoint)
            target = f"{parts.path}?{parts.query}"
            answer = self.s3.send("GET", target)
            self.assertEqual((answer.status, answer.body), (200, key.encode()), key)
            self.assertTrue(
                answer.headers["Content-Disposition"].startswith("attachment; filename="), key
            )
            self.assertEqual("json" in answer.headers["Content-Type"], key.endswith(".json"))
            self.assertEqual(
                self.s3.send("GET", target, headers={"Range": "bytes=2-4"}).body, key.encode()[2:5]
            )
            self.assertEqual(
                self.s3.send(
                    "GET",
                    target.replace("expires=60", "expires=61").replace("Expires=60", "Expires=61"),
                ).status,
                403,
            )

    # --- large ones ---

    def test_large(self) -> None:
        """A large body, out of a stream or a file, arrives whole by parts; nothing of them is left,
        nor of one that fails.
        """
        stream = bytes(range(251)) * (80 * MEBIBYTE // 251)
        for key, size, body in (
            ("spam/stream", 20 * MEBIBYTE, lambda data: Fed(*pieces(data), None)),
            ("spam/file", len(stream), self.file),
        ):
            data = stream[:size]
            written = self.have(self.blobs.write(key, body(data)))
            self.assertEqual((written.size, written), (size, self.have(self.blobs.stat(key))))
            self.assertIn("-", written.etag)
            self.assertEqual(self.digest(key), sha256(data).hexdigest())
            span = Span(size - 9 * MEBIBYTE, size - 1)
            self.assertEqual(
                self.digest(key, span), sha256(data[span.start : span.stop]).hexdigest()
            )
            self.refused(self.blobs.write(key, body(data)), Exists)
        failing = Fed(*pieces(stream[: 20 * MEBIBYTE]), ConnectionResetError("gone"))
        self.refused(self.blobs.write("spam/failing", failing), ConnectionResetError)
        self.have(self.blobs._writer.settled())
        self.assertEqual(self.have(contents(self.blobs)), ["spam/file", "spam/stream"])
        self.assertEqual(
            self.s3.ask("GET", f"/{self.bucket}", query={"uploads": ""}).find("UploadId"), []
        )

    def file(self, data: bytes) -> Body:
        """A body out of a file."""
        made = tempfile.TemporaryFile()  # noqa: SIM115
        made.write(data)
        made.flush()
        return FileBody(made, Span(0, len(data)), self.world.blocking)

    def digest(self, key: str, span: Span | None = None) -> str:
        """Of what is read."""

        async def read() -> str:
            hashed = sha256()
            async with aclosing(await self.blobs.read(key, span)) as body:
                async for piece in body:
                    hashed.update(piece)
            return hashed.hexdigest()

        return self.have(read())

    # --- once ---

    def test_one_of_many(self) -> None:
        """Of many who write a key at once exactly one wins, whole, and all others are told
        `Exists`; small bodies and large.
        """
        bodies: tuple[Callable[[int], Body], ...] = (
            lambda writer: BytesBody(b"%d" % writer * 9),
            lambda writer: Fed(*[b"%d" % writer * MEBIBYTE] * 9, None),
        )
        for number, (body, writers) in enumerate([(bodies[0], 8)] * 8 + [(bodies[1], 4)] * 2):
            key = f"race/{number}"
            racing = [start(self.blobs.write(key, body(writer))) for writer in range(writers)]
            results = self.successResultOf(DeferredList(racing, consumeErrors=True))
            won = [writer for writer, (success, _) in enumerate(results) if success]
            self.assertEqual(len(won), 1, f"{len(won)} of {writers} won in race {number}")
            lost = {type(result.value) for success, result in results if not success}
            self.assertEqual(lost, {Exists})
            self.assertEqual(self.have(self.first(key)), b"%d" % won[0])

    async def first(self, key: str) -> bytes:
        """Its first byte."""
        return await whole(await self.blobs.read(key, Span(0, 1)), 1)

    # --- what goes wrong ---

    def test_refused(self) -> None:
        """A wrong secret, an unknown key, a bucket that is not there: each is a start that is
        refused, without the secret.
        """
        wrong = self.s3.secret_key[:-1] + "~"
        for changed in (
            {"secret_key": wrong},
            {"access_key": "somebody", "secret_key": wrong},
            {"bucket": "not-there"},
        ):
            said = self.cannot_open(**changed)
            self.assertNotIn(wrong, said)
            self.assertIn(changed.get("bucket", self.bucket), said)

    def test_bucket_deleted(self) -> None:
        """A bucket that is gone is a store that is down: what was in it is not missing, for that
        would be a proven absence.
        """
        self.assertEqual(self.s3.ask("DELETE", f"/{self.bucket}").status, 204)
        for question in (
            self.blobs.stat("spam/x"),
            self.blobs.read("spam/x"),
            self.blobs.write("spam/x", BytesBody(b"x")),
        ):
            self.refused(question, StorageDown)
        self.refused(contents(self.blobs), StorageDown)

    def test_denied(self) -> None:
        """Where nobody may list, write or read, that is what is said: at the start, and later, when
        all else goes on.
        """
        self.have(self.blobs.write("spam/x", BytesBody(b"x")))
        for action, question in (
            ("s3:ListBucket", lambda: contents(self.blobs)),
            ("s3:GetObject", lambda: self.blobs.read("spam/x")),
            ("s3:PutObject", lambda: self.blobs.write("spam/y", BytesBody(b"y"))),
            ("s3:DeleteObject", lambda: self.blobs.delete("spam/x")),
        ):
            self.s3.deny(self.bucket, action)
            self.refused(question(), StorageDown)
            if action != "s3:GetObject":
                self.assertEqual(self.have(self.first("spam/x")), b"x")
                self.cannot_open()
            self.s3.deny(self.bucket)
        self.assertEqual(self.have(contents(self.blobs)), ["spam/x"])

    def test_all_at_once(self) -> None:
        """By TLS, with temporary keys, encrypted with a key of KMS, in another class: written,
        listed, linked, read.
        """
        keys = self.s3.temporary()
        told = evolve(
            self.told(self.s3, self.bucket),
            endpoint_url=self.s3.secure_endpoint,
            ca_certificates=str(self.s3.authority),
            access_key=keys.access,
            secret_key=keys.secret,
            session_token=keys.token,
            encryption=Encryption.KMS,
            kms_key_id="key-1",
            storage_class="STANDARD_IA",
        )
        self.blobs = self.have(self.opened(told))
        for key, body in (
            ("spam/x", BytesBody(b"x")),
            ("spam/large", Fed(*[b"x" * MEBIBYTE] * 20, None)),
        ):
            self.have(self.blobs.write(key, body))
            headers = self.asked("HEAD", key).headers
            self.assertEqual(headers["x-amz-server-side-encryption"], "aws:kms")
            self.assertEqual(headers["x-amz-storage-class"], "STANDARD_IA")
            self.assertEqual(self.have(self.first(key)), b"x")
            link = self.have(self.blobs.link(key, timedelta(minutes=1)))
            assert link is not None
            parts = urlsplit(link.url)
            self.assertEqual(parts.scheme, "https")
            self.assertNotIn(keys.secret, link.url)
        self.assertEqual(self.have(contents(self.blobs)), ["spam/large", "spam/x"])
        self.cannot_open(session_token=None, access_key=keys.access, secret_key=keys.secret)

    def test_untrusted(self) -> None:
        """A certificate of an authority that nobody told us of is refused."""
        self.assertIn("certificate", self.cannot_open(endpoint_url=self.s3.secure_endpoint))

    def test_etags(self) -> None:
        """What a listing says of an encrypted blob is what writing it said: nobody takes an ETag
        for an MD5.
        """
        encrypted = evolve(self.told(self.s3, self.bucket), encryption=Encryption.AES256)
        self.blobs = self.have(self.opened(encrypted))

        async def listed() -> list[Blob]:
            async with aclosing(self.blobs.list()) as found:
                return [blob async for blob in found]

        written = self.have(self.blobs.write("spam/x", BytesBody(b"x")))
        self.assertEqual(self.have(listed()), [written])


def pieces(data: bytes) -> list[bytes]:
    """Of odd sizes."""
    return [data[start : start + 777_777] for start in range(0, len(data), 777_777)]
