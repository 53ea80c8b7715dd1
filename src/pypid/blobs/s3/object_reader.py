"""Bodies read from S3: exactly the requested bytes, of one version, even if the connection
breaks.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress

from twisted.logger import Logger

from pypid.blobs.s3.client import S3Client, S3Request, S3Response
from pypid.blobs.s3.object_head import absent, look, plain_etag
from pypid.blobs.s3.refusals import S3Refusal
from pypid.core.errors import Missing, StorageDown
from pypid.core.model import Span
from pypid.flow import BytesBody
from pypid.http_client.faults import Fault
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
    except S3Refusal as problem:
        if problem.status == 416:  # the span begins after the end
            raise Missing(key) from None
        raise await absent(asker, problem, question, key) from problem
    except Fault as problem:
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
        try:
            answer = await self._asker.ask(question)
        except S3Refusal as refused:
            if refused.status in (404, 416) and refused.code != "NoSuchBucket":
                raise StorageDown(CHANGED) from refused
            raise self._asker.failed(refused, question) from refused
        except Fault as fault:
            raise self._asker.failed(fault, question) from fault
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
