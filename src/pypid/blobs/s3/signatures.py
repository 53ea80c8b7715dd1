"""Signatures: AWS's version 4 in headers and in URLs, and CloudFront's. Pure; the algorithms are
botocore's.
"""

# botocore is not annotated
# mypy: allow-untyped-calls, disable-error-code="misc"

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from attrs import field, frozen
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pypid.blobs.s3.addresses import host, queried, quoted
from pypid.core.errors import CannotStart

SERVICE = "s3"
HASH = "X-Amz-Content-SHA256"


@frozen
class Keys:
    """The keys for signing. `expires`: when they expire, if they do. No secret is shown in its
    repr.
    """

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: datetime | None = None

    @property
    def signer(self) -> str:
        """An identifier of the keys that does not disclose them: URLs signed by other current keys
        replace those signed by these.

        All temporary keys count as one signer: each URL expires with the keys that signed it, and
        each node has keys of its own.
        """
        if self.expires is not None:
            return "temporary"
        return sha256(f"pypid signer\0{self.access}\0{self.secret}".encode()).hexdigest()[:16]

    def botocore_credentials(self) -> ReadOnlyCredentials:
        """Return the keys in botocore's format."""
        return ReadOnlyCredentials(self.access, self.secret, self.token, None)


def signed(
    keys: Keys,
    region: str,
    at: datetime,
    method: str,
    url: str,
    headers: Mapping[str, str],
    content_sha256: str,
) -> dict[str, str]:
    """Return the headers with those of the signature added. `at` is the store's time, in UTC."""
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    _InHeaders(keys, region, at, content_sha256).add_auth(request)
    return dict(request.headers.items())


def presigned(keys: Keys, region: str, at: datetime, url: str, seconds: int) -> str:
    """Return the URL, which may have a query, with a signature that permits any client to GET it
    for so many seconds.
    """
    request = AWSRequest(method="GET", url=url, headers={"Host": host(url)})
    _InQuery(keys, region, at, seconds).add_auth(request)
    return str(request.url)


class _InHeaders(S3SigV4Auth):
    def __init__(self, keys: Keys, region: str, at: datetime, content_sha256: str) -> None:
        super().__init__(keys.botocore_credentials(), SERVICE, region)
        self._at = at
        self._content_sha256 = content_sha256

    def add_auth(self, request: AWSRequest) -> None:
        """Sign the request like botocore, but at the given time, and without logging what is
        signed.
        """
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))

    def payload(self, request: AWSRequest) -> str:
        return self._content_sha256


class _InQuery(S3SigV4QueryAuth):
    def __init__(self, keys: Keys, region: str, at: datetime, seconds: int) -> None:
        super().__init__(keys.botocore_credentials(), SERVICE, region, expires=seconds)
        self._at = at

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        """Set the signing parameters like botocore, which also parses and rebuilds the whole query:
        half of the time of a signature.
        """
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": self.scope(request),
            "X-Amz-Date": request.context["timestamp"],
            "X-Amz-Expires": str(self._expires),
            "X-Amz-SignedHeaders": "host",
        }
        if self.credentials.token:
            parameters["X-Amz-Security-Token"] = self.credentials.token
        # botocore's signers change the request that they are given
        request.url += ("&" if "?" in request.url else "?") + queried(parameters.items())


@frozen
class CloudFront:
    """Signs URLs of a CloudFront distribution in front of the bucket, with a canned policy (RSA and
    SHA-1, as it demands).
    """

    domain: str
    key_name: str
    """Identifies the key: its id, and a digest of its public half."""
    _signer: CloudFrontSigner = field(repr=False)

    def link(self, key: str, expires: datetime) -> str:
        """Return a URL of the key that is valid until then, to the second."""
        url = f"https://{self.domain}/{quoted(key)}"
        return str(self._signer.generate_presigned_url(url, date_less_than=expires))


def cloudfront(domain: str, key_id: str, key_file: str) -> CloudFront:
    """Return the signer whose private key is in the PEM file. Raises `CannotStart`; blocks."""
    where = f"[storage] cloudfront_key_file ({key_file})"
    try:
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), password=None)
    except OSError as error:
        raise CannotStart(f"{where} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError):  # TypeError: it is encrypted
        raise CannotStart(
            f"{where} is no PEM file with a private key that has no passphrase."
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CannotStart(f"{where} is no RSA key, and CloudFront's canned policies need one.")

    def sign(message: bytes) -> bytes:
        return key.sign(message, padding.PKCS1v15(), hashes.SHA1())

    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key_name = sha256(b"pypid signer\0" + key_id.encode() + b"\0" + public).hexdigest()[:16]
    return CloudFront(
        domain.removeprefix("https://").rstrip("/"), key_name, CloudFrontSigner(key_id, sign)
    )
