"""Bodies of upstream responses: the Content-Encoding is removed in steps of bounded size, so that a
small response cannot become a large one in memory; and ranges of files are cut out and checked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing

from attrs import define

from pypid.core.errors import BadListing, UpstreamDown
from pypid.core.model import Span
from pypid.http_client.response_body import BROKEN_OFF
from pypid.ports import Body

STEP = 1 << 16
"""Bytes unpacked at a time."""
_GZIP = 31
"""zlib's window bits for a gzip header, and the largest window."""
_MAGIC = b"\x1f\x8b"
_NONE = ("", "identity")
_PACKED = ("gzip", "x-gzip")


class _Gunzip:
    """Unpacks one or more concatenated gzip members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def steps(self, data: bytes) -> Iterator[bytes]:
        """Yield the output for some more bytes. Raises `zlib.error`."""
        while data:
            if self._member.eof:
                if not data.startswith(_MAGIC[: len(data)]):
                    return  # padding
                self._member = zlib.decompressobj(_GZIP)
            out = self._member.decompress(data, STEP)
            self._begun = True
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            while out:
                yield out
                # some output may be held back although all input is consumed
                out = b"" if data or self._member.eof else self._member.decompress(b"", STEP)

    @property
    def whole(self) -> bool:
        """Whether the last member has ended, or there was no input at all."""
        return self._member.eof or not self._begun


def unpacked(data: bytearray, encoding: str, limit: int) -> Generator[None, None, bytearray]:
    """Return a page without its Content-Encoding, as a generator of slices.

    Raises `BadListing` beyond `limit` bytes, `UpstreamDown` if it breaks off.
    """
    if encoding in _NONE:
        return data
    if encoding not in _PACKED:
        raise BadListing(
            f"it uses the Content-Encoding {encoding[:20]!r}, which pypid did not request."
        )
    gunzip, out = _Gunzip(), bytearray()
    try:
        for start in range(0, len(data), STEP):
            for piece in gunzip.steps(bytes(data[start : start + STEP])):
                out += piece
                if len(out) > limit:
                    raise BadListing(f"it is larger than {limit >> 20} MiB.")
                yield
    except zlib.error:
        raise BadListing("its gzip is damaged.") from None
    if not gunzip.whole:
        raise UpstreamDown("its answer broke off.")
    return out


@define
class Gunzipped:
    """A file that came with gzip although identity was requested.

    `is_gzip`: it is a gzip file itself. Then the header may only mean that (old configurations of
    Apache send it for every ``.tar.gz``), and the output is inspected: if that is not gzip, the
    input was the file.
    """

    body: Body
    is_gzip: bool

    @property
    def size(self) -> int | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self.body):
            pieces = aiter(self.body)
            first = b""
            while len(first) < 64 and (piece := await anext(pieces, b"")):
                first += piece
            if not first.startswith(_MAGIC) or (
                self.is_gzip and not _begins(first).startswith(_MAGIC)
            ):
                yield first
                async for piece in pieces:
                    yield piece
                return
            gunzip, piece = _Gunzip(), first
            while piece:
                try:
                    for out in gunzip.steps(piece):
                        yield out
                except zlib.error:
                    raise UpstreamDown("its gzip is damaged.") from None
                piece = await anext(pieces, b"")
            if not gunzip.whole:
                raise UpstreamDown("its answer broke off.")

    async def aclose(self) -> None:
        await self.body.aclose()


def _begins(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(_GZIP).decompress(data, 64)
    except zlib.error:
        return b""


# --- ranges ---


_CONTENT_RANGE = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)\Z", re.IGNORECASE
)


def header(span: Span) -> str:
    """Return the ``Range`` header for `span`."""
    return f"bytes={span.start}-{span.stop - 1}"


def is_answered(span: Span, content_range: str) -> bool:
    """Return whether this ``Content-Range`` is exactly the span."""
    match = _CONTENT_RANGE.match(content_range)
    return match is not None and (int(match[1]), int(match[2])) == (span.start, span.stop - 1)


@define
class Cut:
    """The bytes `start` to `stop` of a body; raises `UpstreamDown` if there are fewer. Bytes after
    them are not read.
    """

    body: Body
    span: Span

    @property
    def size(self) -> int | None:
        return self.span.stop - self.span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = 0
        async with aclosing(self.body):
            async for piece in self.body:
                wanted = piece[
                    max(0, self.span.start - position) : max(0, self.span.stop - position)
                ]
                position += len(piece)
                if wanted:
                    yield wanted
                if position >= self.span.stop and self.body.size != self.span.stop:
                    # else its end is next, and reading it keeps the connection open for reuse
                    return
        if position >= self.span.stop:
            return
        raise UpstreamDown(BROKEN_OFF)

    async def aclose(self) -> None:
        await self.body.aclose()
