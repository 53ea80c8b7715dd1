"""Parses a list of files: one name per line, or one JSON object per line with the keys of
dumb-pypi.

A file with an invalid name or hash is left out and noted, as dumb-pypi does. A line that is no such
object at all, for example because the list was cut off, invalidates the list (`BadPackageList`):
files would be missing and could not be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec
from attrs import define, field

from pypid.core.errors import BadFilename, PypidError, shortened
from pypid.core.packaging.names import ProjectName
from pypid.export.page_names import places

LONGEST_LINE = 1 << 20
"""Bytes; a line of JSON with some thousand requirements is shorter."""
MOST_NOTES = 100
"""Number of remarks whose text is kept."""
_HASH = re.compile(r"([A-Za-z0-9_]+)=([0-9A-Fa-f]+)\Z").match


class PackageListEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The entry of one file in a list; keys and order are those of dumb-pypi, `size` (bytes) is an
    addition (PEP 700).
    """

    filename: str
    hash: str | None = None
    """``algorithm=hex``."""
    requires_dist: list[str] | None = None
    requires_python: str | None = None
    upload_timestamp: int | float | None = None
    """Seconds since 1970."""
    uploaded_by: str | None = None
    yanked_reason: str | None = None
    """None or empty: the file is not yanked."""
    core_metadata: str | bool | None = None
    """``true`` or ``algorithm=hex``: ``<url>.metadata`` exists."""
    size: int | None = None


class _Strict(PackageListEntry, frozen=True, gc=False, forbid_unknown_fields=True):
    """An entry without unknown keys, to find those."""


@define(slots=False, repr=False)
class BadPackageList(PypidError):
    """Raised for a list that cannot be used, with the number of the first line that is wrong."""

    where: str
    line: int
    problem: str

    def text(self) -> str:
        return (
            f"{self.where} is no list of files; nothing was written:\n"
            f"  line {self.line}: {self.problem}"
        )


@define
class PackageList:
    """The files of a list by project: file name to version and entry. `notes`: what was left out,
    and why.
    """

    projects: dict[ProjectName, dict[str, tuple[str, PackageListEntry]]] = field(factory=dict)
    notes: list[str] = field(factory=list)
    left_out: int = 0
    """Number of lines whose file is on no page."""

    def take(self, listed: PackageListEntry, number: int) -> None:
        """Add the file of a line. If a file is named twice, the later line counts."""
        try:
            found = places(listed.filename)
            _check(listed)
        except (BadFilename, ValueError) as error:
            problem = (
                str(error)
                if isinstance(error, BadFilename)
                else f"{shortened(listed.filename)!r}: {error}"
            )
            self.left_out += 1
            self.note(number, f"{problem} It is left out.")
            return
        for place in found:
            files = self.projects.setdefault(place.project, {})
            entry = (place.version, listed)
            if files.setdefault(listed.filename, entry) != entry:
                files[listed.filename] = entry
                self.note(
                    number,
                    (
                        f"{listed.filename!r} was named before, with other values; those of this "
                        "line are taken."
                    ),
                )

    def note(self, number: int, text: str) -> None:
        """Add a remark about a line."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"line {number}: {text}")
        elif len(self.notes) == MOST_NOTES:
            self.notes.append("... and more of that kind")


def _check(listed: PackageListEntry) -> None:
    """Raise `ValueError`, with what is wrong, for values that no page can contain."""
    if listed.hash and not _HASH(listed.hash):
        raise ValueError(f"hash is algorithm=hex, and not {shortened(listed.hash)!r}.")
    metadata = listed.core_metadata
    if isinstance(metadata, str) and metadata not in ("", "true", "false") and not _HASH(metadata):
        raise ValueError(
            f"core_metadata is true or algorithm=hex, and not {shortened(metadata)!r}."
        )
    if listed.upload_timestamp is not None:
        moment_of(listed.upload_timestamp)
    if listed.size is not None and listed.size < 0:
        raise ValueError("size is a number of bytes.")


def moment_of(timestamp: float) -> datetime:
    """Return the time, aware, in UTC. Raises `ValueError` for timestamps outside the calendar."""
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            "upload_timestamp is no number of seconds since 1970 that a calendar has."
        ) from None


def read_names(lines: Iterable[bytes], where: str) -> PackageList:
    """Parse a list with one file name per line. Raises `BadPackageList` if it is no text."""
    read = PackageList()
    for number, line in enumerate(lines, 1):
        _check_length(line, number, where)
        try:
            filename = line.decode().strip("\r\n")
        except UnicodeDecodeError:
            raise BadPackageList(where, number, "it is no UTF-8.") from None
        if filename.strip():
            read.take(PackageListEntry(filename), number)
    return read


def read_json(lines: Iterable[bytes], where: str) -> PackageList:
    """Parse a list with one JSON object per line. Raises `BadPackageList` if a line is none, or has
    values of other types.
    """
    read = PackageList()
    strict, lenient = msgspec.json.Decoder(_Strict), msgspec.json.Decoder(PackageListEntry)
    unknown: set[str] = set()
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        _check_length(line, number, where)
        if line.isspace():
            continue
        try:
            listed: PackageListEntry = strict.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            try:
                listed = lenient.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise BadPackageList(where, number, f"{error}.") from None
            if str(error) not in unknown:
                unknown.add(str(error))
                read.note(number, f"{error}. That key is not looked at, here and further on.")
        read.take(_thrifty(listed, texts), number)
    return read


def _check_length(line: bytes, number: int, where: str) -> None:
    if len(line) > LONGEST_LINE:
        raise BadPackageList(where, number, f"it is longer than {LONGEST_LINE} bytes.")


def _thrifty(listed: PackageListEntry, texts: dict[str, str]) -> PackageListEntry:
    """Return an equal entry that shares texts that many lines have."""
    requires, by = listed.requires_python, listed.uploaded_by
    return PackageListEntry(
        listed.filename,
        listed.hash,
        listed.requires_dist,
        None if requires is None else texts.setdefault(requires, requires),
        listed.upload_timestamp,
        None if by is None else texts.setdefault(by, by),
        listed.yanked_reason,
        listed.core_metadata,
        listed.size,
    )


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a list; a line that is too long is split."""
    while line := stream.readline(LONGEST_LINE + 1):
        yield line
