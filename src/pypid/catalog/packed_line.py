"""The line of an upstream project whose listed files are compressed, in memory or on disk."""

from __future__ import annotations

import msgspec
from twisted.logger import Logger

from pypid.catalog.spill import SpilledBytes
from pypid.core.compression import content, fragment
from pypid.core.errors import Unreadable
from pypid.core.records.documents import FILES, Head, load_head
from pypid.core.records.upstream_entry import (
    compressed_blocks,
    text_of_blocks,
    without_listing,
)

_log = Logger()

SHORTEST = 1024
"""Bytes of the shortest line that is packed."""
PACKED_MARK = b',"packed":'
_BLOCKS = b"\x07"
"""The first byte of a part that consists of blocks that are compressed already. No deflate data
begins with it.
"""
_blocks = msgspec.msgpack.Decoder(list[bytes])
LOST = b""
"""The part of a line whose listed files could not be written to the disk."""


class PackedLine(msgspec.Struct, gc=False, eq=False):
    """`beginning` is all of the line before its listed files, without the last brace; `part` is the
    rest, compressed (None: there are no listed files); `size` is the length of the whole line.
    Files that the line has as compressed blocks are not compressed again.
    """

    beginning: bytes
    size: int
    part: bytes | SpilledBytes | None

    def __len__(self) -> int:
        return self.size

    @property
    def short(self) -> bytes:
        """The line without its listed files: as JSON, complete."""
        return self.beginning + b"}"

    @property
    def head(self) -> Head:
        """The line's head."""
        return load_head(self.short)

    @property
    def is_spilled(self) -> bool:
        """Whether the listed files are on disk."""
        return isinstance(self.part, SpilledBytes)

    def line(self) -> bytes:
        """Return the line; blocks if a part of it is on disk. If that is damaged or lost, it is the
        line of an entry without a listing: then upstream is asked again.
        """
        part = self.part
        if part is None:
            return self.short
        try:
            packed = part if isinstance(part, bytes) else part.read()
            line = self.beginning + _unpacked(packed, self.size)
            if len(line) == self.size:
                return line
            error: Exception = Unreadable("a spilled listing", "it is incomplete")
        except (Unreadable, ValueError) as damage:
            error = damage
        if part != LOST:
            _log.warn(
                "An upstream listing could not be read back from the state folder. It is "
                "requested again: {error}",
                error=error,
            )
        return without_listing(self.beginning)

    def dumped(self) -> bytes:
        """Return the line for a dump, with its listed files compressed; blocks as `line`."""
        part = self.part
        if part is None:
            return self.short
        try:
            packed = part if isinstance(part, bytes) else part.read()
        except Unreadable:
            packed = LOST
        if packed == LOST:
            return without_listing(self.beginning)
        sizes = b"[%d,%d]}\n" % (len(packed), self.size)
        return b"".join((self.beginning, PACKED_MARK, sizes, packed))

    def move(self, part: bytes | SpilledBytes) -> None:
        """Hold the same part elsewhere, or lose it."""
        self.part = part

    def with_beginning(self, beginning: bytes) -> PackedLine:
        """Return the line of an entry with the same listed files."""
        return PackedLine(beginning, self.size - len(self.beginning) + len(beginning), self.part)


def pack(line: bytes) -> PackedLine:
    """Return the line with its listed files compressed."""
    end = line.find(FILES)
    if end < 0:
        return PackedLine(line[:-1], len(line), None)
    return PackedLine(line[:end], len(line), _packed(line[end:]))


def _packed(rest: bytes) -> bytes:
    blocks = compressed_blocks(rest)
    return fragment(rest) if blocks is None else _BLOCKS + msgspec.msgpack.encode(blocks)


def _unpacked(part: bytes, limit: int) -> bytes:
    """Return what `_packed` was given. Raises `ValueError`."""
    if not part.startswith(_BLOCKS):
        return content(part, limit)
    return text_of_blocks(_blocks.decode(memoryview(part)[len(_BLOCKS) :]))
