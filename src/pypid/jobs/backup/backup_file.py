"""The format of backup files: what `pypid backup create` writes and `pypid restore` reads.

A backup is a gzip-compressed tar archive in the POSIX (pax) format, of regular files and, from
format 2 on, hard links::

    backup.json            the header: format, time, version of pypid, what is included
    databases/<name>.db    SQLite: accounts, journal (the audit log), downloads
    state/<name>           other files of record of the state folder
    configuration/pypid.ini
    storage/<key>          objects of the storage; the records of a project come after its files
    manifest.jsonl         the last member: a line with path, size and SHA-256 for each of the
                           others, in their order, then a line of totals

A hard link is a package file whose bytes the archive has already: those of a file of a named index
(`linkable`). Its line of the manifest has the size 0, the SHA-256 of the bytes, and `link`. A
backup without links has format 1, which older versions read.

A description that the storage has of an object is in the pax header ``PYPID.description``, as JSON.
An encrypted backup is the same, inside of `sealing.SealedWriter`. Everything here blocks.
"""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import msgspec

from pypid.access.first_admin import RECORD as ADMIN
from pypid.access.outdated_sessions import FILE as PASSWORDS_SEEN
from pypid.access.signing_keys import RECORD as SESSION_KEY
from pypid.core.records.documents import dump
from pypid.core.records.layout import INDEXES, is_document
from pypid.jobs.backup.sealing import SealedWriter

FORMAT = 2
"""The newest format that this version reads: with hard links."""
FORMAT_WITHOUT_LINKS = 1
HEADER = "backup.json"
MANIFEST = "manifest.jsonl"
CONFIGURATION = "configuration/pypid.ini"
DATABASES = "databases/"
STATE = "state/"
STORAGE = "storage/"
ACCOUNTS_MARKER = "accounts-known"
"""A file of former versions."""
OTHER_FILES = (ADMIN, SESSION_KEY, ACCOUNTS_MARKER, PASSWORDS_SEEN)
"""The files below `STATE`."""
PIECE = 1 << 19
"""Bytes that are read and written at a time."""
DESCRIPTION = "PYPID.description"
SEALED_AS = "a backup"
_BLOCK = tarfile.BLOCKSIZE
_NONE: Mapping[str, str] = MappingProxyType({})


class BackupHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first member. `id` names the backup; `environment` has the names of the variables that
    were part of the configuration.
    """

    id: str
    made: datetime
    pypid: str
    includes_files: bool
    includes_cache: bool
    storage: str
    configuration: str
    environment: tuple[str, ...] = ()
    format: int = FORMAT_WITHOUT_LINKS


class BackupTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of the manifest. `size` in bytes; `problems` names objects that are missing or
    damaged in the storage itself.
    """

    members: int
    size: int
    projects: int
    files: int
    databases: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the manifest. `link`: the path of the member that has the bytes."""

    path: str
    size: int
    sha256: str
    link: str = ""


def linkable(path: str) -> bool:
    """Return whether hard links may refer to the member: a file of a named index. Others are not
    needed, and are too many to keep in memory.
    """
    return path.startswith(STORAGE + INDEXES) and not is_document(path)


# --- writing --------------------------------------------------------------------------------------


class BackupWriter:
    """Writes a backup to `target`, member by member: `begin`, `write` ..., `end`."""

    def __init__(
        self,
        target: BinaryIO,
        header: BackupHeader,
        secret: str | None,
        random: Callable[[int], bytes],
    ) -> None:
        """`secret` encrypts the backup."""
        self.has_links = header.format > FORMAT_WITHOUT_LINKS
        self._made = int(header.made.timestamp())
        self._sealed = None if secret is None else SealedWriter(target, secret, SEALED_AS, random)
        stream = target if self._sealed is None else cast(BinaryIO, self._sealed)
        # package files are compressed already
        self._out = gzip.GzipFile("", "wb", 1, stream, mtime=0)
        self._lines = TemporaryFile()  # noqa: SIM115
        self._entry, self._left, self._hash = "", 0, sha256()
        self._begun = 0
        self.members = self.size = 0
        self.add(HEADER, dump(header))

    def begin(self, path: str, size: int, description: Mapping[str, str] = _NONE) -> None:
        """Begin a member of exactly `size` bytes."""
        member: Any = tarfile.TarInfo(path)
        if description:
            member.pax_headers.update({DESCRIPTION: msgspec.json.encode(description).decode()})
        self._begin(member, size)
        self._entry, self._left, self._hash, self._begun = path, size, sha256(), size

    def write(self, data: bytes) -> None:
        """Add a piece to the member. Raises `EOFError` if it becomes longer than announced."""
        self._left -= len(data)
        if self._left < 0:
            raise EOFError(f"{self._entry} is longer than announced")
        self._hash.update(data)
        self._out.write(data)

    def end(self) -> str:
        """End the member; return the SHA-256 of its bytes. Raises `EOFError` if it is too short."""
        if self._left:
            raise EOFError(f"{self._entry} is shorter than announced")
        self._out.write(b"\0" * (-self._begun % _BLOCK))
        digest = self._hash.hexdigest()
        if self._entry != MANIFEST:
            self._lines.write(dump(ManifestEntry(self._entry, self._begun, digest)))
            self.members, self.size = self.members + 1, self.size + self._begun
        return digest

    def _begin(self, member: Any, size: int, **more: object) -> None:
        """Write the head of a member."""
        head = {**member.get_info(), "size": size, "mode": 0o600, "mtime": self._made, **more}
        self._out.write(member.create_pax_header(head, "utf-8"))

    def link(self, path: str, target: str, sha256: str) -> None:
        """Add a hard link to the member `target` (`linkable`), whose bytes have this hash."""
        self._begin(tarfile.TarInfo(path), 0, type=tarfile.LNKTYPE, linkname=target)
        self._lines.write(dump(ManifestEntry(path, 0, sha256, target)))
        self.members += 1

    def add(self, path: str, data: bytes) -> None:
        """Add a whole member."""
        self.begin(path, len(data))
        self.write(data)
        self.end()

    def add_file(self, path: str, source: BinaryIO) -> None:
        """Add the content of an open file."""
        self.begin(path, source.seek(0, os.SEEK_END))
        source.seek(0)
        for piece in iter(lambda: source.read(PIECE), b""):
            self.write(piece)
        self.end()

    def finish(self, totals: BackupTotals) -> None:
        """Write the manifest and the end. The target stays open."""
        self._lines.write(dump(totals))
        self.add_file(MANIFEST, cast(BinaryIO, self._lines))
        self._out.write(b"\0" * (2 * _BLOCK))
        self._out.close()
        if self._sealed is not None:
            self._sealed.close()
        self._lines.close()
