"""Signatures: AWS's published examples, every odd key, and links."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, unquote

from botocore.utils import percent_encode
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from pypid.blobs.keys import segments
from pypid.blobs.s3.signatures import (
    Address,
    Keys,
    cloudfront,
    content_type,
    disposition,
    file_name,
    presigned,
    quoted,
    resolve,
    signed,
)
from pypid.core.configuration.choices import Addressing
from pypid.core.errors import CannotStart
from pypid.flow import BytesBody
from tests.blobs.s3_cases import S3Case
from tests.blobs.sigv4 import refused
from tests.support.blobs import ODD_KEYS

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"
EMPTY = sha256(b"").hexdigest()
PUBLISHED = (
    (
        "/test.txt",
        {"Range": "bytes=0-9"},
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    ("/?lifecycle=", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    (
        "/?max-keys=2&prefix=J",
        {},
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
)
"""Of "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" and,
below, "Query Parameters".
"""
PRESIGNED = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
MODEST = settings(max_examples=60, deadline=None, database=None)
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40
).filter(lambda key: segments(key) is not None)


class SignerTests(SynchronousTestCase):
    """What tells URLs of keys that are in force from those of others."""

    def test_signer_changes_with_key_and_secret(self) -> None:
        """Another key, or another secret under the same key, is another signer; nothing of either
        is told.
        """
        signers = {
            Keys(access, secret).signer
            for access in ("AKIA1", "AKIA2")
            for secret in ("one", "two")
        }
        self.assertEqual(len(signers), 4)
        self.assertNotIn("AKIA", "".join(signers))

    def test_temporary_keys_are_one_signer(self) -> None:
        """Links of temporary keys end with them, so those that each node renews every hour do not
        make links anew.
        """
        self.assertEqual(
            len({Keys(access, "secret", "token", AT).signer for access in ("ASIA1", "ASIA2")}), 1
        )


class PublishedTests(SynchronousTestCase):
    """What AWS has published."""

    def test_headers(self) -> None:
        """AWS's examples of signed headers come out as published."""
        for target, headers, expected in PUBLISHED:
            proven = signed(
                EXAMPLE,
                "us-east-1",
                AT,
                "GET",
                f"https://{HOST}{target}",
                {"Host": HOST, **headers},
                EMPTY,
            )
            self.assertEqual(proven["Authorization"].rpartition("Signature=")[2], expected)

    def test_query(self) -> None:
        """AWS's example of a signed URL comes out as published."""
        url = presigned(EXAMPLE, "us-east-1", AT, f"https://{HOST}/test.txt", 86400)
        self.assertEqual(url.rpartition("X-Amz-Signature=")[2], PRESIGNED)

    def test_tells_nothing(self) -> None:
        """Keys show nothing of themselves."""
        shown = repr(Keys("AKIA", "secret", "token"))
        for secret in ("AKIA", "secret'", "token"):
            self.assertNotIn(secret, shown.removeprefix("Keys"))


class KeyTests(SynchronousTestCase):
    """Any key in a URL."""

    @MODEST
    @given(KEYS)
    @example("a+b ~c#d?e;f%20g%/h&i=j@k$l'm(n)o*p!q,r:s|t\\u")
    @example("\u00e4/\U0001f40d/.../-")
    def test_paths(self, key: str) -> None:
        """Our path of a key is botocore's, is ASCII, leads back to the key, and both kinds of
        signature of it are good.
        """
        self.assertEqual(quoted(key), percent_encode(key, safe="/~"))
        self.assertEqual(unquote(quoted(key)), key)
        address = Address("http://localhost:9000/bucket", "us-east-1")
        target = address.url(key).removeprefix("http://localhost:9000")
        proven = signed(
            EXAMPLE, "us-east-1", AT, "GET", address.url(key), {"Host": address.host}, EMPTY
        )
        lowered = {name.lower(): text for name, text in proven.items()}
        secrets = {EXAMPLE.access: EXAMPLE.secret}
        self.assertEqual(refused(secrets, AT, "GET", target, lowered, b""), "")
        self.assertEqual(
            refused(secrets, AT, "GET", target + "x", lowered, b""), "SignatureDoesNotMatch"
        )
        link = presigned(
            EXAMPLE,
            "us-east-1",
            AT,
            address.url(key, (("response-content-disposition", disposition(key)),)),
            60,
        )
        target = link.removeprefix("http://localhost:9000")
        self.assertEqual(refused(secrets, AT, "GET", target, {"host": address.host}, b""), "")
        self.assertEqual(
            refused(
                secrets, AT + timedelta(seconds=61), "GET", target, {"host": address.host}, b""
            ),
            "AccessDenied",
        )

    @MODEST
    @given(st.text(max_size=40))
    def test_dispositions(self, name: str) -> None:
        """A file's name in a header is ASCII of one line, and cannot end its quotes."""
        try:
            name.encode()
        except UnicodeEncodeError:
            return
        said = disposition(name)
        self.assertTrue(said.isascii() and said.isprintable())
        self.assertEqual(said.count('"'), 2)
        if "filename*" in said:
            self.assertEqual(unquote(said.rpartition("''")[2]), name)

    def test_names(self) -> None:
        """A downloaded file has its own name, also where its bytes were replaced, and the type that
        pypid says itself.
        """
        self.assertEqual(file_name("spam/spam-1.0.tar.gz.at-0123456789abcdef"), "spam-1.0.tar.gz")
        self.assertEqual(
            file_name("spam/spam-1.0.tar.gz.at-0123456789abcdef.metadata"),
            "spam-1.0.tar.gz.metadata",
        )
        self.assertEqual(
            file_name(".kept/spam/spam-1.0-py3-none-any.whl"), "spam-1.0-py3-none-any.whl"
        )
        self.assertEqual(content_type("spam/spam-1.0.tar.gz"), "application/octet-stream")
        self.assertEqual(content_type("spam/spam-1.0.tar.gz.metadata"), "text/plain; charset=utf-8")
        self.assertEqual(content_type(".pypid/storage.json"), "application/json")


