"""The file that an upload becomes in the storage: its bytes and its sidecar documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set
from datetime import datetime

from pypid.core.model import Blob, StoredFile, Upload
from pypid.core.records.layout import DESCRIBED, ObjectKind, key, overwrite_key, place, sidecar_key
from pypid.index.context import IndexContext
from pypid.index.store import records
from pypid.ports import Body

BodyFactory = Callable[[], Awaitable[Body]]
"""Returns the bytes of an upload, from their beginning with each call."""


def file_of(upload: Upload, by: str, now: datetime, *, overwrites: bool) -> StoredFile:
    """Return the file that the upload becomes."""
    distribution, digests = upload.distribution, upload.digests
    project, filename = distribution.project, distribution.filename
    return StoredFile(
        project=project,
        filename=filename,
        version=upload.version,
        sha256=digests.sha256,
        md5=digests.md5,
        blake2b_256=digests.blake2b_256,
        size=digests.size,
        uploaded=now,
        requires_python=upload.requires_python,
        metadata_sha256=records.sha256_of(upload.metadata),
        key=overwrite_key(project, filename, digests.sha256)
        if overwrites
        else key(project, filename),
        uploader=by,
        summary=upload.summary,
        attested=upload.provenance is not None,
    )


def documents_of(file: StoredFile, upload: Upload) -> list[tuple[str, bytes]]:
    """Return the documents to store beside the bytes, by key."""
    documents = (
        (ObjectKind.METADATA, upload.metadata),
        (ObjectKind.PROVENANCE, upload.provenance),
    )
    return [(sidecar_key(file, kind), data) for kind, data in documents if data is not None]


def left_by(older: StoredFile, keep: Set[str]) -> list[str]:
    """Return the keys that an overwritten file leaves behind: the new bytes and their documents
    have keys of their own.
    """
    keys = [older.key, *descriptions_of(older)]
    keys += [
        sidecar_key(older, kind)
        for kind in (ObjectKind.METADATA, ObjectKind.SIGNATURE, ObjectKind.PROVENANCE)
    ]
    return [where for where in keys if where not in keep]


def descriptions_of(file: StoredFile) -> tuple[str, ...]:
    """Return the key of the description that a pypicloud wrote beside the file, if it may have."""
    return (file.key + DESCRIBED,) if place(file.key) is None else ()


async def write_bytes(
    context: IndexContext,
    file: StoredFile,
    body: BodyFactory,
    *,
    replace: bool = False,
    is_provisional: bool = False,
) -> Blob:
    """Write the bytes to the file's key, perhaps marked as not committed yet."""
    where, data = file.key, await body()
    if is_provisional and context.provisional is not None:
        return await context.provisional.write_provisional(where, data, replace=replace)
    return await context.blobs.write(where, data, replace=replace)
