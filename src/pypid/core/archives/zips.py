"""Zip archives: their directory, their members, and wheels of which only some ranges are there.

They are read strictly: whatever two readers could interpret differently is a problem.

An installer reads the central directory (pip) or the local headers as they come (uv, when it
streams); a file with different contents for each is an attack. So every byte must belong to exactly
one record: local headers with their data, the central directory, the end records, in this order and
without gaps. PyPI demands the same since 2025.

Source: PKWARE APPNOTE.TXT 6.3, by section (``4.3.7``). Only headers are read, never the data of the
members, except by `read_entry` and `begin_entry`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO, TypeVar, cast

from attrs import define, field, frozen

from pypid.core.archives.members import (
    BOMB,
    LARGEST_PART,
    MOST_ENTRIES,
    MemberProblems,
    UnusableArchive,
    is_bomb,
    path_problem,
)
from pypid.core.errors import shortened
from pypid.core.model import Span
from pypid.core.packaging.core_metadata import LONGEST_METADATA
from pypid.core.packaging.names import ProjectName, valid_name

# The end of a zip archive: locating its central directory (APPNOTE.TXT 4.3.14 to 4.3.16).

_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_LARGEST_COMMENT = 0xFFFF
_LARGEST_DIRECTORY = 64 << 20
"""Bytes of a central directory in memory: 200,000 members with names of 280 characters."""


@frozen
class Directory:
    """The position of the central directory. All in bytes, except `entries`."""

    entries: int
    size: int
    start: int
    size_of_file: int


def zip_end(file: BinaryIO) -> Directory:
    """Find the central directory; it must be directly before the end records, and these directly at
    the end of the file.

    Raises `UnusableArchive` if this is not a zip archive, a part of one, cut off, or has data
    before or after it.
    """
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _LARGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    where = tail.rfind(b"PK\x05\x06")
    if where < 0 or where + _END.size > len(tail):
        raise UnusableArchive(
            "it is not a zip archive, or it was cut off: build it again and upload it."
        )
    _, disk, first_disk, here, entries, directory_size, start, comment_size = _END.unpack_from(
        tail, where
    )
    if where + _END.size + comment_size != len(tail):
        raise UnusableArchive(
            "the zip archive has data after its end; build it again with a current build tool."
        )
    position = tail_start + where
    if disk not in (0, 0xFFFF) or first_disk not in (0, 0xFFFF) or here != entries:
        raise UnusableArchive("the zip archive is one part of several; publish it in one piece.")
    position, entries, directory_size, start = _widened(
        file, position, entries, directory_size, start
    )
    if entries > MOST_ENTRIES:
        raise UnusableArchive(
            f"the zip archive has more than the {MOST_ENTRIES} members that are allowed."
        )
    if directory_size > _LARGEST_DIRECTORY:
        raise UnusableArchive(
            f"the directory of the zip archive is larger than the {_LARGEST_DIRECTORY >> 20} MiB "
            "that are allowed."
        )
    if start + directory_size < position:
        raise UnusableArchive(
            "the zip archive has data before its first member, or between its directory and its "
            "end; build the file again."
        )
    if start + directory_size > position:
        raise UnusableArchive(
            "the zip archive was cut off, or its end is damaged: build it again and upload it."
        )
    return Directory(entries, directory_size, start, size)


def _widened(
    file: BinaryIO, end: int, entries: int, size: int, start: int
) -> tuple[int, int, int, int]:
    """Return the numbers of the zip64 end record and its position; without one those given."""
    narrow = (end, entries, size, start)
    needed = entries == 0xFFFF or size == 0xFFFFFFFF or start == 0xFFFFFFFF
    locator_at = end - _LOCATOR.size
    file.seek(max(0, locator_at))
    locator = file.read(_LOCATOR.size) if locator_at >= 0 else b""
    if len(locator) < _LOCATOR.size or locator[:4] != b"PK\x06\x07":
        if needed and entries != 0xFFFF:
            raise UnusableArchive("the zip archive lacks its zip64 end record.")
        return narrow
    _, _, end64_at, _ = _LOCATOR.unpack(locator)
    if end64_at + _END64.size != locator_at:
        raise UnusableArchive("the zip64 end record of the zip archive is not where it belongs.")
    file.seek(end64_at)
    record = file.read(_END64.size)
    if len(record) < _END64.size or record[:4] != b"PK\x06\x06":
        raise UnusableArchive("the zip64 end record of the zip archive is damaged.")
    _, length, _, _, disk, first_disk, here64, entries64, size64, start64 = _END64.unpack(record)
    if length != _END64.size - 12 or here64 != entries64 or disk or first_disk:
        raise UnusableArchive("the zip64 end record of the zip archive is damaged.")
    pairs = ((entries, entries64, 0xFFFF), (size, size64, 0xFFFFFFFF), (start, start64, 0xFFFFFFFF))
    if any(short not in (long, ones) for short, long, ones in pairs):
        # a reader that knows zip64 would see another directory than one that does not
        raise UnusableArchive("the zip archive has two ends that contradict each other.")
    return end64_at, entries64, size64, start64


_CENTRAL = struct.Struct("<4s4xHH4xLLLHHHH2xLL")  # 4.3.12
_LOCAL = struct.Struct("<4s2xHH4xLLLHH")  # 4.3.7
_ENCRYPTED, _DESCRIPTOR, _PATCH, _STRONG, _UTF8, _MASKED = (
    0x1,
    0x8,
    0x20,
    0x40,
    0x800,
    0x2000,
)  # 4.4.4
_STORED, _DEFLATED = 0, 8
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_ALL_ONES = 0xFFFFFFFF


@frozen
class ZipEntry:
    """One member according to the central directory. Sizes and offsets in bytes."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    unpacked: int
    offset: int
    mode: int
    """The Unix file type and permissions, 0 if there are none."""

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def read_zip(
    file: BinaryIO, findings: MemberProblems, *, backslash: bool = False
) -> dict[str, ZipEntry]:
    """Return the members by name, and add all problems of the archive to `findings`.

    Reads the end, the central directory and each local header. Raises `UnusableArchive` if the
    structure cannot be followed.
    """
    directory = zip_end(file)
    entries = _read_directory(file, directory)
    by_name: dict[str, ZipEntry] = {}
    for entry in entries:
        _judge(entry, findings, backslash=backslash)
        if entry.name in by_name:
            findings.add(f"the zip archive has the member {shortened(entry.name)!r} twice.")
        by_name[entry.name] = entry
    if is_bomb(sum(entry.unpacked for entry in entries), directory.size_of_file):
        findings.add(BOMB)
    _walk(file, sorted(entries, key=lambda entry: entry.offset), directory.start, findings)
    return by_name


