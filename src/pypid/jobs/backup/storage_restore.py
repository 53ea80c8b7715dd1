"""Restoring a storage from a backup file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

from attrs import define, evolve, field, frozen

from pypid.core.records.layout import (
    KEPT,
    OURS_AS_A_WHOLE,
    part_of,
)
from pypid.flow import BytesBody, World
from pypid.index.job_group import Job, JobGroup
from pypid.jobs.backup.backup_file import PIECE, STORAGE
from pypid.jobs.backup.backup_reader import BackupMember
from pypid.jobs.backup.storage_backup import AT_ONCE
from pypid.jobs.backup.stored_objects import (
    BYTES_ONLY,
    CHANGING,
    LARGEST,
    SIDECARS,
    is_changing_document,
)
from pypid.ports import Blobs, Body, Describing, Duplicating


def is_document_of_record(member: BackupMember) -> bool:
    """Return whether the member is a document or a sidecar of a local project, or of the storage as
    a whole.
    """
    whole_key = member.path.removeprefix(STORAGE)
    where = whole_key.removeprefix(part_of(whole_key))
    if where.startswith((KEPT, *BYTES_ONLY)):
        return False
    return where.startswith(OURS_AS_A_WHOLE) or where.endswith((*CHANGING, *SIDECARS))


async def first_record(blobs: Blobs) -> str | None:
    """Return the key of a document of a project, if the storage has any."""
    async with aclosing(blobs.list()) as listing:
        async for blob in listing:
            where = blob.key.removeprefix(part_of(blob.key))
            its_blob = evolve(blob, key=where)
            if is_changing_document(its_blob) and not where.startswith((OURS_AS_A_WHOLE, KEPT)):
                return blob.key
    return None


@define(eq=False)
class StorageRestore:
    """Writes members of a backup into `blobs`, small ones several at a time. `duplicating` gives a
    link its bytes: in a folder it is a hard link again, if the file system has them.
    """

    blobs: Blobs
    world: World
    duplicating: Duplicating
    describing: Describing | None = None
    _together: JobGroup = field(factory=lambda: JobGroup(AT_ONCE), init=False, repr=False)
    _writing: set[str] = field(factory=set, init=False, repr=False)
    """The keys that `_together` writes now."""

    async def put(self, member: BackupMember) -> None:
        """Store the member. It is durable once `ended` has returned. Raises `StorageFull`,
        `StorageDown`, `OSError`.
        """
        where, source = member.path.removeprefix(STORAGE), member.link.removeprefix(STORAGE)
        if self._writing & {where, source}:
            await self._together.ended()
        if source:
            await self._add(where, partial(self._duplicate, source, where))
        elif member.size <= LARGEST:
            body: Body = BytesBody(await self.world.blocking(member.read, LARGEST))
            await self._add(where, partial(self._write, where, body, member.description))
        else:
            body = _MemberBody(member, self.world)
            await self._write(where, body, member.description)

    async def _add(self, where: str, write: Job[None]) -> None:
        """Write the key while others are written."""

        async def writing() -> None:
            await write()
            self._writing.discard(where)

        self._writing.add(where)
        await self._together.add(writing)

    async def _duplicate(self, source: str, where: str) -> None:
        await self.duplicating.duplicate(source, where, replace=True)

    async def ended(self) -> None:
        """Wait until all members are stored. Raises as `put`."""
        await self._together.ended()

    async def cancel(self) -> None:
        """End the writes under way."""
        await self._together.cancel()

    async def _write(self, where: str, body: Body, description: Mapping[str, str]) -> None:
        if description and self.describing is not None:
            await self.describing.write_described(where, body, description, replace=True)
        else:
            await self.blobs.write(where, body, replace=True)


@frozen
class _MemberBody:
    """The content of a member, as a body."""

    member: BackupMember
    world: World

    @property
    def size(self) -> int | None:
        return self.member.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.world.blocking(self.member.read, PIECE):
            yield piece

    async def aclose(self) -> None:
        return None
