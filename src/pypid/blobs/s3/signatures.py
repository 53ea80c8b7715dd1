"""Signatures, the URLs that are signed, and the header fields that signed links ask for.

Signatures: AWS's version 4 in headers and in URLs, and CloudFront's. Pure; the algorithms are
botocore's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pypid.core.configuration.choices import BUCKET_RULE, Addressing, is_bucket_name
from pypid.core.errors import CannotStart

# botocore is not annotated
# mypy: allow-untyped-calls, disable-error-code="misc"


Query = Sequence[tuple[str, str]]


@frozen
class Address:
    """The address of the bucket. `base` has no trailing slash; `region` is the one that signatures
    name.
    """

    base: str
    region: str

    @property
    def host(self) -> str:
        """The value of the ``Host`` header: without the scheme's default port."""
        return host(self.base)

    def url(self, key: str = "", query: Query = ()) -> str:
        """Return the URL of the key, or of the bucket itself. Everything but letters, digits and
        ``-._~/`` is percent-encoded.
        """
        query_string = queried(sorted(query))
        return f"{self.base}/{quoted(key)}" + (f"?{query_string}" if query_string else "")


def host(url: str) -> str:
    """Return the value of the ``Host`` header, as it is signed."""
    split = urlsplit(url)
    own = {"http": ":80", "https": ":443"}[split.scheme]
    return split.netloc.rpartition("@")[2].lower().removesuffix(own)


def queried(query: Iterable[tuple[str, str]]) -> str:
    """Return the query string as it is signed."""
    return "&".join(
        [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query]
    )


def quoted(key: str) -> str:
    """Return the key as a URL path, exactly as it is signed."""
    return quote(key, safe="/~")


def resolve(bucket: str, region: str, endpoint_url: str | None, addressing: Addressing) -> Address:
    """Return the address of the bucket. Raises `CannotStart` if there can be none; blocks."""
    if not is_bucket_name(bucket):  # that of an export is in no configuration
        raise CannotStart(f"[storage] bucket: {bucket!r} cannot be a bucket's name: {BUCKET_RULE}.")
    path = addressing is Addressing.PATH or (
        addressing is Addressing.AUTO and endpoint_url is not None
    )
    loader = Loader(include_default_search_paths=True)
    provider = EndpointProvider(
        loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    wanted = {"Bucket": bucket, "Region": region, "ForcePathStyle": path}
    known = {
        "UseFIPS": False,
        "UseDualStack": False,
        "Accelerate": False,
        "UseGlobalEndpoint": False,
    }
    if endpoint_url is not None:
        wanted["Endpoint"] = endpoint_url.rstrip("/")
    try:
        found = provider.resolve_endpoint(**wanted, **known)
    except BotoCoreError as error:
        raise CannotStart(
            f"[storage] bucket, region and endpoint_url lead nowhere: {error}"
        ) from None
    schemes: Sequence[Any] = (found.properties or {}).get("authSchemes") or ({},)
    return Address(found.url.rstrip("/"), schemes[0].get("signingRegion", region))


SERVICE = "s3"


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


class _AtTime:
    _at: datetime

    def add_auth(self: Any, request: AWSRequest) -> None:
        """Sign the request like botocore, but at the given time, and without logging what is
        signed.
        """
        request.context["timestamp"] = self._at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


class _InHeaders(_AtTime, S3SigV4Auth):
    def __init__(self, keys: Keys, region: str, at: datetime, content_sha256: str) -> None:
        super().__init__(keys.botocore_credentials(), SERVICE, region)
        self._at = at
        self._content_sha256 = content_sha256

    def payload(self, request: AWSRequest) -> str:
        return self._content_sha256


class _InQuery(_AtTime, S3SigV4QueryAuth):
    def __init__(self, keys: Keys, region: str, at: datetime, seconds: int) -> None:
        super().__init__(keys.botocore_credentials(), SERVICE, region, expires=seconds)
        self._at = at

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


# The type and file name that the store sends to clients that download a key directly.

BYTES = "application/octet-stream"
"""For wheels, zips and tarballs alike: no client may unpack what it is going to hash (see
`web.http.headers`).
"""
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_NOT_PLAIN = re.compile(r"[^ -~]|[\"\\%]")
_TEXTS = (".metadata", ".asc")
_OVERWRITE = re.compile(r"\.at-[0-9a-f]{16}(?=\Z|\.)")
"""The suffix that `core.records.layout` appends to the name of an overwritten file: internal,
unknown to clients.
"""


def content_type(key: str) -> str:
    """Return the Content-Type, the same that pypid itself sends."""
    if key.endswith(".json"):
        return JSON
    return TEXT if key.endswith(_TEXTS) else BYTES


def file_name(key: str) -> str:
    """Return the name under which a client saves the file."""
    return _OVERWRITE.sub("", key.rpartition("/")[2])


def disposition(name: str) -> str:
    """Return the ``Content-Disposition`` (RFC 6266) to save the file under this name. pip takes a
    file's name from it, if it is there.
    """
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
