"""The end of a zip archive: locating its central directory (APPNOTE.TXT 4.3.14 to 4.3.16)."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from attrs import frozen

from pypid.core.archives.members import MOST_ENTRIES, MemberProblems, UnusableArchive

_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_LARGEST_COMMENT = 0xFFFF
_LARGEST_DIRECTORY = 64 << 20
"""Maximum size in bytes of a central directory read into memory: 200,000 members with names of 280
characters.
"""


@frozen
class Directory:
    """The position of the central directory. All in bytes, except `entries`."""

    entries: int
    size: int
    start: int
    size_of_file: int


def zip_end(file: BinaryIO, findings: MemberProblems) -> Directory:
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
    """Return the numbers of the zip64 end record, if there is one, and its position; else those
    given.
    """
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
