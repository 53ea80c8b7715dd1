"""Putting back published bytes from a copy elsewhere in the storage, where other bytes, or none,
are in their place.

Bytes found where a file was to be published are copied aside (`publish`). If a record names them
after all, since its writer was another pypid that shared the storage without a lease, they are the
published bytes, and are put back.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import frozen

from pypid.core.errors import Exists, Missing
from pypid.core.model import StoredFile
from pypid.core.records.layout import overwrite_key, set_aside_key
from pypid.index.context import IndexContext, digests_of
from pypid.index.store import records


@frozen
class Repair:
    """Finds a copy of the published bytes and puts it back. Everything raises `StorageDown`."""

    context: IndexContext

    async def copy_of(self, file: StoredFile) -> str | None:
        """Return the key of a copy with the hash that the record names, or None."""
        where = file.project, file.filename, file.sha256
        for candidate in (set_aside_key(*where), overwrite_key(*where)):
            if candidate != file.key and await self._has(candidate, file.sha256):
                return candidate
        return None

    async def mend(self, file: StoredFile) -> bool:
        """Put the bytes back and list the file. Return False if the record changed, nothing is
        wrong, or no copy is left.
        """
        where, sha256 = file.key, file.sha256
        async with self.context.places.hold(f"{file.project}/{file.filename}"):
            if await records.read_record(self.context.blobs, file.project, file.filename) != file:
                return False
            if await self._has(where, sha256):
                return False
            copy = await self.copy_of(file)
            if copy is None:
                return False
            await self._set_aside(file)
            await self.context.blobs.write(where, await self.context.blobs.read(copy), replace=True)
        await self.context.resync(file.project)
        return True

    async def _set_aside(self, file: StoredFile) -> None:
        """Copy the bytes that are in the wrong place aside, if there are any."""
        where = file.key
        with suppress(Missing, Exists):
            other = (await digests_of(self.context, where)).sha256
            aside = set_aside_key(file.project, file.filename, other)
            await self.context.blobs.write(aside, await self.context.blobs.read(where))

    async def _has(self, where: str, sha256: str) -> bool:
        try:
            return (await digests_of(self.context, where)).sha256 == sha256
        except Missing:
            return False
