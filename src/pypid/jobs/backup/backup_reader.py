"""Reading backup files (`backup_file`), with bounded memory. Members that no backup has are
refused. Everything here blocks.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, cast

import msgspec
from attrs import define, field, frozen

from pypid.blobs.keys import segments
from pypid.core.errors import PypidError, Unreadable
from pypid.core.records.documents import dump
from pypid.jobs.backup.backup_file import (
    CONFIGURATION,
    DATABASES,
    DESCRIPTION,
    FORMAT,
    HEADER,
    MANIFEST,
    OTHER_FILES,
    PIECE,
    SEALED_AS,
    STATE,
    STORAGE,
    BackupHeader,
    BackupTotals,
    ManifestEntry,
    linkable,
)
from pypid.jobs.backup.sealing import SealedReader

LARGEST_DOCUMENT = 1 << 20
"""Bytes that the header, the configuration, or a file of the state folder may have."""
_LARGEST_LINE = 1 << 16
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_GZIP = b"\x1f\x8b"


@define
class BadBackup(PypidError):
    """The file is no backup, is incomplete, or was modified."""

    file: str
    reason: str

    def text(self) -> str:
        return f"{self.file} cannot be used as a backup: {self.reason}. Nothing was restored."


@define
class NeedsSecret(PypidError):
    """The backup is encrypted, and no secret is known."""

    file: str

    def text(self) -> str:
        return (
            f"{self.file} is encrypted. Set PYPID_SERVER_SECRET to the [server] secret that the "
            "index had."
        )


def is_sealed(path: Path) -> bool:
    """Return whether the backup is encrypted. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(1) == b"{"


