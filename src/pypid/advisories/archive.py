"""The documents in a zip archive of advisories, read one by one in bounded memory.

Names in the archive are never used as paths.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pypid.core.advisories import InvalidRecord

LONGEST_DOCUMENT = 4 << 20
"""Bytes of one document, and also of its compressed form."""
MOST_BYTES = 8 << 30
"""Decompressed bytes of all members."""
SUFFIXES = (".json", ".yaml", ".yml")
"""The documents of a source. YAML is refused, so that its records are not left out unseen."""
_DAMAGED = (BadZipFile, RuntimeError, OSError, EOFError, ValueError, struct.error, zlib.error)


class UnusableSource(Exception):
    """The whole source cannot be used; the text says why."""


def read_documents(file: BinaryIO) -> Iterator[tuple[str, bytes | InvalidRecord]]:
    """Yield each document of a zip archive: its name for reports, and its bytes or why they cannot
    be read. Raises `UnusableSource` for something else than an archive, one that is too large, and
    one with YAML.
    """
    try:
        archive = ZipFile(file)  # bounded by the memory of the child process
    except _DAMAGED as error:
        raise UnusableSource(f"it is no complete zip archive ({error})") from None
    size = 0
    for info in archive.infolist():
        if not info.filename.lower().endswith(SUFFIXES):
            continue
        name = "".join(each if each.isprintable() else "?" for each in info.filename[-120:])
        if not info.filename.lower().endswith(".json"):
            raise UnusableSource(f"{name} is YAML, which is not read: write its record as JSON")
        try:
            data = _read(archive, info)
        except InvalidRecord as problem:
            yield name, problem
            continue
        size += len(data)
        if size > MOST_BYTES:
            raise UnusableSource(f"its members have more than {MOST_BYTES >> 30} GiB")
        yield name, data


def _read(archive: ZipFile, info: ZipInfo) -> bytes:
    if info.filename.startswith("/") or ".." in info.filename.split("/"):
        raise InvalidRecord("its name leads out of the archive")
    if info.flag_bits & 1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise InvalidRecord("it is encrypted, or compressed by other than deflate")
    if max(info.file_size, info.compress_size) > LONGEST_DOCUMENT:
        raise InvalidRecord(f"it is larger than {LONGEST_DOCUMENT >> 20} MiB")
    try:
        with archive.open(info) as member:
            return member.read(info.file_size)  # never more, whatever the member expands to
    except _DAMAGED as error:
        raise InvalidRecord(f"the archive is damaged there ({error})") from None
