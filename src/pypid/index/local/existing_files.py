"""What is there already under the name of an upload: by the catalog, by the storage, or on its way
at another node.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import evolve, frozen
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import Missing, StorageDown, Unreadable
from pypid.core.model import File, Presence, Project, Upload
from pypid.index.context import IndexContext
from pypid.index.store import records

_log = Logger()

LOOKS, PAUSE = 10, 0.5
"""How often, and after how many seconds each, it is looked whether what another node publishes has
come to its end.
"""


@frozen
class ExistingFile:
    """A file that is published under the name already; `is_whole`: its bytes are there;
    `is_listed`: the catalog has it.
    """

    file: File
    is_whole: bool
    is_listed: bool = True


@frozen
class ExistingFiles:
    """Finds it. Everything raises `StorageDown`."""

    parts: IndexContext

    async def find(self, ours: Project | Presence, upload: Upload) -> ExistingFile | None:
        """The file of this name, by the catalog or (another node's, a moment ago) by its record,
        which counts.
        """
        name, filename = upload.distribution.project, upload.distribution.filename
        held = ours.file(filename) if isinstance(ours, Project) else None
        is_same = held is not None and held.sha256 == upload.digests.sha256
        if (
            held is not None
            and not self.parts.shared
            and (not is_same or await self.is_whole(held))
        ):
            return ExistingFile(held, is_whole=True)
        recorded = await self.recorded(upload)
        if recorded is None:
            if held is not None:
                await self.parts.look(name)  # the catalog lags behind
            return None
        if (
            self.parts.shared
            and held is not None
            and (held.key, held.sha256) == (recorded.key, recorded.sha256)
        ):
            return ExistingFile(recorded, await self.is_whole(recorded))
        return await self._listed(recorded)

    async def awaited(self, upload: Upload) -> ExistingFile | None:
        """What another node publishes under the name just now, once that is done; None if it takes
        longer than `LOOKS`.
        """
        for look in range(LOOKS + 1 if self.parts.shared else 1):
            if look:
                await deferLater(self.parts.world.clock, PAUSE)
            recorded = await self.recorded(upload)
            if recorded is not None:
                return await self._listed(recorded)
        return None

    async def _listed(self, recorded: File) -> ExistingFile:
        """What is recorded, and listed by now if that is possible: the catalog lags behind."""
        await self.parts.look(recorded.project)
        is_listed = recorded.project not in self.parts.unsettled
        return ExistingFile(recorded, await self.is_whole(recorded), is_listed)

    async def recorded(self, upload: Upload) -> File | None:
        """The file of this name, by its record."""
        name, filename = upload.distribution.project, upload.distribution.filename
        try:
            return await records.read_record(self.parts.blobs, name, filename)
        except Unreadable as error:
            _log.error("{error}; `pypid check` says what to do.", error=error)
            raise StorageDown(f"the record of {filename!r} is damaged.") from None

    async def is_whole(self, file: File) -> bool:
        """Whether the bytes of a published file are still there."""
        try:
            return (await self.parts.blobs.stat(file.key or "")).size == file.size
        except Missing:
            return False

    async def may_be_there(self, ours: Project | Presence, upload: Upload) -> bool:
        """Whether a pypicloud may have left a file of this name, and it is not taken in yet."""
        name, filename = upload.distribution.project, upload.distribution.filename
        if not isinstance(ours, Project):
            return True
        if ours.file(filename) is not None:
            return False
        for hashed in (False, True):  # it may have been told either
            with suppress(Missing):
                await self.parts.blobs.stat(
                    evolve(self.parts.plan, hashed=hashed).artifact(name, upload.version, filename)
                )
                return True
        return False
