"""Streams from compressed files: bounded in memory and in output, with exactly one stream per file.

Readers disagree about what follows the first gzip, bzip2 or xz stream: some read on, some stop. So
nothing may follow it but zeros (which all of them skip, and which tape-minded tools append).
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from typing import BinaryIO, Protocol

from pypid.core.archives.members import BOMB, MOST_UNPACKED, UnusableArchive, is_bomb

_BATCH = 1 << 18
_PIECE = 1 << 20
_XZ_MEMORY = 256 << 20
"""Maximum size in bytes of an xz stream's dictionary; ``xz -9`` uses 64 MiB."""


class _Decoder(Protocol):
    """The common interface of the decompressors of bz2 and lzma."""

    def decompress(self, data: bytes, max_length: int) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of the other two."""

    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflating.decompress(self._inflating.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._inflating.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflating.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflating.unused_data


def _decoder(filename: str) -> _Decoder:
    if filename.endswith((".bz2", ".tbz")):
        return bz2.BZ2Decompressor()
    if filename.endswith((".xz", ".txz")):
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return _Gzip()


class Unpacked:
    """The bytes of one compressed file, read forwards once.

    `filename` determines the compression (``.gz`` and ``.tgz``, ``.bz2`` and ``.tbz``, ``.xz`` and
    ``.txz``). `read` and `skip` raise `UnusableArchive` if the stream is damaged, cut off, a bomb,
    or has more than `most` bytes.
    """

    def __init__(self, file: BinaryIO, filename: str, most: int = MOST_UNPACKED) -> None:
        self._most = most
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file = file
        self._decoder = _decoder(filename)
        self._buffer = b""
        self._position = 0
        self._unpacked = 0

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        pieces: list[bytes] = []
        while size > 0:
            piece = self._take(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def skip(self, size: int) -> int:
        """Skip `size` bytes; return how many there were."""
        left = size
        while left > 0:
            taken = self._take_count(left)
            if not taken:
                break
            left -= taken
        return size - left

    def pieces(self) -> bytes:
        """Return the next bytes, at most 1 MiB; empty at the end."""
        return self._take(_PIECE)

    def finish(self) -> None:
        """Raise `UnusableArchive` unless only zeros follow the stream in the file (call it at the
        end of the stream).
        """
        rest = self._decoder.unused_data
        while rest:
            if rest.strip(b"\0"):
                raise UnusableArchive(
                    "the file has data after its compressed stream; build it again with a current "
                    "build tool."
                )
            rest = self._file.read(_BATCH)

    def _take(self, most: int) -> bytes:
        if self._position == len(self._buffer):
            self._fill()
        piece = self._buffer[self._position : self._position + most]
        self._position += len(piece)
        return piece

    def _take_count(self, most: int) -> int:
        if self._position == len(self._buffer):
            self._fill()
        taken = min(most, len(self._buffer) - self._position)
        self._position += taken
        return taken

    def _fill(self) -> None:
        self._buffer, self._position = b"", 0
        while not self._buffer and not self._decoder.eof:
            data = self._file.read(_BATCH) if self._decoder.needs_input else b""
            if not data and self._decoder.needs_input:
                raise UnusableArchive(
                    "the compressed stream was cut off: build the file again and upload it."
                )
            try:
                self._buffer = self._decoder.decompress(data, _PIECE)
            except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
                raise UnusableArchive(
                    "the file is not compressed as its name says, or it is damaged: build it again."
                ) from None
        self._unpacked += len(self._buffer)
        if is_bomb(self._unpacked, self._size):
            raise UnusableArchive(BOMB)
        if self._unpacked > self._most:
            raise UnusableArchive(f"it unpacks to more than {self._most >> 20} MiB.")
