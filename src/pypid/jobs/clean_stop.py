"""A note in the storage folder that the catalog dump was written after the last change.

A clean stop leaves it, a start removes it. With it a restart serves lists at once. It is in the
storage, and names the dump, so that it is missing after a crash, and after anything else has used
the storage: another machine, another state folder, a backup that was restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from attrs import field, frozen
from twisted.logger import Logger

from pypid.catalog.dump_folder import DumpFolder
from pypid.core.errors import PypidError
from pypid.core.records.layout import CLEAN_STOP
from pypid.flow import Blocking
from pypid.index.store import records
from pypid.ports import Blobs

_log = Logger()


class CleanStopNote(msgspec.Struct, frozen=True):
    """`dump`: SHA-256 of the manifests of the dump's folders, lower-case hex."""

    dump: str


@frozen
class CleanStop:
    """The note of one storage. `folders` are those of the dumps; those that were never written
    need not exist.
    """

    blobs: Blobs
    folders: Sequence[Path]
    blocking: Blocking = field(repr=False)

    async def take(self) -> bool:
        """Remove the note; return whether it names the current dump."""
        try:
            note = await records.read_document(self.blobs, CleanStopNote, CLEAN_STOP)
            if note is None:
                return False
            await self.blobs.delete(CLEAN_STOP)
            return note.dump == await self.blocking(_digest, self.folders)
        except (PypidError, OSError) as error:
            _log.warn(
                "the marker of a clean stop is ignored, and all projects are compared: {error}",
                error=error,
            )
            return False

    async def leave(self) -> None:
        """Write the note: the dump is up to date, and nothing changes any more. A failure only
        makes the next start slower.
        """
        try:
            note = CleanStopNote(await self.blocking(_digest, self.folders))
            await records.write_document(self.blobs, CLEAN_STOP, note)
        except (PypidError, OSError) as error:
            _log.warn("the marker of a clean stop could not be written: {error}", error=error)


def _digest(folders: Sequence[Path]) -> str:
    """Return the digest of the manifests, each of which names its shards by their hashes. Raises
    `OSError`, `Unreadable`.
    """
    written = filter(DumpFolder.exists, map(DumpFolder, folders))
    return sha256(b"\0".join(folder.manifest_bytes() for folder in written)).hexdigest()
