"""A multipart/form-data body in its parts (RFC 7578, RFC 2046), the same however the network cut
the bytes.

The parser of `multipart` does the work. In three places its answer hangs on where a piece of the
body ends: what comes before the first boundary, a bare LF within the headers of a part, and a line
of headers of just the largest size. Such an answer would be luck for who uploads, so those three
are decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from multipart import MultipartSegment, ParserError, ParserLimitReached, PushMultipartParser

Event: TypeAlias = MultipartSegment | bytes | None
"""A part begins; more of what is in it; its end."""


class MultipartParser:
    """Takes pieces of a body, and gives what is in them."""

    def __init__(self, boundary: bytes, *, at_most: int) -> None:
        self._line = b"\n--" + boundary
        # latin-1 keeps bytes
        self._parser = _Parser(boundary, max_segment_count=at_most, header_charset="latin-1")
        self._before: bytes | None = b"\r\n"
        """The end of what has come before the first boundary, None behind it. A body begins as if
        on a new line.
        """

    def parse(self, piece: bytes) -> Iterator[Event]:
        """What is in the next `piece`; to be read to its end. Raises `multipart.MultipartError`."""
        if self._before is not None:
            piece = self._behind_preamble(self._before + piece)
        if piece:  # an empty one would mean the end of the body
            yield from self._parser.parse(piece)

    def _behind_preamble(self, data: bytes) -> bytes:
        """From the first boundary on that begins a line: what is before it means nothing (RFC 2046,
        5.1.1).
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
        """The body is over. Raises `multipart.ParserError` if its last boundary has not come."""
        self._parser.close()


class _Parser(PushMultipartParser):  # type: ignore[misc]
    def _on_segment_headerline(self, line: bytes) -> None:
        """Take a whole line of headers, by the rules that hold while the parser waits for the end
        of one.
        """
        if b"\n" in line:
            raise ParserError("Invalid line break in segment header")
        if len(line) >= self.max_header_size:  # its CR may have come alone, and counted
            raise ParserLimitReached("Maximum segment header length exceeded")
        super()._on_segment_headerline(line)