class AddressTests(SynchronousTestCase):
    """Where buckets are."""

    def test_no_buckets(self) -> None:
        """What cannot be a bucket is refused at the start."""
        for bucket in ("", "a/b", "a b", "spam--use1-az4--x-s3", "x"):
            with self.assertRaises(CannotStart):
                resolve(bucket, "r", None, Addressing.AUTO)


class LinkTests(S3Case):
    """Links that a store gives."""

    async def _get(self, url: str, method: bytes = b"GET") -> tuple[int, bytes, Headers]:
        agent = Agent(self.reactor)
        response = await agent.request(method, url.encode())
        body: Deferred[bytes] = readBody(response)
        return response.code, await body, response.headers

    async def test_odd_keys(self) -> None:
        """A link gives the bytes of any key to whoever has it, with its type and name; nothing else
        with it.
        """
        for key in ODD_KEYS:
            await self.blobs.write(key, BytesBody(key.encode()))
            link = await self.blobs.link(key, timedelta(minutes=5))
            assert link is not None
            status, body, headers = await self._get(link.url)
            self.assertEqual((status, body), (200, key.encode()), key)
            self.assertEqual(headers.getRawHeaders(b"content-type"), [content_type(key).encode()])
            self.assertEqual(
                headers.getRawHeaders(b"content-disposition"),
                [disposition(file_name(key)).encode()],
            )
            self.assertEqual((await self._get(link.url, b"HEAD"))[0], 403)
            self.assertEqual(
                (await self._get(link.url.replace("Expires=300", "Expires=301")))[0], 403
            )
            self.assertNotIn(link.url, repr(link))

    async def test_lifetimes(self) -> None:
        """A link lasts as long as it is asked to, at most seven days."""
        for asked, days in (
            (timedelta(days=1), 1),
            (timedelta(days=7), 7),
            (timedelta(days=30), 7),
        ):
            link = await self.blobs.link("spam/x", asked)
            assert link is not None
            self.assertEqual(link.expires, self.now().replace(microsecond=0) + timedelta(days=days))
            self.assertIn(f"X-Amz-Expires={days * 86400}&", link.url)

    async def test_cloudfront(self) -> None:
        """CloudFront's links carry its canned policy, signed with the RSA key of the file."""
        key = rsa.generate_private_key(65537, 1024)  # small, to be quick
        file = Path(self.mktemp())
        file.write_bytes(_pem(key))
        given = {
            "cloudfront_domain": "d1.cloudfront.net",
            "cloudfront_key_id": "K1",
            "cloudfront_key_file": str(file),
        }
        blobs = await self.open(**given)
        link = await blobs.link("spam/spam-1.0+x.zip", timedelta(hours=1))
        assert link is not None
        bare, _, query = link.url.partition("?")
        self.assertEqual(bare, "https://d1.cloudfront.net/some/prefix-spam/spam-1.0%2Bx.zip")
        said = {name: texts[0] for name, texts in parse_qs(query).items()}
        self.assertEqual(
            (said["Key-Pair-Id"], int(said["Expires"])), ("K1", int(link.expires.timestamp()))
        )
        condition = {"DateLessThan": {"AWS:EpochTime": int(said["Expires"])}}
        policy = json.dumps(
            {"Statement": [{"Resource": bare, "Condition": condition}]}, separators=(",", ":")
        )
        proof = base64.b64decode(said["Signature"].translate(str.maketrans("-_~", "+=/")))
        key.public_key().verify(proof, policy.encode(), padding.PKCS1v15(), hashes.SHA1())

    def test_cloudfront_keys(self) -> None:
        """A key file that is not there, or holds no RSA key, is refused at the start."""
        file = Path(self.mktemp())
        for text in (None, b"nonsense", _pem(ec.generate_private_key(ec.SECP256R1()))):
            if text is not None:
                file.write_bytes(text)
            with self.assertRaises(CannotStart):
                cloudfront("d1.cloudfront.net", "K1", str(file))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
