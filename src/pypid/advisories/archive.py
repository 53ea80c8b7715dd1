"""The documents in a zip archive of advisories, read one by one in bounded memory.

Names in the archive are never used as paths. The content of a member stays compressed as it is,
since the database keeps it so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from attrs import define, field, frozen

from pypid.core.advisories import InvalidRecord
from pypid.core.compression import content, crc32, fragment

LONGEST_DOCUMENT = 4 << 20
"""Bytes of one document, and also of its compressed form."""
MOST_BYTES = 8 << 30
"""Decompressed bytes of all members."""
SUFFIXES = (".json", ".yaml", ".yml")
_HEADER = struct.Struct("<4s22xHH")


class UnusableSource(Exception):
    """The whole source cannot be used; the text says why."""


@frozen
class ArchiveMember:
    """A document: its name for reports, its bytes, and these compressed by deflate."""

    name: str
    data: bytes = field(repr=False)
    compressed: bytes = field(repr=False)


@define(eq=False)
class AdvisoryArchive:
    """A zip archive. Iteration yields each document, or the `InvalidRecord` in its place that tells
    why it cannot be read.
    """

    _file: BinaryIO
    _bytes: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[ArchiveMember | InvalidRecord]:
        """Raises `UnusableSource` for something else than an archive, or one that is too large."""
        for info in self._members():
            if info.filename.lower().endswith(SUFFIXES):
                try:
                    yield self._read(info)
                except InvalidRecord as problem:
                    yield problem

    def _members(self) -> list[ZipInfo]:
        try:
            return ZipFile(self._file).infolist()  # bounded by the memory of the child process
        except (BadZipFile, ValueError, NotImplementedError) as error:
            raise UnusableSource(f"it is no complete zip archive ({error})") from None

    def _read(self, info: ZipInfo) -> ArchiveMember:
        name = shown_name(info.filename)
        if info.filename.startswith("/") or ".." in info.filename.split("/"):
            raise InvalidRecord(f"{name}: its name leads out of the archive")
        if info.flag_bits & 1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise InvalidRecord(f"{name}: it is encrypted, or compressed by other than deflate")
        if max(info.file_size, info.compress_size) > LONGEST_DOCUMENT:
            raise InvalidRecord(f"{name}: it is larger than {LONGEST_DOCUMENT >> 20} MiB")
        self._file.seek(info.header_offset)
        head = self._file.read(_HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(b"PK\x03\x04"):
            raise InvalidRecord(f"{name}: the archive is damaged there")
        _, name_size, extra_size = _HEADER.unpack(head)
        self._file.seek(name_size + extra_size, 1)
        raw = self._file.read(info.compress_size)
        data = _decompressed(raw, name) if info.compress_type == ZIP_DEFLATED else raw
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            raise UnusableSource(f"its members have more than {MOST_BYTES >> 30} GiB")
        if crc32(data) != info.CRC:
            raise InvalidRecord(f"{name}: its checksum is wrong")
        compressed = raw if info.compress_type == ZIP_DEFLATED else fragment(data)
        return ArchiveMember(name, data, compressed)


def _decompressed(raw: bytes, name: str) -> bytes:
    try:
        return content(raw, LONGEST_DOCUMENT)
    except ValueError as error:
        raise InvalidRecord(f"{name}: {error}") from None


def shown_name(name: str) -> str:
    """Return a name for reports: printable, and not long."""
    return "".join(each if each.isprintable() else "?" for each in name[-120:])
