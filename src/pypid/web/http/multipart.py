"""Parser of multipart/form-data bodies (RFC 7578, RFC 2046) whose result does not depend on how the
network cut the bytes.

The parser of `multipart` does the work. In three places its result depends on where a piece of the
body ends: what comes before the first boundary, a bare LF within the headers of a part, and a
header line of exactly the maximum size. Such results would be arbitrary for the uploader, so those
three are decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from multipart import MultipartSegment, ParserError, ParserLimitReached, PushMultipartParser

Event: TypeAlias = MultipartSegment | bytes | None
"""The beginning of a part; more of its data; its end."""


class MultipartParser:
    """Takes pieces of a body, and yields its parts."""

    def __init__(self, boundary: bytes, *, at_most: int) -> None:
        self._line = b"\n--" + boundary
        # latin-1 preserves bytes
        self._parser = _Parser(boundary, max_segment_count=at_most, header_charset="latin-1")
        self._before: bytes | None = b"\r\n"
        """The end of what has come before the first boundary, None after it. A body begins as if on
        a new line.
        """

    def parse(self, piece: bytes) -> Iterator[Event]:
        """Yield the events of the next `piece`; to be read to the end. Raises
        `multipart.MultipartError`.
        """
        if self._before is not None:
            piece = self._behind_preamble(self._before + piece)
        if piece:  # an empty one would mean the end of the body
            yield from self._parser.parse(piece)

    def _behind_preamble(self, data: bytes) -> bytes:
        """Return the data from the first boundary at the start of a line; what is before it means
        nothing (RFC 2046, 5.1.1).
        """
        at = data.find(self._line)
        if at < 0:
            self._before = data[-len(self._line) :]
            return b""
        if data[at - 1 : at] != b"\r":
            raise ParserError("Invalid line break before first boundary")
        self._before = None
        return data[at + 1 :]

    def close(self) -> None:
        """End the body. Raises `multipart.ParserError` if its last boundary has not come."""
        self._parser.close()


class _Parser(PushMultipartParser):  # type: ignore[misc]
    def _on_segment_headerline(self, line: bytes) -> None:
        """Process a whole header line, by the rules that hold while the parser waits for the end of
        one.
        """
        if b"\n" in line:
            raise ParserError("Invalid line break in segment header")
        if len(line) >= self.max_header_size:  # its CR may have come alone, and counted
            raise ParserLimitReached("Maximum segment header length exceeded")
        super()._on_segment_headerline(line)
