"""Managing published files: yank, status, delete, and releasing a name.

The storage is changed first, under the project's lock, then the catalog: views may lag behind the
storage, never lead it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, TypeVar

from attrs import evolve, frozen
from msgspec.structs import replace

from pypid.core.errors import BadRequest, NoSuchFile, StorageDown, StorageFull, Unreadable
from pypid.core.model import Event, FileHistory, LocalProject, Project, Status, StoredFile
from pypid.core.packaging.names import ProjectName, version_key
from pypid.core.records.documents import Deleted, ProjectStatus, Yanked
from pypid.core.records.layout import ObjectKind, folder, key, place, sidecar_key
from pypid.flow import shielded
from pypid.index.context import IndexContext, with_files, with_pasts, without_files
from pypid.index.local.publish import descriptions_of
from pypid.index.store import records
from pypid.metrics.counts import CHANGES

T = TypeVar("T")

LONGEST_REASON = 1000
"""Maximum length of a reason (of a yank or a status), in characters."""
_WITNESSES = (ObjectKind.DELETED, ObjectKind.PROJECT, ObjectKind.YANKED, ObjectKind.HISTORY)
"""Documents that reserve the name of a project without files."""


@frozen
class Manager:
    """Changes published files. Every method raises `NoSuchProject`, `NoSuchFile`, `StorageDown`.

    `CatalogDown`, a subclass, says whether nothing was changed (the catalog was unavailable
    before), or the change was saved and becomes visible later. In that case the bytes of deleted
    files stay until ``pypid storage check --sweep``, for clients that still see them listed.
    """

    context: IndexContext

    async def yank(self, name: ProjectName, filenames: Iterable[str], reason: str) -> LocalProject:
        """Mark the files yanked (PEP 592); an empty reason means none. Yanking again replaces the
        reason.
        """
        check_reason(reason)
        return await self._counted("yank", self._mark(name, frozenset(filenames), reason))

    async def unyank(self, name: ProjectName, filenames: Iterable[str]) -> LocalProject:
        """Remove the yank from the files."""
        return await self._counted("unyank", self._mark(name, frozenset(filenames), None))

    async def _mark(
        self, name: ProjectName, filenames: frozenset[str], reason: str | None
    ) -> LocalProject:
        """Mark the files yanked, or remove the yank if `reason` is None."""
        async with self._changing(name):
            files = _chosen(await self.context.held(name), filenames)
            now, pasts = self.context.world.now(), []
            for file in files:
                pasts += await self._noted(file, Event(now, file.yanked, reason))
                where = key(name, file.filename, ObjectKind.YANKED)
                if reason is None:
                    await self.context.blobs.delete(where)
                else:
                    await records.write_document(self.context.blobs, where, Yanked(reason))
            return await self.context.amend(
                name, lambda p: with_pasts(_marked(p, files, reason), pasts)
            )

    async def _noted(self, file: StoredFile, event: Event) -> list[FileHistory]:
        """Record what is about to happen to the file, so that as-of views can show its former
        state.
        """
        if event.was == event.yanked and not event.gone:
            return []
        return [await records.note(self.context.blobs, file, event)]

    async def set_status(self, name: ProjectName, status: Status, reason: str = "") -> LocalProject:
        """Set the project status marker (PEP 792)."""
        check_reason(reason)
        return await self._counted("set_status", self._set_status(name, status, reason))

    async def _set_status(self, name: ProjectName, status: Status, reason: str) -> LocalProject:
        async with self._changing(name):
            await records.write_document(
                self.context.blobs, key(name, "", ObjectKind.PROJECT), ProjectStatus(status, reason)
            )
            return await self.context.amend(
                name, lambda p: evolve(p, status=status, status_reason=reason)
            )

    async def delete(self, name: ProjectName, filenames: Iterable[str], by: str) -> LocalProject:
        """Delete the files for good; their names can be used again only for the same bytes. The
        project stays local.
        """
        return await self._counted("delete", self._delete(name, frozenset(filenames), by))

    async def _delete(self, name: ProjectName, filenames: frozenset[str], by: str) -> LocalProject:
        async with AsyncExitStack() as held:
            # a publish of one of these names must not store its bytes while they are being removed
            for filename in sorted(filenames):
                await held.enter_async_context(self.context.places.hold(f"{name}/{filename}"))
            await held.enter_async_context(self._changing(name))
            files = [
                await self._current(file)
                for file in _chosen(await self.context.held(name), filenames)
            ]
            now, pasts = self.context.world.now(), []
            for file in files:
                pasts += await self._noted(
                    file,
                    Event(now, file.yanked, gone=True, sha256=file.sha256, begun=file.uploaded),
                )
                tombstone = Deleted(sha256=file.sha256, deleted=now, by=by)
                await records.write_document(
                    self.context.blobs, key(name, file.filename, ObjectKind.DELETED), tombstone
                )
                await self.context.blobs.delete(key(name, file.filename, ObjectKind.RECORD))
            project = await self.context.amend(
                name, lambda p: with_pasts(without_files(p, filenames), pasts)
            )
            back = [file for file in files if await self._is_back(file)]
            if back:
                project = (await self.context.records.refresh(name)).entry or project
            for file in files:
                if file not in back:
                    await self._remove_bytes(file)
            return project

    async def _is_back(self, file: StoredFile) -> bool:
        """Return whether another node has published the name again since its record was deleted:
        then its bytes and its entry stay.
        """
        if not self.context.others_write:
            return False
        try:
            recorded = await records.read_record(self.context.blobs, file.project, file.filename)
        except Unreadable:
            return True
        return recorded is not None

    async def _current(self, file: StoredFile) -> StoredFile:
        """Return the file from its record, with the catalog's yank: the catalog may lag behind an
        overwrite, and the record has no yanks.
        """
        try:
            recorded = await records.read_record(self.context.blobs, file.project, file.filename)
        except Unreadable:
            return file
        return file if recorded is None else replace(recorded, yanked=file.yanked)

    async def _remove_bytes(self, file: StoredFile) -> None:
        await self.context.blobs.delete(key(file.project, file.filename, ObjectKind.YANKED))
        for kind in (ObjectKind.SIGNATURE, ObjectKind.PROVENANCE, ObjectKind.METADATA):
            await self.context.blobs.delete(sidecar_key(file, kind))
        for where in (*descriptions_of(file), file.key):
            await self.context.blobs.delete(where)

    async def delete_project(self, name: ProjectName, by: str) -> LocalProject:
        """Delete all files of the project; it stays local, empty, with its status, until
        `release_name`.
        """
        return await self._counted("delete_project", self._delete_project(name, by))

    async def _delete_project(self, name: ProjectName, by: str) -> LocalProject:
        project = await self.context.known(name)
        if project.files:
            project = await self._delete(
                name, frozenset(file.filename for file in project.files), by
            )
        return project

    async def release_name(self, name: ProjectName) -> None:
        """Remove all traces of an empty local project, tombstones included. Raises `BadRequest`
        while it has files.
        """
        await self._counted("release_name", self._release_name(name))

    async def _release_name(self, name: ProjectName) -> None:
        async with self._changing(name):
            async with aclosing(self.context.blobs.list(folder(name))) as listing:
                placed = [(blob.key, place(blob.key)) async for blob in listing]
            # including unreadable records: an upstream file may be restored from a backup
            if any(
                meaning is not None and meaning.kind is ObjectKind.RECORD for _, meaning in placed
            ):
                raise BadRequest(
                    f"The project {name!r} still has files: delete it first, then release its name."
                )
            for where, meaning in placed:
                if meaning is not None and meaning.kind in _WITNESSES:
                    await self.context.blobs.delete(where)
            await self.context.records.edit(name, lambda _: None)
            if self.context.released is not None:
                await self.context.released(name)

    async def _counted(self, operation: str, changing: Coroutine[Any, Any, T]) -> T:
        """Run the change to its end, and count it under `operation` once it succeeded."""
        done = await shielded(changing)
        self.context.world.counts.add(CHANGES, (operation,))
        return done

    @asynccontextmanager
    async def _changing(self, name: ProjectName) -> AsyncIterator[None]:
        """Hold the lock of a local project. Raises `NoSuchProject`, and `CatalogDown` before
        anything is changed.

        If a change breaks off, the catalog is resynced.
        """
        await self.context.refuse_while_away()
        await self.context.known(name)
        try:
            async with self.context.records.locks.hold(name):
                yield
        except (StorageDown, StorageFull):
            await self.context.records.recover(name)
            raise


def files_of_releases(project: Project, versions: Iterable[str]) -> frozenset[str]:
    """Return the names of the files of these releases, in linear time. Raises `NoSuchFile` for one
    that does not exist.
    """
    wanted = {version_key(version): version for version in versions}
    there, filenames = set[object](), set[str]()
    for file in project.files:
        key = version_key(file.version)
        if key in wanted:
            there.add(key)
            filenames.add(file.filename)
    for key, version in wanted.items():
        if key not in there:
            raise NoSuchFile(f"{project.name} {version}")
    return frozenset(filenames)


def _chosen(project: LocalProject, filenames: frozenset[str]) -> tuple[StoredFile, ...]:
    files = tuple(file for file in project.files if file.filename in filenames)
    missing = filenames - {file.filename for file in files}
    if missing:
        raise NoSuchFile(sorted(missing)[0])
    return files


def _marked(project: LocalProject, files: Iterable[StoredFile], reason: str | None) -> LocalProject:
    """Return the project with the yank of these files set or removed; files that another node has
    deleted or replaced are skipped.
    """
    names = {file.filename for file in files}
    return with_files(
        project, *(replace(file, yanked=reason) for file in project.files if file.filename in names)
    )


def check_reason(reason: str) -> None:
    """Raise `BadRequest` if the reason is too long, or has control characters."""
    if len(reason) > LONGEST_REASON:
        raise BadRequest(
            f"The reason has {len(reason)} characters; at most {LONGEST_REASON} are allowed."
        )
    if any(ord(character) < 32 and character not in "\t\n" for character in reason):
        raise BadRequest("The reason may not hold control characters.")
