"""Multipart uploads of large objects: parts are retried individually, and completed or aborted at
the end.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from xml.sax.saxutils import escape

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.blobs.s3.client import S3Client, S3Request, S3Result
from pypid.blobs.s3.object_head import plain_etag
from pypid.blobs.s3.payloads import BytesPayload, digest
from pypid.blobs.s3.refusals import S3Refusal, local, parsed
from pypid.flow import Blocking, start
from pypid.http_client.faults import Fault
from pypid.http_client.request_body import Payload

CHECKSUM = "x-amz-checksum-sha256"
ALGORITHM = "x-amz-checksum-algorithm"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
ASSEMBLY = 4.0
"""Factor of the usual time-out for completing an upload: some stores copy the parts."""
_log = Logger()


@frozen
class MultipartUpload:
    """An upload that was begun. `key` is the full key in the bucket. `checked`: the store keeps
    checksums of its parts.
    """

    key: str
    upload_id: str
    checked: bool = False


@frozen
class UploadPart:
    """A part that was sent: its number, from 1, and the store's ETag and checksum."""

    number: int
    etag: str
    checksum: str


def checksum(digest_: bytes) -> str:
    """Return a SHA-256 in S3's notation (base64)."""
    return b64encode(digest_).decode("ascii")


async def create(asker: S3Client, key: str, headers: Mapping[str, str]) -> MultipartUpload:
    """Begin an upload. Raises `S3Refusal` and `Fault`, as all functions here."""
    result = await asker.tell(
        S3Request("CreateMultipartUpload", "POST", key, (("uploads", ""),), headers)
    )
    root = parsed(result.data)
    upload_id = (
        ""
        if root is None
        else next((child.text or "" for child in root if local(child) == "UploadId"), "")
    )
    if not upload_id:
        raise Fault("it began a multipart upload and does not say how to go on.")
    return MultipartUpload(key, upload_id, result.headers.get(ALGORITHM, "").upper() == "SHA256")


async def send(
    asker: S3Client,
    blocking: Blocking,
    upload: MultipartUpload,
    payloads: AsyncIterator[Payload],
    at_once: int,
    bound: DeferredSemaphore,
) -> Sequence[UploadPart]:
    """Send all parts, `at_once` of them at a time, and as many of all uploads as `bound` has room
    for. Also raises what `payloads` raises; then no request is under way any more.
    """
    slots = DeferredSemaphore(at_once)
    return await _PartRequests(asker, blocking, upload, slots, bound).all(payloads)


@define(eq=False)
class _PartRequests:
    """The requests that send the parts of one upload. The first one that fails ends the others."""

    asker: S3Client
    blocking: Blocking
    upload: MultipartUpload
    slots: DeferredSemaphore
    bound: DeferredSemaphore
    _sent: list[UploadPart] = field(factory=list, init=False)
    _under_way: set[Deferred[None]] = field(factory=set, init=False)
    _failure: Failure | None = field(default=None, init=False)

    async def all(self, payloads: AsyncIterator[Payload]) -> Sequence[UploadPart]:
        """Send all parts and return them in order."""
        number = 0
        try:
            async for payload in payloads:
                await self.slots.acquire()
                if self._failure is not None:
                    break
                number += 1
                self._begin(number, payload)
                del payload  # frees it while the next one is collected
            await DeferredList(list(self._under_way))
        finally:
            self._cancel()
        if self._failure is not None:
            self._failure.raiseException()
        return sorted(self._sent, key=lambda part: part.number)

    def _begin(self, number: int, payload: Payload) -> None:
        request = start(self._send_one(number, payload))
        self._under_way.add(request)
        request.addBoth(self._ended, request)

    async def _send_one(self, number: int, payload: Payload) -> None:
        await self.bound.acquire()
        try:
            part = await send_part(self.asker, self.blocking, self.upload, number, payload)
            self._sent.append(part)
        finally:
            self.bound.release()

    def _ended(self, result: Failure | None, request: Deferred[None]) -> None:
        self._under_way.discard(request)
        if isinstance(result, Failure):
            self._failure = self._failure or result
            self._cancel()
        self.slots.release()

    def _cancel(self) -> None:
        for request in list(self._under_way):
            request.cancel()


async def send_part(
    asker: S3Client, blocking: Blocking, upload: MultipartUpload, number: int, payload: Payload
) -> UploadPart:
    """Send one part and return the store's answer for it."""
    hashed = await digest(payload, blocking)
    query = (("partNumber", str(number)), ("uploadId", upload.upload_id))
    headers = {CHECKSUM: checksum(hashed)} if upload.checked else {}
    result = await asker.tell(
        S3Request("UploadPart", "PUT", upload.key, query, headers, payload, hashed)
    )
    etag = plain_etag(result.headers.get("etag", ""))
    if not etag:
        raise Fault("it took a part and gives no ETag for it.")
    return UploadPart(number, etag, result.headers.get(CHECKSUM, ""))


async def complete(
    asker: S3Client,
    blocking: Blocking,
    upload: MultipartUpload,
    sent_parts: Sequence[UploadPart],
    headers: Mapping[str, str],
) -> tuple[S3Result, str]:
    """Complete the upload: from now on the object exists. Return the response and the object's
    ETag.
    """
    body = BytesPayload((_manifest(sent_parts),))
    hashed = await digest(body, blocking)
    query = (("uploadId", upload.upload_id),)
    sent = {"Content-Type": "application/xml", **headers}
    result = await asker.tell(
        S3Request(
            "CompleteMultipartUpload", "POST", upload.key, query, sent, body, hashed, ASSEMBLY
        )
    )
    root = parsed(result.data)
    etag = (
        ""
        if root is None
        else next((child.text or "" for child in root if local(child) == "ETag"), "")
    )
    return result, plain_etag(etag)


def _manifest(sent_parts: Sequence[UploadPart]) -> bytes:
    pieces = [f'<CompleteMultipartUpload xmlns="{NAMESPACE}">']
    for part in sent_parts:
        kept = f"<ChecksumSHA256>{escape(part.checksum)}</ChecksumSHA256>" if part.checksum else ""
        etag = f"<ETag>&quot;{escape(part.etag)}&quot;</ETag>"
        pieces.append(f"<Part><PartNumber>{part.number}</PartNumber>{etag}{kept}</Part>")
    pieces.append("</CompleteMultipartUpload>")
    return "".join(pieces).encode()


async def abort(asker: S3Client, upload: MultipartUpload) -> None:
    """Delete the parts; a failure is logged (a rule of the bucket removes them later)."""
    try:
        await asker.tell(
            S3Request(
                "AbortMultipartUpload", "DELETE", upload.key, (("uploadId", upload.upload_id),)
            )
        )
    except S3Refusal as problem:
        if problem.code != "NoSuchUpload":
            _log.warn(
                "An unfinished upload of {key!r} remains in S3: {problem}",
                key=upload.key,
                problem=problem,
            )
    except Fault as problem:
        _log.warn(
            "An unfinished upload of {key!r} remains in S3: {problem}",
            key=upload.key,
            problem=problem,
        )
