"""The file that an upload becomes in the storage: its bytes and its sidecar documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set
from datetime import datetime

from pypid.core.model import Blob, StoredFile, Upload
from pypid.core.records.layout import ObjectKind, Plan, sidecar_key
from pypid.index.context import IndexContext
from pypid.index.local.early_write import EarlyWrite
from pypid.index.store import records
from pypid.ports import Body

BodyFactory = Callable[[], Awaitable[Body]]
"""Returns the bytes of an upload, from their beginning with each call."""


def file_of(upload: Upload, by: str, now: datetime, plan: Plan, *, overwrites: bool) -> StoredFile:
    """Return the file that the upload becomes."""
    distribution, digests = upload.distribution, upload.digests
    project, filename = distribution.project, distribution.filename
    where = plan.artifact(project, upload.version, filename)
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
        key=plan.overwrite(project, upload.version, filename, digests.sha256)
        if overwrites
        else where,
        uploader=by,
        summary=upload.summary,
        attested=upload.provenance is not None,
    )


def documents_of(file: StoredFile, upload: Upload, plan: Plan) -> list[tuple[str, bytes]]:
    """Return the documents to store beside the bytes, by key."""
    documents = (
        (ObjectKind.METADATA, upload.metadata),
        (ObjectKind.PROVENANCE, upload.provenance),
    )
    return [
        *description_of(file, plan),
        *((sidecar_key(file, kind), data) for kind, data in documents if data is not None),
    ]


def description_of(file: StoredFile, plan: Plan) -> list[tuple[str, bytes]]:
    """Return the description that a pypicloud needs, if the layout stores it beside the file."""
    where = plan.description(file.key)
    if where is None:
        return []
    from pypid.core.records.pypicloud_descriptions import as_json  # imported here: no page needs it

    return [(where, as_json(file))]


def left_by(older: StoredFile, plan: Plan, keep: Set[str | None]) -> list[str]:
    """Return the keys that an overwritten file leaves behind: the new bytes and their documents
    have keys of their own.
    """
    keys = [older.key, plan.description(older.key)]
    keys += [
        sidecar_key(older, kind)
        for kind in (ObjectKind.METADATA, ObjectKind.SIGNATURE, ObjectKind.PROVENANCE)
    ]
    return [where for where in keys if where is not None and where not in keep]


async def write_bytes(
    context: IndexContext,
    file: StoredFile,
    body: BodyFactory,
    *,
    replace: bool = False,
    is_provisional: bool = False,
    early: EarlyWrite | None = None,
) -> Blob:
    """Write the bytes to the file's key, with the description that a pypicloud needs, or marked as
    not committed yet. `early` is a write of the same bytes that may be under way.
    """
    if early is not None:
        blob = await early.finish(file.key, file.size)
        if blob is not None:
            return blob
    where, data = file.key, await body()
    if context.plan.pypicloud and context.describing is not None:
        from pypid.core.records.pypicloud_descriptions import as_texts  # as above

        return await context.describing.write_described(
            where, data, as_texts(file), replace=replace
        )
    if is_provisional and context.provisional is not None:
        return await context.provisional.write_provisional(where, data, replace=replace)
    return await context.blobs.write(where, data, replace=replace)
