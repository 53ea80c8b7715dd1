"""Objects of S3, read and written whole, in parts, and in ranges.

Bodies read from S3: exactly the requested bytes, of one version, even if the connection
breaks.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from xml.sax.saxutils import escape

from attrs import Factory, define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.blobs.s3.client import (
    MARK,
    NOTHING,
    BytesPayload,
    ObjectHead,
    S3Client,
    S3Request,
    S3Response,
    S3Result,
    absent,
    digest,
    head,
    look,
    parts_of,
    plain_etag,
)
from pypid.blobs.s3.refusals import S3Refusal, fields, http_date
from pypid.blobs.s3.signatures import content_type, disposition, file_name
from pypid.core.errors import Exists, Missing, PypidError, StorageDown
from pypid.core.model import Blob, Span
from pypid.flow import Blocking, BytesBody, World, start
from pypid.flow.derived import Locks
from pypid.http_client.connections import Fault
from pypid.http_client.request_body import Payload
from pypid.ports import Body

RESUMED = 4
"""How often in a row a body is resumed without receiving a byte in between."""
CHANGED = "the file was replaced or deleted while it was read."
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\Z", re.IGNORECASE)
_log = Logger()


async def read(asker: S3Client, prefix: str, key: str, span: Span | None) -> Body:
    """Return the bytes of the key, or those of `span`. Raises `Missing` and `StorageDown`."""
    if span is not None and span.start == span.stop:
        found = await look(asker, prefix, key)
        if found is None or span.stop > found.blob.size:
            raise Missing(key)
        return BytesBody(b"")
    question = _question(prefix + key, span)
    try:
        answer = await asker.ask(question)
    except (S3Refusal, Fault) as problem:
        if isinstance(problem, S3Refusal) and problem.status == 416:  # it begins after the end
            raise Missing(key) from None
        raise await absent(asker, problem, question, key) from problem
    try:
        return _opened(asker, prefix, key, answer, span)
    except BaseException:
        await answer.body.aclose()
        raise


def _opened(
    asker: S3Client, prefix: str, key: str, answer: S3Response, span: Span | None
) -> ObjectReader:
    length, etag = answer.body.size, plain_etag(answer.headers.get("etag", ""))
    if length is None or not etag:
        raise StorageDown("its answer lacks an object's length or ETag: this is no S3.")
    if span is None:
        if answer.status != 200:
            raise StorageDown("it answers with a part of the requested bytes.")
        return ObjectReader(asker, prefix + key, answer, Span(0, length), etag)
    first, last, size = _content_range(answer)
    if size is not None and span.stop > size:
        raise Missing(key)
    if (first, last) != (span.start, span.stop - 1) or length != span.stop - span.start:
        raise StorageDown("it answers with another part than the requested one.")
    return ObjectReader(asker, prefix + key, answer, span, etag)


def _question(full: str, span: Span | None) -> S3Request:
    headers = {} if span is None else {"Range": f"bytes={span.start}-{span.stop - 1}"}
    return S3Request("GetObject", "GET", full, headers=headers)


def _content_range(answer: S3Response) -> tuple[int | None, int | None, int | None]:
    match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if answer.status != 206 or match is None:
        return None, None, None
    return int(match[1]), int(match[2]), int(match[3])


class ObjectReader:
    """A `Body` of the bytes `span` of one version of an object. Raises `StorageDown` rather than
    ending early.
    """

    def __init__(
        self, asker: S3Client, full: str, answer: S3Response, span: Span, etag: str
    ) -> None:
        self._asker = asker
        self._full = full
        self._answer = answer
        self._span = span
        self._position = span.start
        self._etag = etag
        self._closed = False

    @property
    def size(self) -> int | None:
        return self._span.stop - self._span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        breaks = 0
        while self._position < self._span.stop:
            try:
                piece = await anext(self._answer.body)
            except StopAsyncIteration:
                problem = Fault("its answer is shorter than it said.")
            except Fault as fault:
                problem = fault
            else:
                breaks = 0
                self._position += len(piece)
                if self._position > self._span.stop:
                    raise StorageDown("its answer is longer than it said.")
                yield piece
                continue
            breaks += 1
            await self._go_on(problem, breaks)
        with suppress(Fault):  # all is received; reading the end frees the connection for reuse
            async for _ in self._answer.body:
                raise StorageDown("its answer is longer than it said.")

    async def _go_on(self, problem: Fault, breaks: int) -> None:
        """Request the rest of the same version. (``If-Match`` is useless: radosgw wants ETags
        without quotes, Swift none.)
        """
        question = _question(self._full, Span(self._position, self._span.stop))
        if breaks > RESUMED:
            raise self._asker.failed(problem, question) from problem
        _log.info("A download from S3 was interrupted ({problem}) and is resumed", problem=problem)
        await self._answer.body.aclose()
        with self._asker.failing(question):
            try:
                answer = await self._asker.ask(question)
            except S3Refusal as refused:
                if refused.status in (404, 416) and refused.code != "NoSuchBucket":
                    raise StorageDown(CHANGED) from refused
                raise
        self._answer = answer
        if self._closed:
            reason = "its reader has closed it."
        elif plain_etag(answer.headers.get("etag", "")) != self._etag:
            reason = CHANGED
        elif _content_range(answer)[:2] != (self._position, self._span.stop - 1):
            reason = "it answers with another part than the requested one."
        else:
            return
        await answer.body.aclose()
        raise StorageDown(reason)

    async def aclose(self) -> None:
        self._closed = True
        await self._answer.body.aclose()


# Multipart uploads of large objects: parts are retried individually, and completed or aborted at
# the end.

CHECKSUM = "x-amz-checksum-sha256"
ALGORITHM = "x-amz-checksum-algorithm"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
ASSEMBLY = 4.0
"""Factor of the usual time-out for completing an upload: some stores copy the parts."""


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
    """A part that was sent: its number, from 1, the store's ETag and checksum, and its size in
    bytes.
    """

    number: int
    etag: str
    checksum: str
    size: int


def checksum(digest_: bytes) -> str:
    """Return a SHA-256 in S3's notation (base64)."""
    return b64encode(digest_).decode("ascii")


