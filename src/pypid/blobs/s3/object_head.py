"""Whether an object exists, and its properties."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from pypid.blobs.s3.client import S3Client, S3Request
from pypid.blobs.s3.refusals import S3Refusal, http_date
from pypid.core.errors import Missing, StorageDown
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.http_client.faults import Fault

CLASS = "x-amz-storage-class"
"""Not sent for objects of the standard class."""
MARK = "x-amz-meta-pypid-write"
"""Metadata of each object: which write of pypid's created it. So a write that was repeated because
its response was lost is recognized.
"""


META = "x-amz-meta-"


@frozen
class ObjectHead:
    """The properties of an object. `mark` is "" if the store, or another program, set none.
    `metadata` is its user metadata without the mark.
    """

    blob: Blob
    mark: str
    metadata: Mapping[str, str] = field(factory=dict)


def seen(key: str, headers: Mapping[str, str]) -> ObjectHead:
    """Return the object's properties from the headers of a response. Raises `Fault` if one is
    missing that every S3 sends.
    """
    length = headers.get("content-length", "")
    modified = http_date(headers.get("last-modified", ""))
    etag = plain_etag(headers.get("etag", ""))
    if not length.isdigit() or modified is None or not etag:
        raise Fault("its answer lacks an object's length, date or ETag: this is no S3.")
    archived = headers.get(CLASS) in ARCHIVES
    metadata = {
        name.removeprefix(META): text
        for name, text in headers.items()
        if name.startswith(META) and name != MARK
    }
    return ObjectHead(
        Blob(key, int(length), modified, etag, archived), headers.get(MARK, ""), metadata
    )


def plain_etag(text: str) -> str:
    """Return the ETag without its quotes, which some stores omit in listings."""
    return text.strip().strip('"')


async def look(asker: S3Client, prefix: str, key: str) -> ObjectHead | None:
    """Return the object, or None if it certainly does not exist. Raises `StorageDown`."""
    found = await head(asker, prefix, key)
    if found is None:
        await must_be_there(asker)
    return found


async def head(asker: S3Client, prefix: str, key: str) -> ObjectHead | None:
    """Return the object; None if it does not exist, or its bucket does not, which a HEAD cannot
    tell: for callers whose next request does. Raises `StorageDown`.
    """
    question = S3Request("HeadObject", "HEAD", prefix + key)
    try:
        return seen(key, (await asker.tell(question)).headers)
    except S3Refusal as problem:
        if problem.status != 404:
            raise asker.failed(problem, question) from problem
    except Fault as problem:
        raise asker.failed(problem, question) from problem
    return None


async def must_be_there(asker: S3Client) -> None:
    """Raise `StorageDown` unless the bucket exists: without it every object seems to be missing."""
    question = S3Request("HeadBucket", "HEAD")
    try:
        await asker.tell(question)
    except S3Refusal as problem:
        cause = problem.but(code="NoSuchBucket") if problem.status == 404 else problem
        raise asker.failed(cause, question) from cause
    except Fault as problem:
        raise asker.failed(problem, question) from problem


async def absent(
    asker: S3Client, problem: S3Refusal | Fault, question: S3Request, key: str
) -> Missing | StorageDown:
    """Return the error to raise for a refused read: `Missing` if the object certainly does not
    exist.
    """
    if isinstance(problem, S3Refusal) and problem.status == 404:
        if problem.code in ("NoSuchKey", "NoSuchVersion"):
            return Missing(key)
        if problem.code != "NoSuchBucket":
            await must_be_there(asker)
            return Missing(key)
    found = asker.failed(problem, question)
    return found if isinstance(found, StorageDown) else StorageDown("it refuses the request.")
