"""The known state of an upstream project as one line of JSON: in a catalog dump, and in the memory
of the catalog.

The line ends with the listed files, which are many and seldom change, and begins with all else. So
a revalidation, or a newly cached file, costs a new beginning only. The files are in blocks, whose
lengths are in the beginning: the writer or reader of a line yields to other threads after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from pypid.core.errors import BadName, Unreadable
from pypid.core.model import File, Listing, Status, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import FILES, StoredFile, decoded, stored, taken_up
from pypid.core.records.file_history import FileHistory

BLOCK = 256
"""Files written or read in one call: a quarter of a millisecond."""
_WHAT = "a line of an upstream project"


class _StoredListing(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    confirmed: datetime = msgspec.field(name="asked")
    index: str
    etag: str | None = None
    status: str = "active"
    status_reason: str = ""


class _Beginning(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    name: str
    serial: int = 0
    status: str = "active"  # derivable from the rest, repeated for the head
    keeps: bool = False
    gone: bool = False
    listing: _StoredListing | None = msgspec.field(default=None, name="said")
    kept: tuple[StoredFile, ...] = ()
    touched: tuple[tuple[str, int], ...] = ()
    history: tuple[FileHistory, ...] = ()
    since: datetime | None = None
    blocks: tuple[int, ...] | None = None
    """The lengths of the blocks of files, in bytes; None: there is no list of files, which
    differs from an empty one.
    """


_encoder = msgspec.json.Encoder()
_beginning = msgspec.json.Decoder(_Beginning)
_block = msgspec.json.Decoder(list[StoredFile])


def dump_upstream_entry(entry: UpstreamEntry, earlier: bytes | None = None) -> bytes:
    """Return the known state of an upstream project as one line of JSON, whose beginning
    `documents.load_head` reads.

    `earlier` is a line with the same listed files: they are copied from it, which takes no time.
    """
    listing = entry.listing
    if listing is None or listing.files is None:
        return _dumped_beginning(entry, None) + b"}"
    if earlier is None:
        blocks = list(_dumped_blocks(listing.files))
        beginning = _dumped_beginning(entry, tuple(map(len, blocks)))
        return b"".join(
            (beginning, FILES, b"[", *_between(blocks), b"]}")
        )  # joined once: they are megabytes
    end = earlier.index(FILES)
    return b"".join(
        (_dumped_beginning(entry, _read_beginning(earlier, end).blocks), memoryview(earlier)[end:])
    )


def _dumped_beginning(entry: UpstreamEntry, blocks: tuple[int, ...] | None) -> bytes:
    """Return all before the files, without the last brace."""
    listing = entry.listing
    beginning = _Beginning(
        name=entry.name,
        serial=entry.serial,
        status="active" if listing is None else listing.status.value,
        keeps=bool(entry.kept),
        gone=listing is not None and listing.files is None,
        listing=None
        if listing is None
        else _StoredListing(
            confirmed=listing.confirmed,
            index=listing.index,
            etag=listing.etag,
            status=listing.status.value,
            status_reason=listing.status_reason,
        ),
        kept=tuple(map(stored, entry.kept)),
        touched=entry.touched,
        history=entry.history,
        since=entry.since,
        blocks=blocks,
    )
    return _encoder.encode(beginning)[:-1]


def _dumped_blocks(files: tuple[File, ...]) -> Iterator[bytes]:
    for start in range(0, len(files), BLOCK):
        yield _encoder.encode([stored(file) for file in files[start : start + BLOCK]])


def _between(blocks: list[bytes]) -> Iterator[bytes]:
    for number, block in enumerate(blocks):
        if number:
            yield b","
        yield block


def load_upstream_entry(line: bytes) -> UpstreamEntry:
    """Return the state in a line of `dump_upstream_entry`. Raises `Unreadable`."""
    end = line.find(FILES)
    document = _read_beginning(line, end)
    try:
        name = project_name(document.name)
        listing = document.listing
        return UpstreamEntry(
            name=name,
            serial=document.serial,
            listing=None
            if listing is None
            else Listing(
                name=name,
                confirmed=listing.confirmed,
                index=listing.index,
                etag=listing.etag,
                status=Status(listing.status),
                status_reason=listing.status_reason,
                files=None
                if document.blocks is None
                else _read_blocks(name, line, end, document.blocks),
            ),
            kept=tuple(taken_up(name, file) for file in document.kept),
            touched=document.touched,
            history=document.history,
            since=document.since,
        )
    except (BadName, ValueError) as error:
        raise Unreadable(_WHAT, str(error)) from None


def _read_beginning(line: bytes, end: int) -> _Beginning:
    return decoded(_beginning, line if end < 0 else line[:end] + b"}", _WHAT)


def _read_blocks(
    name: ProjectName, line: bytes, end: int, blocks: tuple[int, ...]
) -> tuple[File, ...]:
    position = end + len(FILES) + 1
    files: list[File] = []
    for length in blocks:
        block = decoded(_block, line[position : position + length], _WHAT)
        files.extend([taken_up(name, file) for file in block])
        position += length + 1
    if end < 0 or position > len(line):
        raise Unreadable(_WHAT, "it is shorter than it says")
    return tuple(files)
