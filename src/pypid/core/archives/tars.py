"""Tar archives as a stream of members, read strictly and in bounded memory.

Not `tarfile`: it reads extended headers of any declared size into memory, searches sparse maps
without bound, and skips unreadable headers; a hostile file can exploit each of these. Source:
POSIX.1-2001 ustar and pax interchange formats; GNU tar "Basic Tar Format" for long names (types L
and K) and base-256 numbers.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from attrs import frozen

from pypid.core.archives.members import BOMB, MOST_ENTRIES, MOST_UNPACKED, UnusableArchive, is_bomb
from pypid.core.errors import shortened

# Streams from compressed files, with exactly one stream per file.
#
# Readers disagree about what follows the first gzip, bzip2 or xz stream: some read on, some stop.
# So nothing may follow it but zeros (which all of them skip, and which tape-minded tools append).

_BATCH = 1 << 18
_PIECE = 1 << 20
_CUT_OFF = "the tar archive was cut off: build the file again and upload it."
_XZ_MEMORY = 256 << 20
"""Maximum size in bytes of an xz stream's dictionary; ``xz -9`` uses 64 MiB."""


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


_Decoder = bz2.BZ2Decompressor | lzma.LZMADecompressor | _Gzip


def _decoder(filename: str) -> _Decoder:
    if filename.endswith((".bz2", ".tbz")):
        return bz2.BZ2Decompressor()
    if filename.endswith((".xz", ".txz")):
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return _Gzip()


class Unpacked:
    """The bytes of one compressed file, read forwards once.

    `filename` determines the compression (``.gz`` and ``.tgz``, ``.bz2`` and ``.tbz``, ``.xz`` and
    ``.txz``). All methods raise `UnusableArchive` if the stream is damaged, cut off, a bomb,
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

    def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes. Raises `UnusableArchive` if there are fewer."""
        data = self.read(size)
        if len(data) < size:
            raise UnusableArchive(_CUT_OFF)
        return data

    def skip_to(self, position: int) -> None:
        """Skip the bytes before this position. Raises `UnusableArchive` if they are not there."""
        while self.position < position:
            if not self._take(position - self.position):
                raise UnusableArchive(_CUT_OFF)

    @property
    def position(self) -> int:
        """The number of bytes read or skipped."""
        return self._unpacked - len(self._buffer) + self._position

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


BLOCK = 512
_LONGEST_HEADER = 1 << 20
"""Maximum size in bytes of an extended header or long name."""
_MOST_HEADERS = 64 << 20
"""Maximum size in bytes of all of them together: an hour of work would pack into a small file."""


