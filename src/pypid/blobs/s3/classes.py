"""Storage classes: reading and changing an object's class, and restoring it from an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from pypid.blobs.s3 import multipart
from pypid.blobs.s3.addresses import quoted
from pypid.blobs.s3.client import S3Client, S3Request
from pypid.blobs.s3.multipart import MultipartUpload, UploadPart
from pypid.blobs.s3.object_head import CLASS, absent, plain_etag
from pypid.blobs.s3.payloads import BytesPayload, digest
from pypid.blobs.s3.refusals import S3Refusal, parsed, texts
from pypid.core.errors import Archived, BadRequest, StorageDown
from pypid.core.model import ArchiveState
from pypid.core.tiering_rules import ARCHIVES, STANDARD
from pypid.flow import Blocking, start
from pypid.http_client.faults import Fault
from pypid.ports import Bucket

LARGEST_COPY = 5 << 30
"""Maximum size in bytes of a copy in one request (S3: CopyObject); larger objects are copied in
parts.
"""
COPY_PART = 512 << 20
AT_ONCE = 4
"""Parts copied at the same time."""
COPYING = 20.0
"""Factor of the usual time-out for a copy: nothing is transferred here, and there is no response
until it is done.
"""
RESTORED_DAYS = 7
"""How long a restored copy stays."""
INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
"""A class that may archive objects by itself, and restores them permanently."""
_COPIED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
_META = "x-amz-meta-"
_UNKNOWN_CLASS = ("InvalidStorageClass", "InvalidArgument", "NotImplemented")


@frozen
class Classes:
    """The storage classes of the objects below `prefix` in the bucket of that name."""

    asker: S3Client
    bucket: str
    prefix: str
    blocking: Blocking

    async def archive_state(self, key: str) -> ArchiveState:
        """Return the object's storage class and state. See `ports.Bucket`, as for all methods
        here.
        """
        head = await self._head(key)
        storage_class = head.get(CLASS, STANDARD)
        is_archived = storage_class in ARCHIVES or "x-amz-archive-status" in head
        is_back = 'ongoing-request="false"' in head.get("x-amz-restore", "")
        return ArchiveState(
            storage_class=storage_class,
            size=int(head.get("content-length", "0")),
            readable=is_back or not is_archived,
        )

    async def move(self, key: str, storage_class: str) -> None:
        """Change the object's storage class by copying it onto itself."""
        await self._copy(key, key, storage_class)

    async def copy(self, key: str, target: str) -> None:
        """Copy the object inside the bucket, with its class unless that is an archive's."""
        await self._copy(key, target, None)

    async def is_versioned(self) -> bool | None:
        """Return whether the bucket keeps former versions; None if the store does not say."""
        question = S3Request("GetBucketVersioning", "GET", query=(("versioning", ""),))
        try:
            root = parsed((await self.asker.tell(question)).data)
        except (S3Refusal, Fault):
            return None
        return None if root is None else "Status" in texts(root)

    async def _copy(self, key: str, target: str, storage_class: str | None) -> None:
        head = await self._head(key)
        source, wanted = self._copy_headers(key, head, storage_class)
        size = int(head.get("content-length", "0"))
        headers = {**source, **wanted, "x-amz-metadata-directive": "REPLACE"}
        question = S3Request(
            "CopyObject", "PUT", self.prefix + target, (), headers, patience=COPYING
        )
        try:
            if size > LARGEST_COPY:
                await self._copy_in_parts(self.prefix + target, size, source, wanted)
            else:
                await self.asker.tell(question)
        except S3Refusal as problem:
            if (
                problem.doubtful
                and problem.status == 412
                and key == target
                and (await self.archive_state(key)).storage_class == storage_class
            ):
                return  # an earlier try did it, and its response was lost
            if problem.status in (400, 501) and problem.code in _UNKNOWN_CLASS:
                raise BadRequest(
                    f"The storage refuses the storage class {storage_class} ({problem.code})."
                ) from None
            raise await self._failed(problem, question, key) from problem
        except Fault as problem:
            raise await self._failed(problem, question, key) from problem

    def _copy_headers(
        self, key: str, head: Mapping[str, str], storage_class: str | None
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the headers that name the source, and those that the copy is written with."""
        kept = {
            name: text
            for name, text in head.items()
            if name in _COPIED_HEADERS or name.startswith(_META)
        }
        if storage_class is None and head.get(CLASS) not in ARCHIVES:
            storage_class = head.get(CLASS)
        if storage_class is not None:
            kept[CLASS] = storage_class
        source = {
            "x-amz-copy-source": f"/{self.bucket}/{quoted(self.prefix + key)}",
            "x-amz-copy-source-if-match": f'"{plain_etag(head.get("etag", ""))}"',
        }
        return source, kept

    async def restore(self, key: str) -> None:
        """Request a restore, unless one was requested already."""
        head = await self._head(key)
        if "x-amz-restore" in head:
            return
        days = "" if head.get(CLASS) == INTELLIGENT_TIERING else f"<Days>{RESTORED_DAYS}</Days>"
        tier = "<GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters>"
        text = f'<RestoreRequest xmlns="{multipart.NAMESPACE}">{days}{tier}</RestoreRequest>'
        body = BytesPayload((text.encode(),))
        hashed = await digest(body, self.blocking)
        headers = {"Content-Type": "application/xml"}
        question = S3Request(
            "RestoreObject", "POST", self.prefix + key, (("restore", ""),), headers, body, hashed
        )
        try:
            await self.asker.tell(question)
        except S3Refusal as problem:
            if problem.code not in (
                "RestoreAlreadyInProgress",
                "InvalidObjectState",
            ):  # the latter: there is nothing to restore
                raise await self._failed(problem, question, key) from problem
        except Fault as problem:
            raise await self._failed(problem, question, key) from problem

    # --- requests ---

    async def _head(self, key: str) -> Mapping[str, str]:
        question = S3Request("HeadObject", "HEAD", self.prefix + key)
        try:
            return (await self.asker.tell(question)).headers
        except (S3Refusal, Fault) as problem:
            raise await absent(self.asker, problem, question, key) from problem

    async def _failed(self, problem: S3Refusal | Fault, question: S3Request, key: str) -> Exception:
        """Return the error to raise; an archived object is not logged."""
        if isinstance(problem, S3Refusal) and problem.code in (
            "InvalidObjectState",
            "ObjectNotInActiveTierError",
        ):
            return Archived()
        if isinstance(problem, S3Refusal) and problem.status == 412:
            return StorageDown("other bytes replaced these meanwhile.")
        return await absent(self.asker, problem, question, key)

    # --- large objects ---

    async def _copy_in_parts(
        self, key: str, size: int, source: Mapping[str, str], wanted: Mapping[str, str]
    ) -> None:
        upload = await multipart.create(self.asker, key, wanted)
        spans = [(first, min(first + COPY_PART, size) - 1) for first in range(0, size, COPY_PART)]
        copied: list[UploadPart] = []
        try:
            for begin in range(0, len(spans), AT_ONCE):
                together: list[Deferred[UploadPart | Failure]] = [
                    start(self._copy_part(upload, number, source, *span))
                    for number, span in enumerate(spans[begin : begin + AT_ONCE], begin + 1)
                ]
                copied += _all(await DeferredList(together, consumeErrors=True))
            await multipart.complete(self.asker, self.blocking, upload, copied, {})
        except BaseException:
            await multipart.abort(self.asker, upload)
            raise

    async def _copy_part(
        self, upload: MultipartUpload, number: int, source: Mapping[str, str], first: int, last: int
    ) -> UploadPart:
        query = (("partNumber", str(number)), ("uploadId", upload.upload_id))
        headers = {**source, "x-amz-copy-source-range": f"bytes={first}-{last}"}
        result = await self.asker.tell(
            S3Request("UploadPartCopy", "PUT", upload.key, query, headers, patience=COPYING)
        )
        root = parsed(result.data)
        fields = {} if root is None else texts(root)
        if not fields.get("ETag"):
            raise Fault("it copied a part and gives no ETag for it.")
        return UploadPart(number, plain_etag(fields["ETag"]), fields.get("ChecksumSHA256", ""))


def _all(results: Sequence[tuple[bool, UploadPart | Failure]]) -> list[UploadPart]:
    """Return the parts, once all have ended; raise the first failure."""
    for _, result in results:
        if isinstance(result, Failure):
            result.raiseException()
    return [result for _, result in results if isinstance(result, UploadPart)]


_: type[Bucket] = Classes