async def create(asker: S3Client, key: str, headers: Mapping[str, str]) -> MultipartUpload:
    """Begin an upload. Raises `S3Refusal` and `Fault`, as all functions here."""
    result = await asker.tell(
        S3Request("CreateMultipartUpload", "POST", key, (("uploads", ""),), headers)
    )
    upload_id = fields(result.data).get("UploadId", "")
    if not upload_id:
        raise Fault("it began a multipart upload and does not say how to go on.")
    return MultipartUpload(key, upload_id, result.headers.get(ALGORITHM, "").upper() == "SHA256")


@define(eq=False)
class PartRequests:
    """The requests that send the parts of one upload, `at_once` of them at a time, and as many of
    all uploads as `bound` has room for. The first one that fails ends the others.
    """

    asker: S3Client
    blocking: Blocking
    upload: MultipartUpload
    at_once: int
    bound: DeferredSemaphore
    _slots: DeferredSemaphore = field(
        default=Factory(lambda requests: DeferredSemaphore(requests.at_once), takes_self=True),
        init=False,
    )
    _sent: list[UploadPart] = field(factory=list, init=False)
    _under_way: set[Deferred[None]] = field(factory=set, init=False)
    _failure: Failure | None = field(default=None, init=False)

    async def all(self, payloads: AsyncIterator[Payload]) -> Sequence[UploadPart]:
        """Send all parts and return them in order. Also raises what `payloads` raises; then no
        request is under way any more.
        """
        number = 0
        try:
            async for payload in payloads:
                await self._slots.acquire()
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
        self._slots.release()

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
    return UploadPart(number, etag, result.headers.get(CHECKSUM, ""), payload.size)


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
    return result, plain_etag(fields(result.data).get("ETag", ""))


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
    except (S3Refusal, Fault) as problem:
        if isinstance(problem, Fault) or problem.code != "NoSuchUpload":
            _log.warn(
                "An unfinished upload of {key!r} remains in S3: {problem}",
                key=upload.key,
                problem=problem,
            )