class TarKind(Enum):
    """The type of a member."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    OTHER = "device or other special file"


_KINDS = {
    b"0": TarKind.FILE,
    b"\0": TarKind.FILE,
    b"7": TarKind.FILE,
    b"5": TarKind.FOLDER,
    b"2": TarKind.SYMLINK,
    b"1": TarKind.HARDLINK,
}
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_EXTENDED = (_PAX, b"X", _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)


@frozen
class TarMember:
    """One member; `size` is that of its contents in bytes, `link` the target of a link."""

    name: str
    kind: TarKind
    size: int
    link: str


def read_tar(stream: Unpacked) -> Iterator[TarMember]:
    """Yield the members in order. The contents of each are the next `size` bytes of the stream;
    what is not read of them is skipped.

    After the last member the stream is at its end. Raises `UnusableArchive` for anything that is
    not a tar, is cut off, has bytes after its end, or is ambiguous.
    """
    pending: dict[str, str] = {}
    count = headers = 0
    while True:
        header = stream.read(BLOCK)
        if not header.strip(b"\0"):
            _end(stream, header, count, pending)
            return
        count += 1
        _verify(header, count)
        kind, size = header[156:157], _number(header[124:136])
        if kind in _EXTENDED:
            headers += size
            _extend(kind, _extended_header(stream, size, headers), pending)
            continue
        member = _member(header, pending, size)
        pending = {}
        end = stream.position + _padded(member.size)
        yield member
        stream.skip_to(end)


def _end(stream: Unpacked, header: bytes, count: int, pending: dict[str, str]) -> None:
    """Raise `UnusableArchive` unless only zeros follow the end mark: readers differ there."""
    if not count or pending:
        raise UnusableArchive("the tar archive is empty, or it was cut off.")
    if header and len(header) < BLOCK:
        raise UnusableArchive(_CUT_OFF)
    while piece := stream.pieces():
        if piece.strip(b"\0"):
            raise UnusableArchive(
                "the tar archive has data after its end; build the file again with a current build "
                "tool."
            )


def _verify(header: bytes, count: int) -> None:
    """Check the number of members, and the checksum, as POSIX sums it or as old tars did (signed).
    Raises `UnusableArchive`.
    """
    if count > MOST_ENTRIES:
        raise UnusableArchive(
            f"the tar archive has more than the {MOST_ENTRIES} members that are allowed."
        )
    if len(header) == BLOCK:
        blank = header[:148] + b" " * 8 + header[156:]
        total = sum(blank)
        digits = header[148:156].split(b"\0")[0].strip()
        sums = (total, total - 256 * sum(byte > 127 for byte in blank))
        if digits.isdigit() and digits.lstrip(b"0") in [b"%o" % each for each in sums]:
            return
    if count == 1:
        raise UnusableArchive(
            "it is not a tar archive compressed as its name says: build it again."
        )
    raise UnusableArchive(
        "the tar archive is damaged or was cut off: build the file again and upload it."
    )


def _number(text: bytes) -> int:
    """Return a size: octal digits, or GNU's base-256; nothing else: other readers differ there."""
    if text[0] & 0x80:  # 0xff would be a negative number, which is not a size
        value = int.from_bytes(text[1:], "big")
        if text[0] != 0x80 or value >= 1 << 62:
            raise UnusableArchive("the tar archive is damaged: a size is out of all bounds.")
        return value
    digits = text.split(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise UnusableArchive("the tar archive is damaged: a size is no number.")
    return int(digits or b"0", 8)


def _padded(size: int) -> int:
    return size + (-size % BLOCK)


def _extended_header(stream: Unpacked, size: int, total: int) -> bytes:
    """Read an extended header of `size` bytes; `total` is the size of all so far."""
    if size > _LONGEST_HEADER:
        raise UnusableArchive(
            f"the tar archive has a header of {size} bytes; {_LONGEST_HEADER} are allowed."
        )
    if total > _MOST_HEADERS:
        raise UnusableArchive(
            f"the tar archive has more than {_MOST_HEADERS >> 20} MiB of extended headers."
        )
    return stream.exactly(_padded(size))[:size]


def _extend(kind: bytes, data: bytes, pending: dict[str, str]) -> None:
    """Add the fields that an extended header sets for the next member to `pending`."""
    if kind == _LONG_NAME:
        fields = {"path": _text(data.split(b"\0")[0])}
    elif kind == _LONG_LINK:
        fields = {"linkpath": _text(data.split(b"\0")[0])}
    else:
        fields = _pax(data)
    if kind == _PAX_GLOBAL:  # git archive writes one, with its commit as a comment
        if fields:
            raise UnusableArchive(
                "the tar archive names all its members alike, in a global header; build the file "
                "again."
            )
    elif fields.keys() & pending.keys():
        raise UnusableArchive(
            "the tar archive gives a member two long names; build the file again."
        )
    pending.update(fields)


def _pax(data: bytes) -> dict[str, str]:
    """Return the relevant records ``<length> <key>=<value>\\n`` (path, linkpath, size)."""
    records: dict[str, str] = {}
    damaged = UnusableArchive(
        "the tar archive has a damaged extended (pax) header: build the file again."
    )
    data = data.rstrip(b"\0")
    start = 0
    while start < len(data):  # by position: cutting the data each time would take quadratic time
        digits, blank, _ = data[start : start + 21].partition(b" ")
        if not blank or not digits.isdigit():
            raise damaged
        end = start + int(digits)
        key, equals, value = data[start + len(digits) + 1 : end].partition(b"=")
        if end > len(data) or end < start + 5 or not equals or not value.endswith(b"\n"):
            raise damaged
        start = end
        name = _text(key)
        if name.startswith("GNU.sparse."):
            raise UnusableArchive("the tar archive has a sparse member; build it without --sparse.")
        if name in ("path", "linkpath", "size"):
            records[name] = _text(value[:-1])
    return records


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _member(header: bytes, extended: dict[str, str], size: int) -> TarMember:
    kind = _KINDS.get(header[156:157], TarKind.OTHER)
    name = _text(header[:100].split(b"\0")[0])
    prefix = _text(header[345:500].split(b"\0")[0])
    if prefix and header[257:263] != b"ustar\0":
        # only POSIX has a prefix there; GNU tar has times, which some readers mistake for one
        raise UnusableArchive(
            f"the name of {shortened(name)!r} in the tar archive is unclear; build it with a "
            f"current build tool."
        )
    name = f"{prefix}/{name}" if prefix else name
    name = extended.get("path", name)
    if kind is TarKind.FILE and name.endswith("/"):
        kind = TarKind.FOLDER  # how tars before POSIX wrote folders
    if "size" in extended:
        text = extended["size"]
        if not (text.isascii() and text.isdigit()) or len(text) > 18 or size not in (0, int(text)):
            # readers with and without pax support would find different members (CVE-2025-62518)
            raise UnusableArchive(
                f"the tar archive gives {shortened(name)!r} two sizes; build the file again."
            )
        size = int(text)
    if kind is not TarKind.FILE:
        if size and kind is not TarKind.HARDLINK:
            raise UnusableArchive(
                f"{shortened(name)!r} in the tar archive is a {kind.value} with contents; build "
                "the file again."
            )
        size = 0
    link = extended.get("linkpath", _text(header[157:257].split(b"\0")[0]))
    return TarMember(name, kind, size, link)
