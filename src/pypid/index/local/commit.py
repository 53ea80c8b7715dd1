"""Committing a file: writing its record, which makes its stored bytes a published file, and listing
it in the catalog.
"""

from __future__ import annotations

from msgspec import structs

from pypid.core.errors import AlreadyExists, Exists, Unreadable
from pypid.core.model import StoredFile
from pypid.core.records.documents import dump_record
from pypid.core.records.file_history import Event, FileHistory
from pypid.core.records.layout import ObjectKind, key
from pypid.flow import BytesBody
from pypid.index.context import IndexContext, with_files, with_pasts
from pypid.index.store import records


async def commit(
    context: IndexContext,
    file: StoredFile,
    *,
    replace: bool = False,
    older: StoredFile | None = None,
    is_new: bool = False,
) -> None:
    """Write the record and list the file. `is_new`: the name was never local; `older`: the file
    that it replaces.

    Raises `AlreadyExists` if another process's record was first; what
    `IndexContext.refuse_if_closed` raises, perhaps after the file was listed; `CatalogDown` if
    the record is saved and the file is listed later.
    """
    where = key(file.project, file.filename, ObjectKind.RECORD)
    async with context.records.locks.hold(file.project):
        context.refuse_if_closed()
        # an overwrite keeps the yank: only an un-yank removes it
        yanked = (
            None if is_new else await records.yanked(context.blobs, file.project, file.filename)
        )
        pasts: list[FileHistory] = []
        if older is not None and older.sha256 != file.sha256:
            went = Event(
                file.uploaded or context.world.now(),
                yanked,
                yanked,
                gone=True,
                sha256=older.sha256,
                begun=older.uploaded,
            )
            pasts.append(await records.note(context.blobs, older, went))
        try:
            await context.blobs.write(where, BytesBody(dump_record(file)), replace=replace)
        except Exists:
            raise await _already_exists(context, file) from None
        listed = structs.replace(file, yanked=yanked)
        await context.amend(
            file.project, lambda project: with_pasts(with_files(project, listed), pasts)
        )
        await context.refuse_if_closed_elsewhere(file.project)


async def _already_exists(context: IndexContext, file: StoredFile) -> AlreadyExists:
    try:
        first = await records.read_record(context.blobs, file.project, file.filename)
    except Unreadable:
        first = None
    return AlreadyExists(file.filename, first.blake2b_256 if first else None)
