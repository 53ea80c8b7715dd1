"""Whether an object is there, and what it is like."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from pypid.blobs.s3.asking import S3Client, S3Request
from pypid.blobs.s3.refusals import S3Refusal, http_date
from pypid.core.errors import Missing, StorageDown
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.http_client.faults import Fault

CLASS = "x-amz-storage-class"
"""Not said of what has none."""
MARK = "x-amz-meta-pypid-write"
"""Kept with each object: which of our writes made it. So one that was repeated, because its answer
got lost, is known again.
"""


META = "x-amz-meta-"


@frozen
class ObjectHead:
    """An object. `mark` is "" where the store, or another program, set none. `said` is its user
    metadata, the mark left out.
    """

    blob: Blob
    mark: str
    said: Mapping[str, str] = field(factory=dict)


def seen(key: str, headers: Mapping[str, str]) -> ObjectHead:
    """What the head of an answer says of the object. Raises `Fault` where it lacks what every S3
    says.
    """
    length = headers.get("content-length", "")
    modified = http_date(headers.get("last-modified", ""))
    etag = plain_etag(headers.get("etag", ""))
    if not length.isdigit() or modified is None or not etag:
        raise Fault("its answer lacks an object's length, date or ETag: this is no S3.")
    archived = headers.get(CLASS) in ARCHIVES
    said = {
        name.removeprefix(META): text
        for name, text in headers.items()
        if name.startswith(META) and name != MARK
    }
    return ObjectHead(Blob(key, int(length), modified, etag, archived), headers.get(MARK, ""), said)


def plain_etag(text: str) -> str:
    """Without the quotes, which listings leave out in some stores."""
    return text.strip().strip('"')


async def look(asker: S3Client, prefix: str, key: str) -> ObjectHead | None:
    """The object, or None where it certainly is not there. Raises `StorageDown`."""
    question = S3Request("HeadObject", "HEAD", prefix + key)
    try:
        return seen(key, (await asker.tell(question)).headers)
    except S3Refusal as problem:
        if problem.status != 404:
            raise asker.failed(problem, question) from problem
    except Fault as problem:
        raise asker.failed(problem, question) from problem
    await must_be_there(asker)
    return None


async def must_be_there(asker: S3Client) -> None:
    """Raise `StorageDown` unless the bucket is there: without it every object seems
    to be missing.
    """
    question = S3Request("HeadBucket", "HEAD")
    try:
        await asker.tell(question)
    except S3Refusal as problem:
        if problem.status == 404:
            problem.code = "NoSuchBucket"
        raise asker.failed(problem, question) from problem
    except Fault as problem:
        raise asker.failed(problem, question) from problem


async def absent(
    asker: S3Client, problem: S3Refusal | Fault, question: S3Request, key: str
) -> Missing | StorageDown:
    """What to raise for a refusal to give an object: `Missing` where it certainly is not there."""
    if isinstance(problem, S3Refusal) and problem.status == 404:
        if problem.code in ("NoSuchKey", "NoSuchVersion"):
            return Missing(key)
        if problem.code != "NoSuchBucket":
            await must_be_there(asker)
            return Missing(key)
    found = asker.failed(problem, question)
    return found if isinstance(found, StorageDown) else StorageDown("it refuses what is asked.")