def zip_entries(file: BinaryIO) -> list[ZipEntry]:
    """Return the members in the order of the directory, including duplicate names, from the central
    directory alone, as pip reads it: for an archive that is not validated. Raises
    `UnusableArchive` if the structure cannot be followed.
    """
    return _read_directory(file, zip_end(file))


def _size_text(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"


def read_entry(file: BinaryIO, entry: ZipEntry, limit: int) -> bytes:
    """Return the unpacked bytes of a member. Raises `UnusableArchive` above `limit` bytes or if
    they differ from what the directory says.
    """
    shown = repr(shortened(entry.name))
    if entry.unpacked > limit or entry.packed > limit + (limit >> 4) + 64:
        raise UnusableArchive(
            f"{shown} is larger than the {_size_text(limit)} that are allowed for it."
        )
    data = _packed(file, entry, entry.packed)
    if entry.method == _DEFLATED:
        inflating = zlib.decompressobj(-15)
        try:
            data = inflating.decompress(data, limit + 1)
        except zlib.error:
            raise UnusableArchive(f"{shown} in the zip archive is damaged.") from None
        if not inflating.eof or inflating.unused_data:
            raise UnusableArchive(f"{shown} in the zip archive is damaged, or larger than it says.")
    elif entry.method != _STORED:
        raise UnusableArchive(f"{shown} is compressed by a method that installers do not know.")
    if len(data) != entry.unpacked or zlib.crc32(data) != entry.crc:
        raise UnusableArchive(
            f"{shown} in the zip archive is damaged: its size or CRC-32 is not what the directory "
            "says."
        )
    return data


def begin_entry(file: BinaryIO, entry: ZipEntry, most: int) -> bytes:
    """Return the first unpacked bytes of a member, at most `most`; if it has no more, all of it is
    verified (see `read_entry`).
    """
    shown = repr(shortened(entry.name))
    if entry.flags & (_ENCRYPTED | _STRONG | _MASKED):
        raise UnusableArchive(f"{shown} in the zip archive is encrypted; no installer can read it.")
    if entry.unpacked <= most:
        return read_entry(file, entry, most)
    if entry.method not in (_STORED, _DEFLATED):
        raise UnusableArchive(f"{shown} is compressed by a method that installers do not know.")
    data = _packed(file, entry, min(entry.packed, most + (most >> 4) + 64))
    if entry.method == _STORED:
        return data[:most]
    try:
        return zlib.decompressobj(-15).decompress(data, most)
    except zlib.error:
        raise UnusableArchive(f"{shown} in the zip archive is damaged.") from None


def _packed(file: BinaryIO, entry: ZipEntry, size: int) -> bytes:
    """Return the first `size` bytes of a member as stored in the archive."""
    ends = file.seek(0, os.SEEK_END)  # an offset may be a number that no file supports
    file.seek(min(entry.offset, ends))
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise UnusableArchive(f"the zip archive ends within {shortened(entry.name)!r}.")
    *_, name_size, extra_size = _LOCAL.unpack(header)
    file.seek(entry.offset + _LOCAL.size + name_size + extra_size)
    return file.read(size)


def _read_directory(file: BinaryIO, directory: Directory) -> list[ZipEntry]:
    file.seek(directory.start)
    data = io.BytesIO(file.read(directory.size))
    entries: list[ZipEntry] = []
    while header := data.read(_CENTRAL.size):
        if (
            len(header) < _CENTRAL.size
            or header[:4] != b"PK\x01\x02"
            or len(entries) >= MOST_ENTRIES
        ):
            raise UnusableArchive("the central directory of the zip archive is damaged.")
        entries.append(_entry(header, data))
    if len(entries) != directory.entries:
        raise UnusableArchive(
            f"the zip archive has {len(entries)} members where its end says {directory.entries}."
        )
    return entries


def _entry(header: bytes, data: io.BytesIO) -> ZipEntry:
    (
        _,
        flags,
        method,
        crc,
        packed,
        unpacked,
        name_size,
        extra_size,
        comment_size,
        disk,
        attributes,
        offset,
    ) = _CENTRAL.unpack(header)
    raw_name, extra = data.read(name_size), data.read(extra_size)
    comment = data.read(comment_size)
    if (len(raw_name), len(extra), len(comment)) != (name_size, extra_size, comment_size):
        raise UnusableArchive("the central directory of the zip archive is damaged.")
    fields = _extras(extra)
    name = _decoded(raw_name, flags, fields.get(_UNICODE_PATH))
    unpacked, packed, offset = _wide(fields.get(_ZIP64, b""), unpacked, packed, offset)
    if disk not in (0, 0xFFFF):
        raise UnusableArchive("the zip archive is one part of several; publish it in one piece.")
    return ZipEntry(name, raw_name, flags, method, crc, packed, unpacked, offset, attributes >> 16)


def _extras(extra: bytes) -> dict[int, bytes]:
    """Return the extra fields by number (4.5); a torn rest is ignored, as installers do."""
    fields: dict[int, bytes] = {}
    start = 0
    while start + 4 <= len(extra):
        number, size = struct.unpack_from("<HH", extra, start)
        start += 4 + size
        if start > len(extra):
            break
        if number in fields and number in (_ZIP64, _UNICODE_PATH):
            raise UnusableArchive(
                "a member of the zip archive says the same thing twice (a repeated extra field)."
            )
        fields[number] = extra[start - size : start]
    return fields


def _wide(zip64: bytes, *narrow: int) -> tuple[int, ...]:
    """Return each of `narrow`, or, where it is all ones, the next number of zip64 (4.5.3)."""
    wide: list[int] = []
    for number in narrow:
        if number != _ALL_ONES:
            wide.append(number)
            continue
        if len(zip64) < 8:
            raise UnusableArchive("a member of the zip archive lacks its zip64 sizes.")
        wide.append(struct.unpack_from("<Q", zip64)[0])
        zip64 = zip64[8:]
    return tuple(wide)


def _decoded(raw: bytes, flags: int, unicode_path: bytes | None) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")  # 4.4.4 bit 11, appendix D
        other = unicode_path[5:].decode() if unicode_path is not None else None
    except UnicodeDecodeError:
        raise UnusableArchive(
            "a member of the zip archive has a name that is not UTF-8, though it says so."
        ) from None
    if other is not None and other != name and (other.isascii() or name.isascii()):
        raise UnusableArchive(
            f"a member of the zip archive has two names: {shortened(name)!r} and "
            f"{shortened(other)!r}."
        )
    return name


def _judge(entry: ZipEntry, findings: MemberProblems, *, backslash: bool) -> None:
    shown = repr(shortened(entry.name))
    problem = path_problem(entry.name, backslash=backslash)
    if problem is not None:
        findings.add(problem)
    if entry.flags & (_ENCRYPTED | _STRONG | _MASKED):
        findings.add(f"{shown} in the zip archive is encrypted; no installer can read it.")
    if entry.flags & _PATCH or entry.method not in (_STORED, _DEFLATED):
        findings.add(
            f"{shown} is compressed by method {entry.method}; installers know stored and deflated "
            "only."
        )
    if entry.method == _STORED and entry.packed != entry.unpacked:
        findings.add(f"{shown} in the zip archive has two sizes.")
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        findings.add(f"{shown} in the zip archive is a link or a device; put a plain file there.")
    if entry.is_folder and entry.unpacked:
        findings.add(f"{shown} in the zip archive is a folder with contents of its own.")


def _walk(file: BinaryIO, entries: list[ZipEntry], end: int, findings: MemberProblems) -> None:
    """Follow the local headers as a streaming reader does: one begins where another ended."""
    position = 0
    for entry in entries:
        if entry.offset != position:
            what = (
                "overlaps the member before it"
                if entry.offset < position
                else "follows bytes that belong to no member"
            )
            findings.add(
                f"{shortened(entry.name)!r} in the zip archive {what}; build the file again with a "
                "current build tool."
            )
            return
        after = _local_end(file, entry, end, findings)
        if after is None:
            return
        position = after
    if position != end:
        findings.add(
            "the zip archive has bytes before its directory that belong to no member; build the "
            "file again."
        )


def _local_end(file: BinaryIO, entry: ZipEntry, end: int, findings: MemberProblems) -> int | None:
    """Return the end of the member's record; None if its header contradicts the directory."""
    file.seek(entry.offset)
    data = file.read(_LOCAL.size + len(entry.raw_name))
    if len(data) < _LOCAL.size or data[:4] != b"PK\x03\x04":
        findings.add(f"{shortened(entry.name)!r} in the zip archive has no local header.")
        return None
    _, flags, method, crc, packed, unpacked, name_size, extra_size = _LOCAL.unpack_from(data)
    if data[_LOCAL.size :] != entry.raw_name or name_size != len(entry.raw_name):
        name = shortened(data[_LOCAL.size :].decode("ascii", "backslashreplace"))
        findings.add(f"{shortened(entry.name)!r} has another name in its local header: {name!r}.")
        return None
    fields = _extras(file.read(extra_size))
    _decoded(entry.raw_name, flags, fields.get(_UNICODE_PATH))
    descriptor = bool(entry.flags & _DESCRIPTOR)
    local_values = (crc, *_wide(fields.get(_ZIP64, b""), unpacked, packed)[:2])
    expected = (entry.crc, entry.unpacked, entry.packed)
    same = local_values == expected or (descriptor and local_values == (0, 0, 0))
    important = _ENCRYPTED | _DESCRIPTOR | _UTF8
    if method != entry.method or (flags ^ entry.flags) & important or not same:
        findings.add(
            f"{shortened(entry.name)!r} in the zip archive has a local header that contradicts "
            f"the directory."
        )
        return None
    after = entry.offset + _LOCAL.size + name_size + extra_size + entry.packed
    return _after_descriptor(file, entry, after, end, findings) if descriptor else after


def _after_descriptor(
    file: BinaryIO, entry: ZipEntry, position: int, end: int, findings: MemberProblems
) -> int | None:
    """Return the end of the data descriptor (4.3.9: signature or none, 4 or 8 bytes each)."""
    if entry.method == _STORED and entry.packed:
        # a streaming reader cannot find the end of such data; uv refuses it too
        findings.add(
            f"{shortened(entry.name)!r} in the zip archive is stored with its size after it; "
            f"build the file again."
        )
        return None
    file.seek(position)
    data = file.read(min(24, max(0, end - position)))
    numbers = [struct.pack("<LQQ", entry.crc, entry.packed, entry.unpacked)]
    if max(entry.packed, entry.unpacked) <= _ALL_ONES:
        numbers.append(struct.pack("<LLL", entry.crc, entry.packed, entry.unpacked))
    for record in (signature + number for number in numbers for signature in (b"PK\x07\x08", b"")):
        after = position + len(record)
        if data.startswith(record) and (after == end or _record_at(file, after)):
            return after
    findings.add(
        f"{shortened(entry.name)!r} in the zip archive is followed by sizes that contradict the "
        "directory."
    )
    return None


def _record_at(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    return file.read(4) == b"PK\x03\x04"


# Reading METADATA from a wheel of which only some ranges are available; reports which range it
# needs next.
#
# The central directory of a zip is at its end, and build tools put ``.dist-info`` last: the first
# range is usually enough. The wheel is not validated here (see `inspection`): it is an upstream
# file, and the installer checks its hash.

T = TypeVar("T")

TAIL = 22 + 0xFFFF
"""Bytes between the end record and the end of a zip archive (APPNOTE.TXT 4.3.16)."""
AHEAD = 1 << 14
"""Minimum number of bytes requested: most METADATA is smaller when packed."""
MOST_RANGES = 8


@define
class WheelParts:
    """The known ranges of a file of `size` bytes."""

    size: int
    _ranges: list[tuple[int, bytes]] = field(factory=list, repr=False)

    def add(self, span: Span, data: bytes) -> None:
        """Add a requested range. Raises `UnusableArchive` for another length, or too many."""
        if len(data) != span.stop - span.start:
            raise UnusableArchive("the file has another length than was reported.")
        if len(self._ranges) >= MOST_RANGES:
            raise UnusableArchive("its parts are too far apart.")
        self._ranges.append((span.start, data))

    def find(self, start: int, size: int) -> bytes | None:
        """Return these bytes, if one range has them all, else None."""
        for begin, data in self._ranges:
            if begin <= start and start + size <= begin + len(data):
                return data[start - begin : start - begin + size]
        return None


def first_part(size: int) -> Span:
    """Return the range to begin with."""
    return Span(max(0, size - TAIL), size)


def peek(wheel: WheelParts, project: ProjectName) -> bytes | Span:
    """Return the METADATA, or the range that is needed for it. Raises `UnusableArchive`."""
    return look(wheel, lambda file: metadata_of(file, project))


def look(wheel: WheelParts, reading: Callable[[BinaryIO], T]) -> T | Span:
    """Return the result of `reading` for the file (not a `Span`), or the range that it needs before
    the next call. Raises `UnusableArchive`.
    """
    try:
        return reading(cast(BinaryIO, _Sparse(wheel)))
    except _Needed as needed:
        if needed.span.stop - needed.span.start > LARGEST_PART:
            raise UnusableArchive(
                "its directory or its metadata is too large to be read by itself."
            ) from None
        return needed.span


def metadata_of(file: BinaryIO, project: ProjectName) -> bytes:
    """Return the METADATA of a wheel by its central directory; blocks. Raises `UnusableArchive`."""
    members = {entry.name: entry for entry in zip_entries(file)}
    found = [entry for name, entry in members.items() if _is_metadata(name)]
    if len(found) != 1 or not _is_named_for(found[0], project):
        raise UnusableArchive(
            "the wheel does not have exactly one .dist-info/METADATA, of its own project."
        )
    return read_entry(file, found[0], LONGEST_METADATA)


def _is_metadata(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return folder.endswith(".dist-info") and rest == "METADATA"


def _is_named_for(entry: ZipEntry, project: ProjectName) -> bool:
    return valid_name(entry.name.partition(".dist-info")[0].rpartition("-")[0]) == project


class _Needed(Exception):
    def __init__(self, span: Span) -> None:
        super().__init__(span)
        self.span = span


class _Sparse:
    """The part of a file's interface that `zips` uses; raises `_Needed` for a missing range."""

    def __init__(self, wheel: WheelParts) -> None:
        self._wheel = wheel
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = self._wheel.size + offset if whence == os.SEEK_END else offset
        return self._position

    def read(self, size: int) -> bytes:
        start = self._position
        stop = max(start, min(start + size, self._wheel.size))
        data = b"" if start == stop else self._wheel.find(start, stop - start)
        if data is None:
            raise _Needed(Span(start, max(stop, min(start + AHEAD, self._wheel.size))))
        self._position = stop
        return data
