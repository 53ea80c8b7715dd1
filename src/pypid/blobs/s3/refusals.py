"""Error responses of S3: parsing them, and what to do about each."""

# botocore is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from types import MappingProxyType
from xml.etree import ElementTree

from attrs import define
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from pypid.core.errors import Archived, StorageDown, StorageFull
from pypid.http_client.connections import Fault

_AGAIN = frozenset(
    {
        *ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *TransientRetryableChecker._TRANSIENT_ERROR_CODES,
        "BadDigest",  # the bytes received differ from those sent
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "ServiceUnavailable",
        "TooManyRequests",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_AGAIN_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_OTHER_KEYS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",  # the secret was replaced under the same key
        "TokenRefreshRequired",
    }
)
_OTHER_TIME = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_FULL = frozenset(
    {
        "EntityTooLarge",
        "InsufficientCapacity",
        "QuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
_UNSUPPORTED = frozenset(
    {"InvalidArgument", "InvalidRequest", "NotImplemented", "UnsupportedOperation"}
)
_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SHOWN = 300


class Remedy(Enum):
    """What may help against a refusal."""

    NONE = "none"
    AGAIN = "again"
    OTHER_KEYS = "other keys"
    OTHER_TIME = "another time"


@define(eq=False)
class S3Refusal(Exception):
    """An error response. Its text is for the log: no secret, no signature.

    `code` is S3's error code, "" if it sent none (as to HEAD). `headers` by lower-case name.
    `doubtful`: an earlier try may have been carried out.
    """

    operation: str
    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    doubtful: bool = False

    def __str__(self) -> str:
        text = f"{self.operation} was answered {self.status} {self.code}".rstrip()
        # only this message: others quote what was signed, which may include a session token
        message = f" ({self.message})" if self.code == "AccessDenied" and self.message else ""
        return f"{text}{message}{self._advice()}"

    def _advice(self) -> str:
        if self.code in (
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "AuthorizationHeaderMalformed",
        ):
            region = f" It names the region {self.region!r}." if self.region else ""
            return f": access_key, secret_key or region is not the right one.{region}"
        if self.code == "NoSuchBucket":
            return ": this bucket does not exist. Create it, or correct [storage] bucket."
        if self.code in _OTHER_TIME:
            return ": the clock of this machine differs from the store's by more than it takes."
        if self.code == "InvalidObjectState":
            return ": the object is in an archive storage class and has to be restored first."
        if self.region and (300 <= self.status < 400 or self.status == 400):
            return f": the bucket is in the region {self.region!r}; set [storage] region."
        permission = PERMISSIONS.get(self.operation, "s3:*")
        if self.status in (401, 403) and not self.code:
            return (
                ", without a reason: the access key was deleted, its secret replaced, the clock "
                f"differs, or the credentials need the permission {permission} for this bucket."
            )
        if self.status in (401, 403) and self.remedy is Remedy.NONE and self.code not in _FULL:
            return f": the credentials need the permission {permission} for this bucket."
        return ""

    @property
    def region(self) -> str:
        """The bucket's region, if the response names it."""
        return self.headers.get("x-amz-bucket-region", "")

    @property
    def remedy(self) -> Remedy:
        if self.code in _OTHER_KEYS:
            return Remedy.OTHER_KEYS
        if self.code in _OTHER_TIME:
            return Remedy.OTHER_TIME
        if self.code in _AGAIN or (self.status in _AGAIN_STATUSES and self.code not in _FULL):
            return Remedy.AGAIN
        return Remedy.NONE

    @property
    def is_mute(self) -> bool:
        """Whether the refusal has no reason, as to HEAD: the keys, the clock or a permission may be
        the cause.
        """
        return not self.code and self.status in (400, 401, 403)

    @property
    def retry_after(self) -> float:
        """Seconds that the store asks to wait; 0 if it does not say."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdigit() and len(text) < 6 else 0.0

    @property
    def date(self) -> datetime | None:
        """The time at the store."""
        return http_date(self.headers.get("date", ""))

    @property
    def is_unsupported(self) -> bool:
        """Whether the store does not support what was requested."""
        return self.status == 501 or (self.status == 400 and self.code in _UNSUPPORTED)


PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        "AbortMultipartUpload": "s3:AbortMultipartUpload",
        "CompleteMultipartUpload": "s3:PutObject",
        "CopyObject": (
            "s3:GetObject and s3:PutObject (and s3:GetObjectTagging and s3:PutObjectTagging, "
            "where it has tags)"
        ),
        "CreateMultipartUpload": (
            "s3:PutObject (and with aws:kms, kms:GenerateDataKey and kms:Decrypt)"
        ),
        "DeleteObject": "s3:DeleteObject",
        "GetObject": (
            "s3:GetObject (and s3:ListBucket, to tell what is missing from what is forbidden)"
        ),
        "HeadBucket": "s3:ListBucket",
        "HeadObject": (
            "s3:GetObject (and s3:ListBucket, to tell what is missing from what is forbidden)"
        ),
        "ListObjectsV2": "s3:ListBucket",
        "PutObject": "s3:PutObject (and with aws:kms, kms:GenerateDataKey)",
        "RestoreObject": "s3:RestoreObject",
        "UploadPartCopy": "s3:GetObject and s3:PutObject",
        "UploadPart": "s3:PutObject (and with aws:kms, kms:GenerateDataKey)",
    }
)
"""The AWS policy permission needed for each of pypid's operations."""


def parsed(data: bytes) -> ElementTree.Element | None:
    """Return the parsed XML document; None if it is not XML, or has declarations of its own
    (entities can expand without bound).
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return None
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError:
        return None


def refusal(operation: str, status: int, headers: Mapping[str, str], data: bytes) -> S3Refusal:
    """Return the error response as an exception. `headers` by lower-case name; only the needed ones
    are kept.
    """
    root = parsed(data)
    found = {} if root is None or local(root) != "Error" else texts(root)
    code, region = found.get("Code", "").strip(), found.get("Region", "").strip()
    kept = {
        name: headers[name]
        for name in ("date", "retry-after", "x-amz-bucket-region")
        if name in headers
    }
    if region and _CODE.match(region):
        kept.setdefault("x-amz-bucket-region", region)
    message = _printable(found.get("Message", "").strip())
    return S3Refusal(operation, status, code if _CODE.match(code) else "", message, kept)


def down(problem: S3Refusal | Fault) -> StorageDown | StorageFull:
    """Return the error to raise to the caller for a failed request; the cause is for the log."""
    if isinstance(problem, Fault):
        return StorageDown(problem.reason)
    if problem.code in _FULL or problem.status == 507:
        return StorageFull("storage")
    if problem.code == "NoSuchBucket":
        return StorageDown("its bucket is not there.")
    if problem.code == "InvalidObjectState":
        return Archived()
    if problem.remedy is Remedy.AGAIN:
        return StorageDown("it is overloaded or out of order.")
    if problem.remedy is Remedy.OTHER_TIME:
        return StorageDown("its clock and that of this machine differ too much.")
    if problem.remedy is Remedy.OTHER_KEYS:
        return StorageDown("it does not take our credentials any more.")
    if problem.status in (401, 403):
        return StorageDown("it denies access.")
    return StorageDown("it refuses the request.")


def local(element: ElementTree.Element) -> str:
    """Return the element's name without its namespace, which not every S3 sends."""
    return element.tag.rpartition("}")[2]


def texts(element: ElementTree.Element) -> Mapping[str, str]:
    """Return the texts of the element's children, by name."""
    return {local(child): child.text or "" for child in element}


def fields(data: bytes) -> Mapping[str, str]:
    """Return the texts of the children of an XML document's root, by name; {} if it is not XML."""
    root = parsed(data)
    return {} if root is None else texts(root)


def http_date(text: str) -> datetime | None:
    """Return an HTTP date in UTC; None if it is invalid."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError, IndexError):
        return None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:_SHOWN])
