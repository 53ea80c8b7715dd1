"""What the storage says: small documents read and written, and a whole project out of its listing.

The record is the commit: a file is there if its record is there, and is shown if its bytes are there as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from hashlib import blake2b, sha256
from typing import TypeVar

import msgspec
from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.core.errors import Missing, Unreadable
from pypid.core.layout import Kind, folder, key, place
from pypid.core.model import Blob, File, Project, Status, in_order
from pypid.core.names import ProjectName
from pypid.core.records import Deleted, ProjectStatus, Yanked, dump, load, load_record
from pypid.flow import BytesBody, whole
from pypid.ports import Blobs

_log = Logger()
_D = TypeVar("_D", bound=msgspec.Struct)

LARGEST_DOCUMENT = 1 << 20
"""Bytes that a record, or another document of ours, may have."""
LARGEST_METADATA = 8 << 20
"""Bytes that core metadata, a signature or a provenance object may have."""


@frozen
class Found:
    """A project as the storage holds it; `project` is None where nothing makes the name ours."""

    project: Project | None
    mark: str
    """The fingerprint of the listing."""
    strays: tuple[Blob, ...] = field(default=(), repr=False)
    """Artifacts that no record names: a publish under way or broken off, or files that somebody dropped."""


async def read_document(blobs: Blobs, kind: type[_D], where: str) -> _D | None:
    """The document under the key, or None. Raises `Unreadable`, `StorageDown`."""
    data = await read_bytes(blobs, where, LARGEST_DOCUMENT)
    return None if data is None else load(kind, data, where)


async def read_bytes(blobs: Blobs, where: str, limit: int = LARGEST_METADATA) -> bytes | None:
    """A small blob whole, or None. Raises `Unreadable` beyond `limit`."""
    try:
        return await whole(await blobs.read(where), limit)
    except Missing:
        return None
    except ValueError as error:
        raise Unreadable(where, str(error)) from None


async def write_document(blobs: Blobs, where: str, document: msgspec.Struct) -> None:
    """Put the document under the key, in place of an older one."""
    await blobs.write(where, BytesBody(dump(document)), replace=True)


async def read_record(blobs: Blobs, project: ProjectName, filename: str) -> File | None:
    """The file that the record commits, or None."""
    where = key(project, filename, Kind.RECORD)
    data = await read_bytes(blobs, where, LARGEST_DOCUMENT)
    return None if data is None else load_record(data, where)


async def read_project(blobs: Blobs, name: ProjectName) -> Found:
    """The project out of one listing of its folder and its documents."""
    async with aclosing(blobs.list(folder(name))) as listing:
        return await project_of(blobs, name, [blob async for blob in listing])


def mark_of(listing: Sequence[Blob]) -> str:
    """A fingerprint of a listing: another one whenever a blob came, went or was written again."""
    digest = blake2b(digest_size=16)
    for blob in listing:
        digest.update(f"{blob.key}\0{blob.size}\0{blob.etag}\n".encode())
    return digest.hexdigest()


async def project_of(blobs: Blobs, name: ProjectName, listing: Sequence[Blob]) -> Found:
    """The project out of the listing of its folder. What cannot be read is left out, with a line in the log."""
    placed = {(where.filename, where.kind): blob for blob in listing if (where := place(blob.key)) is not None}
    present = {blob.key for blob in listing}
    files: list[File] = []
    recorded: set[str] = set()
    for (filename, kind), blob in placed.items():
        if kind is Kind.RECORD:
            file = await _committed(blobs, blob, present)
            if file is not None and file.project == name and file.filename == filename:
                recorded.add(file.key or "")
                yanked = await _yanked(blobs, placed.get((filename, Kind.YANKED)))
                files.append(evolve(file, yanked=yanked))
    status = await _status(blobs, placed.get(("", Kind.PROJECT)))
    known = bool(files) or any(kind in (Kind.RECORD, Kind.DELETED, Kind.PROJECT) for _, kind in placed)
    project = Project(name=name, files=in_order(tuple(files)), status=status.status, status_reason=status.reason)
    strays = tuple(
        blob for (_, kind), blob in placed.items() if kind in (Kind.ARTIFACT, Kind.OVERWRITE) and blob.key not in recorded
    )
    return Found(project if known else None, mark_of(listing), strays)


async def _committed(blobs: Blobs, record: Blob, present: set[str]) -> File | None:
    """The file of a record, if its bytes are there as well (a page never names what cannot be downloaded)."""
    try:
        data = await read_bytes(blobs, record.key, LARGEST_DOCUMENT)
        if data is None:
            return None  # deleted since the listing
        file = load_record(data, record.key)
        if file.key is not None and file.key not in present:
            await blobs.stat(file.key)  # adopted where it lay, outside the project's folder
    except Unreadable as error:
        _log.error("A record cannot be read, its file is not listed: {error}", error=error)
        return None
    except Missing as error:
        _log.error("{record} is there but the bytes are not, the file is not listed: {error}", record=record.key, error=error)
        return None
    return file


async def _yanked(blobs: Blobs, document: Blob | None) -> str | None:
    if document is None:
        return None
    try:
        yanked = await read_document(blobs, Yanked, document.key)
    except Unreadable as error:
        # a mark that cannot be read is still a mark: nobody un-yanks by accident
        _log.error("{error}; the file counts as yanked without a reason", error=error)
        return ""
    return None if yanked is None else yanked.reason


async def _status(blobs: Blobs, document: Blob | None) -> ProjectStatus:
    if document is None:
        return ProjectStatus()
    try:
        return await read_document(blobs, ProjectStatus, document.key) or ProjectStatus()
    except Unreadable as error:
        # it may say "quarantined": nothing is offered until an administrator sets the status again
        _log.error("{error}; the project counts as quarantined", error=error)
        return ProjectStatus(Status.QUARANTINED, "its status cannot be read")


async def tombstone(blobs: Blobs, project: ProjectName, filename: str) -> Deleted | None:
    """The tombstone of a file name that was used, or None."""
    return await read_document(blobs, Deleted, key(project, filename, Kind.DELETED))


def sha256_of(data: bytes | None) -> str | None:
    """The hash of a small document that is served, lower-case hex."""
    return None if data is None else sha256(data).hexdigest()
