"""Adopting: making files that already lie in the storage ours, in place, by writing their records beside them.

For folders made by ``pip download`` or kept for another index, and for files that somebody dropped into the storage. The
operator vouches for them: what is odd but can be served is taken in, and every oddity is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from attrs import frozen
from twisted.logger import Logger

from pypid.core.archive import Inside, inspect
from pypid.core.coremetadata import CoreMetadata, read_metadata
from pypid.core.errors import AlreadyExists, BadFilename, Exists, Missing, StorageDown, Unreadable
from pypid.core.layout import Kind, key
from pypid.core.model import Blob, Digests, File, Project
from pypid.core.names import Distribution, parse_filename
from pypid.core.upload import contradictions, served_metadata
from pypid.flow import BATCH, BytesBody, FileBody, Hashes, shielded
from pypid.index import truth
from pypid.index.parts import Parts
from pypid.index.progress import Progress, Tell
from pypid.index.publishing import UNDER_WAY, Publisher
from pypid.ports import Body

_log = Logger()


class Result(Enum):
    """What became of a file that had no record."""

    ADOPTED = "adopted"
    REFUSED = "refused"


@frozen
class Adopted:
    """One file: where it lies, what became of it, and all that is odd about it."""

    key: str
    outcome: Result
    problems: tuple[str, ...] = ()


@frozen
class Adopter:
    """Makes files in the storage ours."""

    parts: Parts
    tell: Tell | None = None
    """Hears how far it is, as the log does."""

    async def adopt(self, strays: Iterable[Blob], by: str) -> Sequence[Adopted]:
        """Adopt each of `strays`, in order of their keys. Raises `StorageDown`, `StorageFull`; what was adopted till then
        stays. Goes on to its end if whoever asked goes away.
        """
        return await shielded(self._adopt_all(sorted(strays, key=lambda blob: blob.key), by))

    async def _adopt_all(self, strays: Sequence[Blob], by: str) -> Sequence[Adopted]:
        progress = Progress(self.parts.world.clock, self.tell)
        adopted: list[Adopted] = []
        for blob in strays:
            came = await self._adopt(blob, by)
            if came is not None:
                adopted.append(came)
            progress.at(lambda: f"taking in files: {len(adopted)} of {len(strays)}")
        return adopted

    async def _adopt(self, blob: Blob, by: str) -> Adopted | None:
        """What became of the file; None if it has been published since it was listed."""
        try:
            distribution = parse_filename(blob.key.rpartition("/")[2])
        except BadFilename as error:
            return Adopted(blob.key, Result.REFUSED, (str(error),))
        async with self.parts.places.hold(f"{distribution.project}/{distribution.filename}"):
            ours = await self.parts.ours(distribution.project)
            older = ours.file(distribution.filename) if isinstance(ours, Project) else None
            if older is not None and older.key == blob.key:
                return None
            refusal = await self._refusal(blob, distribution, older)
            if refusal is not None:
                return Adopted(blob.key, Result.REFUSED, (refusal,))
            try:
                looked = await self._look_into(blob.key, distribution)
            except Missing:
                return Adopted(blob.key, Result.REFUSED, ("it is gone again.",))
            except StorageDown as error:  # of this one: a storage that is away refuses the writes as well
                return Adopted(blob.key, Result.REFUSED, (f"it cannot be read. {error}",))
            if looked is None:
                return Adopted(blob.key, Result.REFUSED, ("it changed while it was read: adopt it again when it is complete.",))
            return await self._take_in(looked, distribution, by)

    async def _refusal(self, blob: Blob, distribution: Distribution, older: File | None) -> str | None:
        project, filename = distribution.project, distribution.filename
        if self.parts.shared and self.parts.world.now() - blob.modified < UNDER_WAY:
            return "it may belong to a publish under way on another node: adopt it when it is 15 minutes old."
        if older is not None:
            return f"a file of this name is published already, from {older.key!r}; remove one of them."
        if await truth.tombstone(self.parts.blobs, project, filename) is not None:
            return "a file of this name was published here and deleted; its name cannot come back this way."
        with suppress(Missing):
            await self.parts.blobs.stat(key(project, filename, Kind.RECORD))
            return "a record of this name is there that does not fit any bytes; `pypid check` says what to do."
        return None

    async def _look_into(self, where: str, distribution: Distribution) -> _Looked | None:
        """What is in the file; None if somebody wrote to it meanwhile."""
        before = await self.parts.blobs.stat(where)
        body = await self.parts.blobs.read(where)
        try:
            async with self._seekable(body) as file:
                digests, inside = await self.parts.world.blocking(_digested, file, distribution)
        except (EOFError, OSError) as error:
            _log.error("Reading {key} failed: {error}", key=where, error=error)
            raise StorageDown("a file in it cannot be read.") from error
        finally:
            await body.aclose()
        after = await self.parts.blobs.stat(where)
        return _Looked(after, digests, inside) if before == after and digests.size == after.size else None

    @asynccontextmanager
    async def _seekable(self, body: Body) -> AsyncIterator[BinaryIO]:
        """The body as a file that can be looked into: itself, if it is one, else a temporary copy."""
        if isinstance(body, FileBody):
            yield body.file
            return
        copy: IO[bytes] = await self.parts.world.blocking(TemporaryFile)
        try:
            async for piece in body:
                await self.parts.world.blocking(copy.write, piece)
            yield cast(BinaryIO, copy)
        finally:
            copy.close()

    async def _take_in(self, looked: _Looked, distribution: Distribution, by: str) -> Adopted:
        where, inside = looked.blob.key, looked.inside
        if inside.metadata is None:
            return Adopted(where, Result.REFUSED, inside.problems or ("it has no metadata.",))
        metadata = read_metadata(inside.metadata)
        contrary = contradictions(distribution, metadata)
        if contrary:
            return Adopted(where, Result.REFUSED, (*contrary, *inside.problems))
        served, oddity = await self._served(distribution, inside.metadata)
        file = _file_of(looked, distribution, metadata, served, by)
        try:
            await Publisher(self.parts).commit(file)
        except AlreadyExists as error:
            return Adopted(where, Result.REFUSED, (str(error),))
        return Adopted(where, Result.ADOPTED, (*inside.problems, *metadata.problems, *oddity))

    async def _served(self, distribution: Distribution, metadata: bytes) -> tuple[bytes | None, tuple[str, ...]]:
        """The metadata that lies beside the file now, and what is odd about it. What somebody else put there stays."""
        served = served_metadata(distribution, metadata)
        if served is None:
            return None, ()
        where = key(distribution.project, distribution.filename, Kind.METADATA)
        try:
            await self.parts.blobs.write(where, BytesBody(served))
        except Exists:
            try:
                there = await truth.read_bytes(self.parts.blobs, where)
            except Unreadable:
                there = None
            if there != served:
                return None, (
                    f"{where} is there and is not the metadata in the file, so none is served (installers then open the file).",
                )
        return served, ()


@frozen
class _Looked:
    """A file that was read whole."""

    blob: Blob
    digests: Digests
    inside: Inside


def _file_of(looked: _Looked, distribution: Distribution, metadata: CoreMetadata, served: bytes | None, by: str) -> File:
    """The file that the bytes become, where they lie, as old as they are."""
    return File(
        project=distribution.project,
        filename=distribution.filename,
        version=metadata.version or distribution.version,
        sha256=looked.digests.sha256,
        md5=looked.digests.md5,
        blake2b_256=looked.digests.blake2b_256,
        size=looked.digests.size,
        uploaded=looked.blob.modified,
        requires_python=metadata.requires_python,
        metadata_sha256=truth.sha256_of(served),
        key=looked.blob.key,
        uploader=by,
        summary=metadata.summary,
    )


def _digested(file: BinaryIO, distribution: Distribution) -> tuple[Digests, Inside]:
    """Blocks: reads the file once for its hashes, then looks inside."""
    hashes = Hashes()
    file.seek(0)
    while data := file.read(BATCH):
        hashes.update(data)
    return hashes.digests(), inspect(file, distribution)
