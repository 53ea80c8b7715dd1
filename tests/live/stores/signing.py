"""Signatures of AWS's version 4, written from its description alone: what signs here shares no line
with what pypid uses.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from attrs import field, frozen

STAMP: Final = "%Y%m%dT%H%M%SZ"
NOTHING: Final[Mapping[str, str]] = {}


@frozen
class Keys:
    """What signs; nothing of it is shown."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@frozen
class Signer:
    """Signs for one region, as if it were `at` (None: now)."""

    keys: Keys
    region: str
    at: datetime | None = None

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, str]:
        """The headers that say who asks, and all that were given; `path` and `query` are not
        quoted.
        """
        stamp = self._stamp()
        checksum = sha256(body).hexdigest()
        sent = {**headers, "host": host, "x-amz-date": stamp, "x-amz-content-sha256": checksum}
        if self.keys.token is not None:
            sent["x-amz-security-token"] = self.keys.token
        canonical = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
        signature = self._signature(stamp, method, path, query, canonical, checksum)
        sent["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.keys.access}/{self._scope(stamp)},"
            f"SignedHeaders={';'.join(sorted(canonical))},Signature={signature}"
        )
        return sent

    def link(
        self, method: str, host: str, path: str, seconds: int, query: Mapping[str, str] = NOTHING
    ) -> str:
        """Path and query, quoted, with which `method` can be asked for so many
        seconds by anybody.
        """
        stamp = self._stamp()
        asked = {
            **query,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.keys.access}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if self.keys.token is not None:
            asked["X-Amz-Security-Token"] = self.keys.token
        signature = self._signature(stamp, method, path, asked, {"host": host}, "UNSIGNED-PAYLOAD")
        return f"{quoted(path)}?{queried(asked)}&X-Amz-Signature={signature}"

    def _stamp(self) -> str:
        return (self.at or datetime.now(UTC)).strftime(STAMP)

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/s3/aws4_request"

    def _signature(
        self,
        stamp: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        checksum: str,
    ) -> str:
        listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join(
            (method, quoted(path), queried(query), listed, ";".join(sorted(headers)), checksum)
        )
        scope = self._scope(stamp)
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, sha256(request.encode()).hexdigest()))
        key = f"AWS4{self.keys.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def quoted(path: str) -> str:
    """A path as it is sent, and signed: S3 quotes it once, all but letters,
    digits and ``-._~/``.
    """
    return quote(path, safe="/~")


def queried(query: Mapping[str, str]) -> str:
    """A query as it is sent, and signed: in the order of its names, each with a ``=``."""
    return "&".join(
        sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query.items())
    )
