"""What is known of a file that was put into the storage by hand: its description, its hashes, its
contents.

A file that a pypicloud described need not be read whole: pypicloud hashed the upload. Of a wheel
only the end is read then, which holds its metadata; of an sdist nothing, since no installer
requests its metadata (except where PEP 643 allows it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.core.archives.inspection import Inside, inspect
from pypid.core.archives.members import UnusableArchive
from pypid.core.errors import Archived, Missing, StorageDown, Unreadable
from pypid.core.model import Blob, Digests
from pypid.core.packaging.names import Distribution
from pypid.core.records.layout import DESCRIBED
from pypid.core.records.pypicloud_descriptions import PypicloudDescription, of_json, of_texts
from pypid.flow import FileBody
from pypid.flow.spool import BATCH, Hashes
from pypid.index.context import IndexContext, digests_of
from pypid.index.store import records
from pypid.index.upstream.file_metadata import read_metadata
from pypid.ports import Body

_log = Logger()


@frozen
class Evidence:
    """What a file is. `is_read`: it was read whole and inspected; else `inside` is what its end
    shows.
    """

    blob: Blob
    digests: Digests
    inside: Inside
    is_read: bool


async def described(context: IndexContext, blob: Blob) -> PypicloudDescription:
    """Return what a pypicloud wrote about the file: in the bucket, or in a document beside it (also
    in a bucket into which a folder was copied).

    Raises `Missing`, `StorageDown`.
    """
    if context.describing is not None:
        metadata = await context.describing.description(blob.key)
        if metadata:
            return of_texts(metadata)
    where = blob.key + DESCRIBED
    try:
        data = await records.read_bytes(context.blobs, where, records.LARGEST_DOCUMENT)
        return PypicloudDescription() if data is None else of_json(data, where)
    except Unreadable:
        return PypicloudDescription(
            odd=(f"the file beside it, {where}, cannot be read, and is ignored.",)
        )


async def look(
    context: IndexContext, blob: Blob, distribution: Distribution, description: PypicloudDescription
) -> Evidence | None:
    """Return what is known of the file; None if it was written to meanwhile. Raises `Missing`,
    `StorageDown`, `Archived`.
    """
    if description.sha256 is None or blob.size == 0:
        return await _read(context, blob.key, distribution)
    digests = Digests(
        sha256=description.sha256, md5=description.md5, blake2b_256=None, size=blob.size
    )
    if not distribution.filename.endswith(".whl"):
        return Evidence(blob, digests, Inside(None), is_read=False)
    try:
        read = partial(context.blobs.read, blob.key)  # only its end
        metadata = await read_metadata(
            read, blob.size, distribution.project, context.world.blocking
        )
    except Archived:
        return Evidence(blob, digests, Inside(None), is_read=False)
    except (UnusableArchive, EOFError, OSError):  # reading the whole file tells why
        return await _compared(context, blob, distribution, description)
    return Evidence(blob, digests, Inside(metadata), is_read=False)


async def digest(context: IndexContext, blob: Blob) -> str | None:
    """Return the SHA-256 of the file, from its description or else from its bytes; None if they are
    not available.
    """
    try:
        description = await described(context, blob)
        if description.sha256 is not None:
            return description.sha256
        return (await digests_of(context, blob.key)).sha256
    except (Missing, Archived, StorageDown):
        return None


async def _compared(
    context: IndexContext, blob: Blob, distribution: Distribution, description: PypicloudDescription
) -> Evidence | None:
    """Read the whole file; add a problem if it is not the one that was uploaded."""
    found = await _read(context, blob.key, distribution)
    if found is None or found.digests.sha256 == description.sha256:
        return found
    problem = (
        "its hash is not the one that was written down when it was uploaded "
        f"({description.sha256}): its bytes are damaged."
    )
    return evolve(found, inside=Inside(None, (problem, *found.inside.problems)))


async def _read(context: IndexContext, where: str, distribution: Distribution) -> Evidence | None:
    before = await context.blobs.stat(where)
    body = await context.blobs.read(where)
    try:
        async with _seekable(context, body) as file:
            digests, inside = await context.world.blocking(_digested, file, distribution)
    except (EOFError, OSError) as error:
        _log.error("Reading {key} failed: {error}", key=where, error=error)
        raise StorageDown("a file in it cannot be read.") from error
    finally:
        await body.aclose()
    after = await context.blobs.stat(where)
    return (
        Evidence(after, digests, inside, is_read=True)
        if before == after and digests.size == after.size
        else None
    )


@asynccontextmanager
async def _seekable(context: IndexContext, body: Body) -> AsyncIterator[BinaryIO]:
    """Yield the body as a seekable file: its own file if it has one, else a temporary copy."""
    if isinstance(body, FileBody):
        yield body.file
        return
    copy: IO[bytes] = await context.world.blocking(TemporaryFile)
    try:
        async for piece in body:
            await context.world.blocking(copy.write, piece)
        yield cast(BinaryIO, copy)
    finally:
        copy.close()


def _digested(file: BinaryIO, distribution: Distribution) -> tuple[Digests, Inside]:
    """Hash the file, then inspect it. Blocks."""
    hashes = Hashes()
    file.seek(0)
    while data := file.read(BATCH):
        hashes.update(data)
    return hashes.digests(), inspect(file, distribution)
