"""Writing one object: whole or not at all, and only if absent where that is required."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.blobs.s3 import multipart
from pypid.blobs.s3.client import S3Client, S3Request, S3Result
from pypid.blobs.s3.multipart import ALGORITHM, CHECKSUM, checksum
from pypid.blobs.s3.object_head import MARK, ObjectHead, head, look, plain_etag
from pypid.blobs.s3.payloads import NOTHING, BytesPayload, digest, parts_of
from pypid.blobs.s3.refusals import S3Refusal, http_date
from pypid.blobs.s3.response_headers import content_type, disposition, file_name
from pypid.core.errors import Exists, PypidError, StorageDown
from pypid.core.model import Blob
from pypid.flow import World, start
from pypid.flow.single_flight import Locks
from pypid.http_client.faults import Fault
from pypid.http_client.request_body import Payload
from pypid.ports import Body

AT_ONCE_FROM_FILE, AT_ONCE_HELD = 8, 2
"""Parts of one upload that are sent at the same time: those of a file need little memory."""
MOST_AT_ONCE = 32
"""Parts of all uploads that are sent at the same time."""
ONLY_IF_ABSENT: Mapping[str, str] = {"If-None-Match": "*"}
_log = Logger()


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
            try:
                if second is None:
                    return await self._put(key, first, replace)
                at_once = AT_ONCE_HELD if isinstance(first, BytesPayload) else AT_ONCE_FROM_FILE
                chained = _chained([first, second], payloads)
                del first, second
                async with aclosing(chained):
                    return await self._in_parts(key, chained, replace, at_once)
            except (S3Refusal, Fault) as problem:
                raise self._asker.failed(problem, S3Request("PutObject", "PUT", key)) from problem

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
        upload = await multipart.create(self._asker, self._prefix + key, headers)
        counted = _Counted(payloads)
        try:
            sent = await multipart.send(
                self._asker, blocking, upload, counted, at_once, self._parts_bound
            )
            async with self._exclusively(key, replace):
                once = ONLY_IF_ABSENT if self.ability.once_in_parts and not replace else {}
                try:
                    result, etag = await multipart.complete(
                        self._asker, blocking, upload, sent, once
                    )
                except S3Refusal as problem:
                    return (await self._refused(key, mark, replace, problem)).blob
        except Exception:
            self._abort(upload)
            raise
        return await self._looked_after(key, mark, counted.size, result, etag)

    def _abort(self, upload: multipart.MultipartUpload) -> None:
        """Abort the upload in the background: the caller gets the failure at once."""
        aborting = start(multipart.abort(self._asker, upload))
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
        usual = {**(said_of_it if page is None else {"Content-Type": page}), MARK: mark}
        return {
            **usual,
            **self._object_headers,
        }

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


class _Counted:
    """Counts the bytes of the parts that pass through."""

    def __init__(self, payloads: AsyncIterator[Payload]) -> None:
        self._payloads = payloads
        self.size = 0

    def __aiter__(self) -> AsyncIterator[Payload]:
        return self

    async def __anext__(self) -> Payload:
        part = await anext(self._payloads)
        self.size += part.size
        return part


async def _chained(first: list[Payload], rest: AsyncIterator[Payload]) -> AsyncGenerator[Payload]:
    """Yield all of them; yielded ones are not held any longer."""
    first.reverse()
    while first:
        yield first.pop()
    async for part in rest:
        yield part