@frozen
class BackupMember:
    """One member, whose `content` can be read until the next one is asked for. `link`: the path of
    the earlier member that has its bytes; then it has no content of its own.
    """

    path: str
    size: int
    description: Mapping[str, str]
    content: IO[bytes]
    archive: Path
    link: str = ""

    def read(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end."""
        with _errors_named(self.archive):
            return self.content.read(size)

    def whole(self) -> bytes:
        """Return all bytes of a small member. Raises `BadBackup` for a larger one."""
        if self.size > LARGEST_DOCUMENT:
            raise BadBackup(str(self.archive), f"its member {self.path} is too large")
        return self.read(LARGEST_DOCUMENT)


class _BoundedInfo(tarfile.TarInfo):
    """A member whose extended headers, which are read into memory, are short."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedInfo:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENDED and found.size > _LARGEST_LINE:
            raise tarfile.HeaderError("an extended header is too long")
        return found


@frozen
class BackupFile:
    """A backup on disk. `secret` is needed if it is encrypted."""

    path: Path
    secret: str | None = field(default=None, repr=False)

    def header(self) -> BackupHeader:
        """Return the header. Raises as `members`."""
        with self.path.open("rb") as file:
            for member in self._members(file):
                return self._header(member)
        raise BadBackup(str(self.path), "it is empty")

    def configuration(self) -> bytes | None:
        """Return the configuration file, if the backup has one. Raises as `members`."""
        with self.path.open("rb") as file:
            for number, member in enumerate(self._members(file)):
                if number == 1:  # it follows the header
                    return member.whole() if member.path == CONFIGURATION else None
        return None

    def members(self) -> Iterator[BackupMember]:
        """Yield the members but the header and the manifest; read each before the next one.

        Raises `BadBackup`, `NeedsSecret`, `WrongSecret`, `OSError`. Only `verify` compares hashes.
        """
        with self.path.open("rb") as file:
            for number, member in enumerate(self._members(file)):
                if number == 0:
                    self._header(member)
                elif member.path == MANIFEST:
                    return
                else:
                    yield member

    def verify(
        self, tell: Callable[[int, int], object] = lambda members, size: None
    ) -> BackupTotals:
        """Read everything, compare it with the manifest, and return its totals; `tell` gets the
        members and bytes read so far. Raises as `members`.
        """
        size = members = 0
        hashes = dict[str, str]()
        with TemporaryFile() as lines, self.path.open("rb") as file:
            ended: BackupTotals | None = None
            for number, member in enumerate(self._members(file)):
                if ended is not None:
                    raise BadBackup(str(self.path), "something follows its manifest")
                if number == 0:
                    self._header(member, lines)
                elif member.path == MANIFEST:
                    with _errors_named(self.path):
                        ended = self._compared(member, lines)
                    continue
                else:
                    lines.write(dump(self._entry(member, hashes)))
                size, members = size + member.size, members + 1
                tell(members, size)
        if ended is None or (ended.members, ended.size) != (members, size):
            raise BadBackup(str(self.path), "it is incomplete: its manifest is missing")
        return ended

    def _entry(self, member: BackupMember, hashes: dict[str, str]) -> ManifestEntry:
        """Return the line of the manifest; `hashes` are those of the members before it that links
        may refer to.
        """
        if not member.link:
            digest = _hash_of(member)
            if linkable(member.path):
                hashes[member.path] = digest
            return ManifestEntry(member.path, member.size, digest)
        if member.link not in hashes:
            raise BadBackup(str(self.path), f"it lacks {member.link}, to which {member.path} links")
        return ManifestEntry(member.path, 0, hashes[member.link], member.link)

    def _compared(self, manifest: BackupMember, lines: IO[bytes]) -> BackupTotals:
        """Return the totals of a manifest whose other lines are equal to `lines`."""
        lines.seek(0)
        source = manifest.content
        while True:
            line = source.readline(_LARGEST_LINE)
            expected = lines.readline()
            if not expected:
                break
            if line != expected:
                name = msgspec.json.decode(expected, type=ManifestEntry).path
                raise BadBackup(str(self.path), f"{name} differs from the manifest")
        totals = msgspec.json.decode(line, type=BackupTotals)
        if source.read(1):
            raise BadBackup(str(self.path), "members that its manifest names are missing")
        return totals

    def _header(self, member: BackupMember, lines: IO[bytes] | None = None) -> BackupHeader:
        if member.path != HEADER:
            raise BadBackup(str(self.path), f"its first member is not {HEADER}")
        data = member.whole()
        if lines is not None:
            lines.write(dump(ManifestEntry(member.path, len(data), sha256(data).hexdigest())))
        with _errors_named(self.path):
            version = msgspec.json.decode(data, type=_BackupFormat).format
            if version > FORMAT:
                raise ValueError(
                    f"its format is {version}, and this pypid knows {FORMAT}: a newer pypid made it"
                )
            return msgspec.json.decode(data, type=BackupHeader)

    def _members(self, file: BinaryIO) -> Iterator[BackupMember]:
        with (
            _errors_named(self.path),
            gzip.GzipFile(fileobj=self._plain(file), mode="rb") as data,
            tarfile.open(fileobj=data, mode="r|", tarinfo=_BoundedInfo) as archive,
        ):
            while (found := archive.next()) is not None:
                yield self._checked(archive, found)
                _forget(archive)
            while data.read(PIECE):  # the checksum of gzip is at its end
                pass

    def _plain(self, file: BinaryIO) -> BinaryIO:
        beginning = file.read(2)
        file.seek(0)
        if beginning == _GZIP:
            return file
        if not beginning.startswith(b"{"):
            raise BadBackup(str(self.path), "it was not made by `pypid backup create`")
        if self.secret is None:
            raise NeedsSecret(str(self.path))
        return cast(BinaryIO, SealedReader(file, self.secret, SEALED_AS))

    def _checked(self, archive: tarfile.TarFile, found: tarfile.TarInfo) -> BackupMember:
        """Return the member. Raises `ValueError` for one that no backup has."""
        path = found.name
        place = segments(path)
        is_link = found.islnk() and path.startswith(STORAGE) and linkable(found.linkname)
        if not (found.isreg() or is_link) or place is None or not _is_expected(path):
            raise ValueError(f"it has a member {path!r}, which no backup has")
        may_be_large = path.startswith((DATABASES, STORAGE)) or path == MANIFEST
        if found.size > LARGEST_DOCUMENT and not may_be_large:
            raise ValueError(f"its member {path!r} is too large: {found.size} bytes")
        if hasattr(tarfile, "data_filter"):
            tarfile.data_filter(found, "/backup")
        if is_link:
            return BackupMember(path, 0, {}, BytesIO(), self.path, found.linkname)
        content = archive.extractfile(found)
        if content is None:
            raise ValueError(f"its member {path!r} is no file")
        text = found.pax_headers.get(DESCRIPTION)
        described = msgspec.json.decode(text, type=dict[str, str]) if text else {}
        return BackupMember(path, found.size, described, content, self.path)


class _BackupFormat(msgspec.Struct):
    """What every version of the header has."""

    format: int


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Turn errors of reading an archive into `BadBackup`."""
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise BadBackup(str(path), f"it is damaged ({error})") from None
    except (Unreadable, msgspec.DecodeError, ValueError) as error:
        raise BadBackup(str(path), str(error)) from None


def _forget(archive: Any) -> None:
    """Drop the list of all members so far, which tarfile keeps in memory."""
    archive.members.clear()


def _is_expected(path: str) -> bool:
    if path.startswith(STORAGE):
        return True
    if path.startswith(DATABASES):
        return path.count("/") == 1 and path.endswith(".db")
    return path in (HEADER, MANIFEST, CONFIGURATION) or path in {
        STATE + name for name in OTHER_FILES
    }


def _hash_of(member: BackupMember) -> str:
    digest = sha256()
    for piece in iter(lambda: member.read(PIECE), b""):
        digest.update(piece)
    return digest.hexdigest()
