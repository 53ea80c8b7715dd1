"""Some consecutive files of a listing, as compressed JSON (`core.simple_api.listed_files`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from pypid.core.compression import content
from pypid.core.errors import Unreadable
from pypid.core.records.documents import RecordedFile, decoded

BLOCK = 256
"""Files of a block: its entries are read in half a millisecond."""
LARGEST_BLOCK = 64 << 20
"""Maximum size of a block in bytes, uncompressed: some texts have 4,096 characters."""
WHAT = "a listing"
BEGINNING = b'{"filename":'
SEPARATOR = b"}," + BEGINNING
"""The end of an entry and the beginning of the next one. No JSON string contains this: a quote in
one is preceded by a backslash.
"""
WHOLE_URL = "!"
"""Precedes a URL that does not end with the file name."""


class ReadEntry(msgspec.Struct, rename="kebab", frozen=True, gc=False):
    """An entry of a page, as far as it tells of a file."""

    filename: str
    hashes: dict[str, str]
    size: int | None = None
    upload_time: datetime | None = None
    requires_python: str | None = None
    core_metadata: dict[str, str] | bool = False
    yanked: bool | str = False


class _Name(msgspec.Struct, frozen=True, gc=False):
    filename: str


class _Time(msgspec.Struct, rename="kebab", frozen=True, gc=False):
    upload_time: datetime | None = None


class HiddenColumns(msgspec.Struct, omit_defaults=True, rename="kebab", gc=False):
    """What pages do not show of the files of a block; an empty list stands for many None."""

    folders: list[str]
    """The URLs without the file names, or `WHOLE_URL` and a URL."""
    provenance: list[str | None] = []
    digests: list[str | None] = []
    md5: list[str | None] = []
    blake2b_256: list[str | None] = []
    odd: dict[int, RecordedFile] = {}
    """Files with more than all this, by number."""


class FileBlock(msgspec.Struct, frozen=True, gc=False):
    """Some consecutive files. `entries` and `rest` are compressed JSON."""

    count: int
    entries: bytes
    rest: bytes

    def text(self) -> bytes:
        """Return the entries for a page, joined by commas. Raises `Unreadable`."""
        return _content(self.entries)

    def columns(self) -> HiddenColumns:
        """Return what pages do not show. Raises `Unreadable`."""
        return decoded(_columns, _content(self.rest), WHAT)

    def read(self) -> list[ReadEntry]:
        """Return all entries. Raises `Unreadable`."""
        return decoded(_entries, b"[" + self.text() + b"]", WHAT)

    def names(self) -> list[str]:
        """Return the names of the files. Raises `Unreadable`."""
        names = decoded(_names, b"[" + self.text() + b"]", WHAT)
        return [entry.filename for entry in names]

    def upload_times(self) -> list[datetime | None]:
        """Return the upload times of the files. Raises `Unreadable`."""
        times = decoded(_times, b"[" + self.text() + b"]", WHAT)
        return [entry.upload_time for entry in times]

    def search(self, filenames: Iterable[str]) -> list[tuple[int, ReadEntry]]:
        """Return the entries with these names, each with its number, without reading the others.
        Raises `Unreadable`.
        """
        text, found = self.text(), []
        for filename in filenames:
            start = text.find(BEGINNING + _encoder.encode(filename) + b",")
            if start >= 0:
                end = text.find(SEPARATOR, start)
                entry = decoded(_entry, text[start : len(text) if end < 0 else end + 1], WHAT)
                found.append((text.count(BEGINNING, 0, start), entry))
        return found

    def lists_same(self, other: FileBlock) -> bool:
        """Return whether both have the same content, even if compressed by different programs."""
        return self == other or (
            self.text() == other.text() and _content(self.rest) == _content(other.rest)
        )


def _content(data: bytes) -> bytes:
    try:
        return content(data, LARGEST_BLOCK)
    except ValueError as error:
        raise Unreadable(WHAT, str(error)) from None


_encoder = msgspec.json.Encoder()
_entries = msgspec.json.Decoder(list[ReadEntry])
_names = msgspec.json.Decoder(list[_Name])
_times = msgspec.json.Decoder(list[_Time])
_entry = msgspec.json.Decoder(ReadEntry)
_columns = msgspec.json.Decoder(HiddenColumns)
