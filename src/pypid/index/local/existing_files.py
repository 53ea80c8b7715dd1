"""Find a file that already exists under the name of an upload: in the catalog, in the storage, or
being published by another node.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import Missing, StorageDown, Unreadable
from pypid.core.model import LocalProject, Presence, Project, StoredFile, Upload
from pypid.core.records.layout import keys_in_layouts
from pypid.index.context import IndexContext
from pypid.index.store import records

_log = Logger()

LOOKS, PAUSE = 10, 0.5
"""How often, and after how many seconds each, to check whether another node's publish has finished.
"""


@frozen
class ExistingFile:
    """A file that is already published under the name; `is_whole`: its bytes are there;
    `is_listed`: the catalog has it.
    """

    file: StoredFile
    is_whole: bool
    is_listed: bool = True


@frozen
class ExistingFiles:
    """Finds existing files. Everything raises `StorageDown`."""

    context: IndexContext

    async def find(self, ours: LocalProject | Presence, upload: Upload) -> ExistingFile | None:
        """Return the file of this name from the catalog, or from its record (another node's, a
        moment ago), which takes precedence.
        """
        name, filename = upload.distribution.project, upload.distribution.filename
        held = ours.file(filename) if isinstance(ours, Project) else None
        is_same = held is not None and held.sha256 == upload.digests.sha256
        if (
            held is not None
            and not self.context.shared
            and (not is_same or await self.is_whole(held))
        ):
            return ExistingFile(held, is_whole=True)
        recorded = await self.recorded(upload)
        if recorded is None:
            if held is not None:
                await self.context.resync(name)  # the catalog lags behind
            return None
        if (
            self.context.shared
            and held is not None
            and (held.key, held.sha256) == (recorded.key, recorded.sha256)
        ):
            return ExistingFile(recorded, await self.is_whole(recorded))
        return await self._listed(recorded)

    async def awaited(self, upload: Upload) -> ExistingFile | None:
        """Wait for the file that another node is publishing under the name; None if that takes
        longer than `LOOKS` checks.
        """
        for look in range(LOOKS + 1 if self.context.shared else 1):
            if look:
                await deferLater(self.context.world.clock, PAUSE)
            recorded = await self.recorded(upload)
            if recorded is not None:
                return await self._listed(recorded)
        return None

    async def _listed(self, recorded: StoredFile) -> ExistingFile:
        """Return the recorded file after a refresh of the catalog, which lags behind."""
        await self.context.resync(recorded.project)
        is_listed = recorded.project not in self.context.records.pending_updates
        return ExistingFile(recorded, await self.is_whole(recorded), is_listed)

    async def recorded(self, upload: Upload) -> StoredFile | None:
        """Return the file of this name according to its record."""
        name, filename = upload.distribution.project, upload.distribution.filename
        try:
            return await records.read_record(self.context.blobs, name, filename)
        except Unreadable as error:
            _log.error("{error}; `pypid storage check` explains what to do.", error=error)
            raise StorageDown(f"the record of {filename!r} is damaged.") from None

    async def is_whole(self, file: StoredFile) -> bool:
        """Return whether the bytes of a published file are still there."""
        try:
            found = await self.context.blobs.stat(file.key)
            return found.size == file.size
        except Missing:
            return False

    async def may_be_there(self, ours: LocalProject | Presence, upload: Upload) -> bool:
        """Return whether a pypicloud may have left a file of this name that is not adopted yet."""
        name, filename = upload.distribution.project, upload.distribution.filename
        if not isinstance(ours, Project):
            return True
        if ours.file(filename) is not None:
            return False
        for where in keys_in_layouts(name, upload.version, filename):
            with suppress(Missing):
                await self.context.blobs.stat(where)
                return True
        return False