# Writing one object: whole or not at all, and only if absent where that is required.

AT_ONCE_FROM_FILE, AT_ONCE_HELD = 8, 2
"""Parts of one upload that are sent at the same time: those of a file need little memory."""
MOST_AT_ONCE = 32
"""Parts of all uploads that are sent at the same time."""
ONLY_IF_ABSENT: Mapping[str, str] = {"If-None-Match": "*"}


@frozen
class Ability:
    """The abilities of a store. `once`, `once_in_parts`: write only if absent. `checksums`: store
    SHA-256 checksums that are sent.

    `exact`: `once` also holds for concurrent writers (not in Swift).
    """

    once: bool
    once_in_parts: bool
    exact: bool
    checksums: bool
    checksums_of_parts: bool

    @property
    def exclusive_puts(self) -> bool:
        """Whether exactly one of several writers wins, wherever they are, if each sends one
        request (Ceph, too).
        """
        return self.once and self.exact

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of several writers wins, wherever they are; else only if they are in
        this process.
        """
        return self.exclusive_puts and self.once_in_parts


class Writer:
    """Writes objects. `object_headers` are the headers that every object is written with
    (encryption, storage class); `page_type` and `is_document` are described in `S3Settings`.
    """

    def __init__(
        self,
        asker: S3Client,
        prefix: str,
        object_headers: Mapping[str, str],
        ability: Ability,
        world: World,
        page_type: Callable[[str], str | None] = lambda key: None,
        is_document: Callable[[str], bool] = lambda key: False,
    ) -> None:
        self.ability = ability
        self._asker = asker
        self._prefix = prefix
        self._object_headers = object_headers
        self._world = world
        self._page_type = page_type
        self._is_document = is_document
        self._locks: Locks[str] = Locks()
        self._aborting: set[Deferred[None]] = set()
        self._parts_bound = DeferredSemaphore(MOST_AT_ONCE)

    async def write(self, key: str, body: Body, *, replace: bool) -> Blob:
        """Store the body, which the caller closes."""
        async with aclosing(parts_of(body, self._world.blocking)) as payloads:
            first = await anext(payloads, NOTHING)
            second = await anext(payloads, None)
            with self._asker.failing(S3Request("PutObject", "PUT", key)):
                if second is None:
                    return await self._put(key, first, replace)
                at_once = AT_ONCE_HELD if isinstance(first, BytesPayload) else AT_ONCE_FROM_FILE
                chained = _chained([first, second], payloads)
                del first, second
                async with aclosing(chained):
                    return await self._in_parts(key, chained, replace, at_once)

    async def settled(self) -> None:
        """Wait until all abandoned uploads are aborted."""
        await DeferredList(list(self._aborting))

    # --- one request ---

    async def _put(self, key: str, payload: Payload, replace: bool) -> Blob:
        hashed = await digest(payload, self._world.blocking)
        mark = self._mark()
        headers = self._headers(key, mark)
        if self.ability.checksums:
            headers[CHECKSUM] = checksum(hashed)
        if self.ability.once and not replace:
            headers.update(ONLY_IF_ABSENT)
        async with self._exclusively(key, replace):
            question = S3Request(
                "PutObject", "PUT", self._prefix + key, (), headers, payload, hashed
            )
            try:
                result = await self._asker.tell(question)
            except S3Refusal as problem:
                return (await self._refused(key, mark, replace, problem)).blob
        return await self._looked_after(
            key, mark, payload.size, result, plain_etag(result.headers.get("etag", ""))
        )

    # --- multipart ---

    async def _in_parts(
        self,
        key: str,
        payloads: AsyncIterator[Payload],
        replace: bool,
        at_once: int,
    ) -> Blob:
        if not replace and await head(self._asker, self._prefix, key) is not None:
            raise Exists(key)  # early: it may be gigabytes
        mark = self._mark()
        headers = self._headers(key, mark)
        if self.ability.checksums_of_parts:
            headers[ALGORITHM] = "SHA256"
        blocking = self._world.blocking
        upload = await create(self._asker, self._prefix + key, headers)
        requests = PartRequests(self._asker, blocking, upload, at_once, self._parts_bound)
        try:
            sent = await requests.all(payloads)
            async with self._exclusively(key, replace):
                once = ONLY_IF_ABSENT if self.ability.once_in_parts and not replace else {}
                try:
                    result, etag = await complete(self._asker, blocking, upload, sent, once)
                except S3Refusal as problem:
                    return (await self._refused(key, mark, replace, problem)).blob
        except Exception:
            self._abort(upload)
            raise
        size = sum(part.size for part in sent)
        return await self._looked_after(key, mark, size, result, etag)

    def _abort(self, upload: MultipartUpload) -> None:
        """Abort the upload in the background: the caller gets the failure at once."""
        aborting = start(abort(self._asker, upload))
        self._aborting.add(aborting)
        aborting.addErrback(_log_failure)
        aborting.addBoth(lambda _: self._aborting.discard(aborting))

    # --- common ---

    def _mark(self) -> str:
        return self._world.random(16).hex()

    def _headers(self, key: str, mark: str) -> dict[str, str]:
        page = self._page_type(key)  # pages are shown by browsers, not saved
        said_of_it = {
            "Content-Type": content_type(key),
            "Content-Disposition": disposition(file_name(key)),
        }
        usual = said_of_it if page is None else {"Content-Type": page}
        return {**usual, MARK: mark, **self._object_headers}

    @asynccontextmanager
    async def _exclusively(self, key: str, replace: bool) -> AsyncIterator[None]:
        """Hold the key's lock; if the store lets several writers win, check for the object first.

        That a probe saw one winner may be chance: a store that fails only sometimes cannot be
        detected by probing.
        """
        async with self._locks.hold(key):
            if (
                not self.ability.exclusive
                and not replace
                and await head(self._asker, self._prefix, key) is not None
            ):
                raise Exists(key)
            yield

    async def _refused(self, key: str, mark: str, replace: bool, problem: S3Refusal) -> ObjectHead:
        """Return the object if an earlier try of this write created it (so that this one came too
        late); else raise.
        """
        late = problem.status in (304, 409, 412) or problem.code == "NoSuchUpload"
        if not late:
            raise problem
        there = (
            await look(self._asker, self._prefix, key)
            if problem.doubtful or problem.status == 409
            else None
        )
        if there is not None and there.mark == mark:
            return there
        if not replace and (problem.status in (304, 412) or there is not None):
            raise Exists(key) from None
        raise problem

    async def _looked_after(
        self, key: str, mark: str, size: int, result: S3Result, etag: str
    ) -> Blob:
        """Return the object that was just written as a listing shows it: only the store knows its
        date.
        """
        if etag and self._is_document(key):
            return self._told_by(result, key, size, etag)
        try:
            there = await head(self._asker, self._prefix, key)
        except PypidError:
            there = None  # it is stored nevertheless
        if there is None or (
            there.mark != mark and there.blob.etag != etag
        ):  # replaced, or deleted, meanwhile
            if not etag:  # every S3 sends one: this was some proxy's 200
                raise StorageDown("its answer to a write lacks an ETag: this is no S3.")
            return self._told_by(result, key, size, etag)
        if there.blob.size != size:
            _log.error(
                "S3 stored {kept} bytes of {sent} that were sent", kept=there.blob.size, sent=size
            )
            raise StorageDown("it keeps other bytes than were sent.")
        return there.blob

    def _told_by(self, result: S3Result, key: str, size: int, etag: str) -> Blob:
        """Return the object as the response to its write describes it."""
        answered = http_date(result.headers.get("date", ""))
        return Blob(key, size, answered or self._world.now().replace(microsecond=0), etag)


def _log_failure(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):  # raised when pypid stops
        _log.failure("aborting an upload failed", failure=failure)


async def _chained(first: list[Payload], rest: AsyncIterator[Payload]) -> AsyncGenerator[Payload]:
    """Yield all of them; yielded ones are not held any longer."""
    first.reverse()
    while first:
        yield first.pop()
    async for part in rest:
        yield part
