"""Starting with a bucket: what is missing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pypid.blobs.s3.store import S3Settings
from pypid.core.configuration.choices import Encryption
from pypid.core.errors import CannotStart
from tests.blobs.bucket import Said, error
from tests.blobs.fake_s3 import says
from tests.blobs.s3_cases import S3Case


class OpeningTests(S3Case):
    """What ends a start."""

    probes = True

    async def refuses(self, *words: str, **more: Any) -> None:
        """The start is refused, and its text has these words."""
        text = str(await self.fails(CannotStart, self.open(**more)))
        for word in words:
            self.assertIn(word, text)

    async def test_settings(self) -> None:
        """Settings that cannot work together, or at all, are named."""
        await self.refuses("prefix", prefix="/x")
        await self.refuses("prefix", prefix="a//b")
        await self.refuses("kms_key_id", kms_key_id="x", encryption=Encryption.AES256)
        await self.refuses("GLACIER", storage_class="GLACIER")
        await self.refuses("secret_key", secret_key=None)
        await self.refuses("cloudfront_key_file", cloudfront_domain="x")
        await self.refuses("ca_certificates", ca_certificates="/nowhere")
        empty = Path(self.mktemp())
        empty.write_bytes(b"")
        await self.refuses("ca_certificates", ca_certificates=str(empty))

    async def test_no_bucket(self) -> None:
        """A bucket that is not there."""
        self.bucket.gone = True
        await self.refuses("bucket", "404 NoSuchBucket")

    async def test_another_region(self) -> None:
        """A bucket that is elsewhere: the region is named."""
        self.fake.script(
            "ListObjectsV2", says(Said(301, b"", {"x-amz-bucket-region": "eu-west-3"}))
        )
        await self.refuses("eu-west-3", "[storage] region")
        self.fake.script(
            "ListObjectsV2", says(error("AuthorizationHeaderMalformed", 400, Region="eu-west-3"))
        )
        await self.refuses("eu-west-3", "region")

    async def test_wrong_keys(self) -> None:
        """Keys that are not known, or whose secret is wrong."""
        await self.refuses("secret_key", access_key="AKIAOTHER")
        self.bucket.secrets = {"AKIATEST": "another"}
        await self.refuses("SignatureDoesNotMatch", "secret_key")

    async def test_missing_permissions(self) -> None:
        """Each permission that is missing is named, and what was tried is taken away."""
        for operation, permission in (
            ("ListObjectsV2", "s3:ListBucket"),
            ("PutObject", "s3:PutObject"),
            ("DeleteObject", "s3:DeleteObject"),
            ("AbortMultipartUpload", ""),
        ):
            self.fake.script(operation, says(error("AccessDenied", 403, Message="Not allowed.")))
            if permission:
                await self.refuses(permission, "403 AccessDenied")
            self.fake.scripts.clear()
            self.bucket.objects.clear()

    def test_tells_nothing(self) -> None:
        """Settings show no secret."""
        shown = repr(
            S3Settings(bucket="b", access_key="AKIA", secret_key="hush", session_token="token-x")
        )
        for secret in ("AKIA", "hush", "token-x"):
            self.assertNotIn(secret, shown)
