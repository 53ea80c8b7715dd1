"""What the S3 servers of the tests truly do: without these facts, what is tested against them would
prove little.
"""

import hashlib
import re
import ssl
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from xml.sax.saxutils import unescape

from twisted.trial.unittest import SynchronousTestCase

from pypid.testing.blobs import CROWDED, ODD_KEYS
from tests.live.stores import Answer, Keys, Signer, Store, store

PART = 5 << 20
LIST = {"list-type": "2"}
UPLOADS = {"uploads": ""}
ONLY_IF_ABSENT = {"if-none-match": "*"}
KMS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
}


def sha256(data: bytes) -> dict[str, str]:
    """The header that says it."""
    return {"x-amz-checksum-sha256": b64encode(hashlib.sha256(data).digest()).decode()}


def another(text: str) -> str:
    """The same, but for its last character."""
    return text[:-1] + ("X" if text[-1] != "X" else "Y")


class Facts:
    """Mixed into a test case for each store. (Asserts are Python's: trial's are not there yet.)"""

    name: str
    s3: Store
    bucket: str

    def setUp(self) -> None:
        with store(self.name) as self.s3:
            self.bucket = self.s3.bucket("facts")

    def put(self, key: str, body: bytes = b"body", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.s3.ask("PUT", f"/{self.bucket}/{key}", body, headers=named)

    def get(self, key: str, method: str = "GET") -> Answer:
        return self.s3.ask(method, f"/{self.bucket}/{key}")

    def query(self, method: str, key: str, query: Mapping[str, str], body: bytes = b"") -> Answer:
        return self.s3.ask(method, f"/{self.bucket}" + (f"/{key}" if key else ""), body, query)

    # --- signatures ---

    def test_headers(self) -> None:
        """A signature in the headers is refused when a byte of its secret, path, query, headers or
        body is another.
        """
        put = f"/{self.bucket}/a/x"
        assert self.put("a/x").status == 200
        assert self.get("a/x").body == b"body"
        wrong = Keys(self.s3.access_key, another(self.s3.secret_key))
        refused = self.s3.ask("GET", put, keys=wrong)
        assert (refused.status, refused.code) == (403, "SignatureDoesNotMatch")
        signed = Signed(self.s3, "PUT", put, {"x-amz-meta-a": "1"}, b"body")
        assert signed.sent().status == 200
        for other in (
            signed.sent(target=f"/{self.bucket}/a/y"),
            signed.sent(target=f"{put}?x=1"),
            signed.sent(headers={"x-amz-meta-a": "2"}),
            Signed(self.s3, "GET", put, {}, b"").sent(method="DELETE"),
        ):
            assert other.status == 403, (other.status, other.body)
        assert signed.sent(body=b"bodY").code == "XAmzContentSHA256Mismatch"
        assert self.get("a/x").body == b"body"
        assert self.get("a/y").status == 404

    def test_time(self) -> None:
        """A signature of half an hour ago is refused, by a code of its own; the answer says what
        time it is.
        """
        refused = self.s3.ask(
            "GET", f"/{self.bucket}", at=datetime.now(UTC) - timedelta(minutes=30)
        )
        assert (refused.status, refused.code) == (403, "RequestTimeTooSkewed")
        assert refused.headers["Date"].endswith("GMT")

    def test_region(self) -> None:
        """A signature for another region is refused, or not, as `can` says."""
        answer = self.s3.ask("GET", f"/{self.bucket}", region="eu-west-9")
        assert answer.status == (400 if self.s3.can.checks_region else 200)
        assert answer.code == (
            "AuthorizationHeaderMalformed" if self.s3.can.checks_region else None
        )

    def test_links(self) -> None:
        """A signed URL gives its file, by GET and to nobody's name, until it ends; no byte of it
        may be another.
        """
        self.put("a/x")
        self.put("a/y")
        link = self.s3.link(f"/{self.bucket}/a/x")
        assert self.s3.send("GET", link).body == b"body"
        assert self.s3.send("GET", link, headers={"Range": "bytes=1-2"}).body == b"od"
        wrong = self.s3.link(
            f"/{self.bucket}/a/x", keys=Keys(self.s3.access_key, another(self.s3.secret_key))
        )
        for changed in (
            link.replace("a/x", "a/y"),
            link.replace("Expires=60", "Expires=61"),
            another(link),
            wrong,
        ):
            refused = self.s3.send("GET", changed)
            assert (refused.status, refused.code) == (403, "SignatureDoesNotMatch"), changed
        assert self.s3.send("HEAD", link).status == 403
        ended = self.s3.send(
            "GET",
            self.s3.link(f"/{self.bucket}/a/x", 30, at=datetime.now(UTC) - timedelta(seconds=32)),
        )
        assert (ended.status, ended.code) == (403, "AccessDenied")
        assert self.s3.send("GET", f"/{self.bucket}/a/x").status in (400, 403)

    def test_names_in_links(self) -> None:
        """A signed URL says what type and name the file is given."""
        self.put("a/x")
        asked = {
            "response-content-type": "application/zip",
            "response-content-disposition": 'attachment; filename="x +.whl"',
        }
        answer = self.s3.send("GET", self.s3.link(f"/{self.bucket}/a/x", query=asked))
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="x +.whl"'

    def test_temporary_keys(self) -> None:
        """Temporary keys sign headers and URLs with their session token, and with no other; or
        there are none (`can`).
        """
        if not self.s3.can.temporary:
            return
        self.put("a/x")
        keys = self.s3.temporary()
        assert keys.token is not None
        path = f"/{self.bucket}/a/x"
        assert self.s3.ask("GET", path, keys=keys).body == b"body"
        assert self.s3.send("GET", self.s3.link(path, keys=keys)).body == b"body"
        for token in (None, keys.token[:-8] + "AAAAAAA=", "nothing"):
            refused = self.s3.ask("GET", path, keys=Keys(keys.access, keys.secret, token))
            assert refused.status in (400, 403), refused.body
        assert (
            self.s3.ask(
                "GET", path, keys=Keys(keys.access, another(keys.secret), keys.token)
            ).status
            == 403
        )

    # --- keys, listings ---

    def test_keys(self) -> None:
        """Odd keys come back as they were, signed in headers and in URLs, and in listings, which
        are in the order of UTF-8.
        """
        keys = [*ODD_KEYS, *CROWDED, "control/\x01\x7f\n", "long/" + "x" * 900]
        for key in keys:
            assert self.put(key, key.encode()).status == 200, key
            assert self.get(key).body == key.encode(), key
            assert (
                self.s3.send("GET", self.s3.link(f"/{self.bucket}/{key}")).body == key.encode()
            ), key
        found: list[str] = []
        more: dict[str, str] = {}
        pages = 0
        while True:
            page = self.query("GET", "", {**LIST, "encoding-type": "url", "max-keys": "7", **more})
            found += [unquote(plain(key)) for key in page.find("Key")]
            pages += 1
            if page.find("IsTruncated") == ["false"]:
                break
            more = {"continuation-token": plain(page.find("NextContinuationToken")[0])}
        assert found == sorted(keys, key=str.encode)
        assert pages == -(-len(keys) // 7)

    def test_missing(self) -> None:
        """What is missing is 404 by its own code; to delete it is no error."""
        missing = self.get("nothing")
        assert (missing.status, missing.code) == (404, "NoSuchKey")
        assert self.s3.ask("GET", "/no-such-bucket/x").code == "NoSuchBucket"
        assert self.get("nothing", "DELETE").status == 204

    def test_denied(self) -> None:
        """A policy of the bucket denies what it names, even to the owner of the keys; or there are
        none (`can`).
        """
        if not self.s3.can.policies:
            return
        self.put("a/x")
        self.s3.deny(self.bucket, "s3:ListBucket")
        denied = self.query("GET", "", LIST)
        assert (denied.status, denied.code) == (403, "AccessDenied")
        assert self.get("a/x").status == 200
        self.s3.deny(self.bucket)
        assert self.query("GET", "", LIST).status == 200

    # --- writing ---

    def test_only_if_absent(self) -> None:
        """What is there already is not replaced by a PUT that says If-None-Match: *; what is not
        there is made by it.
        """
        assert self.put("a/x", b"first", if_none_match="*").status == 200
        refused = self.put("a/x", b"second", if_none_match="*")
        assert (refused.status, refused.code) == (412, "PreconditionFailed")
        assert self.get("a/x").body == b"first"

    def test_exclusive(self) -> None:
        """Of several at once exactly one is told that it wins, where `can` says so; where not,
        several are told so.
        """
        winners = set()
        for number in range(20 if self.s3.can.exclusive else 60):
            won = self.race(f"race/{number}", 5)
            winners.add(len(won))
            if self.s3.can.exclusive:
                assert [b"%d" % writer for writer in won] == [self.get(f"race/{number}").body]
            elif len(winners) > 1:
                break
        assert (winners == {1}) is self.s3.can.exclusive, winners

    def race(self, key: str, size: int) -> list[int]:
        """Those of `size` writers who won."""
        ready, won = threading.Barrier(size), []

        def write(writer: int) -> None:
            ready.wait()
            if self.put(key, b"%d" % writer, if_none_match="*").status == 200:
                won.append(writer)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return won

    def test_checksums(self) -> None:
        """A wrong Content-MD5 is refused everywhere, a wrong x-amz-checksum-sha256 where `can` says
        so; none gives it back.
        """
        md5 = b64encode(hashlib.md5(b"body").digest()).decode()
        assert self.put("a/x", b"body", content_md5=md5).status == 200
        assert self.put("a/y", b"bodY", content_md5=md5).code == "BadDigest"
        right = self.s3.ask("PUT", f"/{self.bucket}/a/z", b"body", headers=sha256(b"body"))
        assert right.status == 200
        assert right.headers["x-amz-checksum-sha256"] is None
        wrong = self.s3.ask("PUT", f"/{self.bucket}/a/y", b"bodY", headers=sha256(b"body"))
        assert (wrong.code == "BadDigest") is self.s3.can.checks_sha256
        assert (self.get("a/y").status == 404) is self.s3.can.checks_sha256

    def test_encryption(self) -> None:
        """What is asked to be encrypted is, and is read back plain; or it is refused (`can`)."""
        for asked in ({"x-amz-server-side-encryption": "AES256"}, KMS):
            answer = self.s3.ask("PUT", f"/{self.bucket}/a/x", b"body", headers=asked)
            assert (answer.status == 200) is self.s3.can.encrypts, answer.body
        if self.s3.can.encrypts:
            assert self.get("a/x").body == b"body"
            assert self.get("a/x", "HEAD").headers["x-amz-server-side-encryption"] == "aws:kms"
            missing = {**KMS, "x-amz-server-side-encryption-aws-kms-key-id": "key-2"}
            assert self.s3.ask("PUT", f"/{self.bucket}/a/y", headers=missing).status == 403

    def test_classes(self) -> None:
        """A file goes into any class that `can` names, and by a copy onto itself into another;
        others are refused.
        """
        for name in self.s3.can.classes:
            assert self.put("a/x", x_amz_storage_class=name).status == 200
            assert (self.get("a/x", "HEAD").headers["x-amz-storage-class"] or "STANDARD") == name
        assert self.put("a/x", x_amz_storage_class="NO_SUCH_CLASS").status == 400
        for name in self.s3.can.classes[1:]:
            source = {
                "x-amz-copy-source": f"/{self.bucket}/a/x",
                "x-amz-metadata-directive": "REPLACE",
            }
            moved = self.s3.ask(
                "PUT", f"/{self.bucket}/a/x", headers={**source, "x-amz-storage-class": name}
            )
            assert moved.status == 200, moved.body
            assert self.get("a/x", "HEAD").headers["x-amz-storage-class"] == name
            assert self.get("a/x").body == b"body"

    # --- in parts ---

    def test_parts(self) -> None:
        """An upload in parts is seen when it is completed, whole, and not before; it can be found
        and aborted.
        """
        upload = self.begun("a/big")
        etags = [
            self.part("a/big", upload, number, body)
            for number, body in ((1, b"p" * PART), (2, b"end"))
        ]
        assert self.get("a/big").status == 404
        assert self.query("GET", "", LIST).find("Key") == []
        assert self.query("GET", "", UPLOADS).find("UploadId") == [upload]
        assert (
            self.completed("a/big", upload, another(etags[0].strip('"')), etags[1]).code
            == "InvalidPart"
        )
        done = self.completed("a/big", upload, *etags)
        assert (done.status, done.code) == (200, None)
        answer = self.get("a/big")
        assert answer.body == b"p" * PART + b"end"
        assert re.fullmatch(r'"[0-9a-f]{32}-2"', answer.headers["ETag"])
        left = self.begun("a/left")
        self.part("a/left", left, 1, b"x")
        assert self.query("DELETE", "a/left", {"uploadId": left}).status == 204
        assert self.query("DELETE", "a/left", {"uploadId": left}).code == "NoSuchUpload"
        assert self.query("GET", "", UPLOADS).find("UploadId") == []

    def test_parts_only_if_absent(self) -> None:
        """To complete an upload only if nothing is there is refused where something is; or nobody
        looks at that (`can`).
        """
        self.put("a/x", b"first")
        upload = self.begun("a/x")
        etag = self.part("a/x", upload, 1, b"second")
        answer = self.completed("a/x", upload, etag, **ONLY_IF_ABSENT)
        assert (answer.status == 412) is self.s3.can.exclusive_multipart, answer.body
        assert self.get("a/x").body == (b"first" if self.s3.can.exclusive_multipart else b"second")

    def begun(self, key: str) -> str:
        return self.query("POST", key, UPLOADS).find("UploadId")[0]

    def part(self, key: str, upload: str, number: int, body: bytes) -> str:
        return str(
            self.query("PUT", key, {"partNumber": str(number), "uploadId": upload}, body).headers[
                "ETag"
            ]
        )

    def completed(self, key: str, upload: str, *etags: str, **headers: str) -> Answer:
        parts = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
            for n, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return self.s3.ask("POST", f"/{self.bucket}/{key}", body, {"uploadId": upload}, headers)


class Signed:
    """A signed request, to be sent as it is or with one thing changed."""

    def __init__(
        self, s3: Store, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.s3 = s3
        self.asked = {"method": method, "target": target, "body": body}
        self.headers = Signer(s3.keys, s3.region).headers(
            method, s3.host, target, {}, headers, body
        )

    def sent(self, headers: dict[str, str] | None = None, **changed: object) -> Answer:
        return self.s3.send(
            **{**self.asked, **changed}, headers={**self.headers, **(headers or {})}
        )  # type: ignore[arg-type]


def plain(text: str) -> str:
    """What stood in the XML."""
    return unescape(text, {"&apos;": "'", "&quot;": '"'})


class RadosgwTests(Facts, SynchronousTestCase):
    name = "radosgw"

    def test_secure(self) -> None:
        """It speaks TLS too, with a certificate that is worth nothing to who does not know its
        authority.
        """
        assert self.s3.secure_endpoint is not None
        trusting = ssl.create_default_context(cafile=str(self.s3.authority))
        with urllib.request.urlopen(self.s3.secure_endpoint, context=trusting) as response:
            assert response.status == 200
        with self.assertRaises(OSError):  # type: ignore[no-untyped-call]
            urllib.request.urlopen(self.s3.secure_endpoint)


class SwiftTests(Facts, SynchronousTestCase):
    name = "swift"
