"""Reading METADATA from a wheel of which only some ranges are available; reports which range it
needs next.

The central directory of a zip is at its end, and build tools put ``.dist-info`` last: the first
range is usually enough. The wheel is not validated here (see `inspection`): it is an upstream file,
and the installer checks its hash.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO, TypeVar, cast

from attrs import define, field

from pypid.core.archives.members import LARGEST_PART, MemberProblems, UnusableArchive
from pypid.core.archives.zips import ZipEntry, list_zip, read_entry
from pypid.core.errors import BadName
from pypid.core.model import Span
from pypid.core.packaging.core_metadata import LONGEST_METADATA
from pypid.core.packaging.names import ProjectName, project_name

T = TypeVar("T")

TAIL = 22 + 0xFFFF
"""Maximum distance in bytes of the end record from the end of a zip archive (APPNOTE.TXT
4.3.16).
"""
AHEAD = 1 << 14
"""Minimum number of bytes requested: most METADATA is smaller when packed."""
MOST_RANGES = 8


@define
class WheelParts:
    """The known ranges of a file of `size` bytes."""

    size: int
    _ranges: list[tuple[int, bytes]] = field(factory=list, repr=False)

    def add(self, span: Span, data: bytes) -> None:
        """Add a requested range. Raises `UnusableArchive` if it has another length, or if there are
        too many.
        """
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
    """Return the METADATA of a wheel, read through its central directory; blocks. Raises
    `UnusableArchive`.
    """
    members = list_zip(file, MemberProblems())
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
    try:
        return project_name(entry.name.partition(".dist-info")[0].rpartition("-")[0]) == project
    except BadName:
        return False


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
