"""Where advisories come from: an archive or a folder on this machine, an HTTP server, a bucket.

Each source gives a zip archive; a folder is packed into one. A `version` identifies what
was read before, so that an unchanged source is not parsed again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Protocol, cast
from zipfile import ZIP_STORED, ZipFile

from attrs import frozen

from pypid.advisories.archive import LONGEST_DOCUMENT, SUFFIXES, UnusableSource
from pypid.flow import World

LARGEST_ARCHIVE = 2 << 30
"""Bytes of an archive."""
MOST_FILES = 400_000
"""Files of a folder."""


@frozen
class FetchedAdvisories:
    """What a source has now. The caller closes `archive`."""

    version: str
    """Tells this state from others."""
    archive: BinaryIO
    """A zip archive of all records, or of some."""
    is_delta: bool = False
    """Whether the archive has modified records only, and all others stay."""


class AdvisorySource(Protocol):
    """A source of advisories."""

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has; None if that is the `known` version.

        Raises `UnusableSource` and `OSError`.
        """


@frozen
class LocalSource:
    """An archive, or a folder of JSON and YAML files, on this machine."""

    path: Path
    spool: Path
    """The folder for a temporary archive."""
    world: World

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has, as `AdvisorySource.fetch` does."""
        found: FetchedAdvisories | None = await self.world.blocking(self._fetch, known)
        return found

    def _fetch(self, known: str) -> FetchedAdvisories | None:
        if self.path.is_dir():
            return self._packed(known)
        file = self.path.open("rb")
        status = os.fstat(file.fileno())
        version = f"file {status.st_ino} {status.st_mtime_ns} {status.st_size}"
        if version == known:
            file.close()
            return None
        if status.st_size > LARGEST_ARCHIVE:
            file.close()
            raise UnusableSource(f"it is larger than {LARGEST_ARCHIVE >> 30} GiB")
        return FetchedAdvisories(version, file)

    def _packed(self, known: str) -> FetchedAdvisories | None:
        files = list(_files_below(self.path))
        digest = blake2b(digest_size=16)
        for name, status in files:
            digest.update(
                f"{name}\0{status.st_mtime_ns}\0{status.st_size}\n".encode("utf-8", "replace")
            )
        version = f"folder {digest.hexdigest()}"
        if version == known:
            return None
        packed = temporary_archive(self.spool)
        with ZipFile(packed, "w", ZIP_STORED) as archive:
            for name, status in files:
                archive.writestr(_archived_name(name), self._content(name, status.st_size))
        return FetchedAdvisories(version, packed)

    def _content(self, name: str, size: int) -> bytes:
        if size > LONGEST_DOCUMENT:  # the parser reports it as one that is too large
            return bytes(LONGEST_DOCUMENT + 1)
        try:
            with (self.path / name).open("rb") as file:
                return file.read(LONGEST_DOCUMENT + 1)
        except OSError:  # removed meanwhile, or not readable; the parser reports it as empty
            return b""


def temporary_archive(folder: Path) -> BinaryIO:
    """Return an open file without a name in the folder."""
    return cast(BinaryIO, TemporaryFile(dir=folder))


def _archived_name(name: str) -> str:
    return name.encode("utf-8", "replace").decode().replace("..", "__")


def _files_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each regular file with records, by its path below the folder, in order; not what is in
    hidden folders, and not through symbolic links to folders. Raises `OSError` for a folder that
    cannot be listed.
    """
    number = 0
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                number += 1
                if number > MOST_FILES:
                    raise UnusableSource(f"it has more than {MOST_FILES} files")
                path = os.path.join(where, name)  # noqa: PTH118  # one of many thousands
                with suppress(OSError):  # removed meanwhile, or a broken link
                    status = os.stat(path)  # noqa: PTH116
                    if stat.S_ISREG(status.st_mode):
                        yield os.path.relpath(path, folder), status


def _raise(error: OSError) -> None:
    raise error
