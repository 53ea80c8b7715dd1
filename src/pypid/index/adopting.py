"""Adopting: making files that already lie in the storage ours, in place, by writing their records beside them.

For folders made by ``pip download`` or kept for another index, and for files that somebody dropped into the storage. The
operator
vouches for them: what is odd but can be served is taken in, and every oddity is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from attrs import frozen

from pypid.core.archive import Inside, inspect
from pypid.core.coremetadata import read_metadata
from pypid.core.errors import AlreadyExists, BadFilename, Missing
from pypid.core.layout import metadata_key
from pypid.core.model import Blob, Digests, File, Project
from pypid.core.names import Distribution, parse_filename
from pypid.core.upload import contradictions, served_metadata
from pypid.flow import BATCH, BytesBody, FileBody, Hashes
from pypid.index import truth
from pypid.index.parts import Parts
from pypid.index.publishing import Publisher
from pypid.ports import Body


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

    async def adopt(self, strays: Iterable[Blob], by: str) -> Sequence[Adopted]:
        """Adopt each of `strays`, in order of their keys. Raises `StorageDown`, `StorageFull`; what was adopted till then
        stays.
        """
        return [await self._adopt(blob, by) for blob in sorted(strays, key=lambda blob: blob.key)]

    async def _adopt(self, blob: Blob, by: str) -> Adopted:
        try:
            distribution = parse_filename(blob.key.rpartition("/")[2])
        except BadFilename as error:
            return Adopted(blob.key, Result.REFUSED, (str(error),))
        async with self.parts.locks.hold(f"{distribution.project}/{distribution.filename}"):
            refusal = await self._refusal(blob, distribution)
            if refusal is not None:
                return Adopted(blob.key, Result.REFUSED, (refusal,))
            try:
                digests, inside = await self._look_into(blob, distribution)
            except Missing:
                return Adopted(blob.key, Result.REFUSED, ("it is gone again.",))
            return await self._take_in(blob, distribution, digests, inside, by)

    async def _refusal(self, blob: Blob, distribution: Distribution) -> str | None:
        ours = await self.parts.ours(distribution.project)
        older = ours.file(distribution.filename) if isinstance(ours, Project) else None
        if older is not None:
            return f"a file of this name is published already, from {older.key!r}; remove one of them."
        tombstone = await truth.tombstone(self.parts.blobs, distribution.project, distribution.filename)
        return (
            None
            if tombstone is None
            else "a file of this name was published here and deleted; its name cannot come back this way."
        )

    async def _look_into(self, blob: Blob, distribution: Distribution) -> tuple[Digests, Inside]:
        body = await self.parts.blobs.read(blob.key)
        try:
            file = await self._seekable(body)
            try:
                return await self.parts.world.blocking(_digested, file, distribution)
            finally:
                file.close()
        finally:
            await body.aclose()

    async def _seekable(self, body: Body) -> BinaryIO:
        """The body as a file that can be looked into: itself, if it is one, else a temporary copy."""
        if isinstance(body, FileBody):
            return body.file
        copy: IO[bytes] = await self.parts.world.blocking(TemporaryFile)
        async for piece in body:
            await self.parts.world.blocking(copy.write, piece)
        return cast(BinaryIO, copy)

    async def _take_in(self, blob: Blob, distribution: Distribution, digests: Digests, inside: Inside, by: str) -> Adopted:
        if inside.metadata is None:
            return Adopted(blob.key, Result.REFUSED, inside.problems or ("it has no metadata.",))
        metadata = read_metadata(inside.metadata)
        contrary = contradictions(distribution, metadata)
        if contrary:
            return Adopted(blob.key, Result.REFUSED, (*contrary, *inside.problems))
        served = served_metadata(distribution, inside.metadata)
        file = File(
            project=distribution.project,
            filename=distribution.filename,
            version=metadata.version or distribution.version,
            sha256=digests.sha256,
            md5=digests.md5,
            blake2b_256=digests.blake2b_256,
            size=digests.size,
            uploaded=blob.modified,
            requires_python=metadata.requires_python,
            metadata_sha256=truth.sha256_of(served),
            key=blob.key,
            uploader=by,
            summary=metadata.summary,
        )
        if served is not None:
            await self.parts.blobs.write(metadata_key(file), BytesBody(served), replace=True)
        try:
            await Publisher(self.parts).commit(file)
        except AlreadyExists as error:
            return Adopted(blob.key, Result.REFUSED, (str(error),))
        return Adopted(blob.key, Result.ADOPTED, (*inside.problems, *metadata.problems))


def _digested(file: BinaryIO, distribution: Distribution) -> tuple[Digests, Inside]:
    """Blocks: reads the file once for its hashes, then looks inside."""
    hashes = Hashes()
    file.seek(0)
    while data := file.read(BATCH):
        hashes.update(data)
    return hashes.digests(), inspect(file, distribution)
