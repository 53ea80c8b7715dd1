"""A zip archive of advisories in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from pypid.advisories.archive import UnusableSource
from pypid.advisories.sources import LARGEST_ARCHIVE, FetchedAdvisories, temporary_archive
from pypid.core.errors import Missing
from pypid.flow import World
from pypid.ports import Blobs

CHUNK = 1 << 20
"""Bytes that are written at once."""


@frozen(eq=False)
class BucketSource:
    """An archive under a key. `opened` opens the bucket for one fetch."""

    key: str
    opened: Callable[[], AbstractAsyncContextManager[Blobs]]
    spool: Path
    world: World

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has, as `AdvisorySource.fetch` does."""
        async with self.opened() as blobs:
            try:
                blob = await blobs.stat(self.key)
                version = f"bucket {blob.etag} {blob.size}"
                if version == known:
                    return None
                if blob.size > LARGEST_ARCHIVE:
                    raise UnusableSource(f"it is larger than {LARGEST_ARCHIVE >> 30} GiB")
                archive = temporary_archive(self.spool)
                try:
                    await self._copy(blobs, archive)
                except BaseException:
                    archive.close()
                    raise
            except Missing:
                raise UnusableSource(f"the bucket has no object {self.key}") from None
        return FetchedAdvisories(version, archive)

    async def _copy(self, blobs: Blobs, archive: BinaryIO) -> None:
        body = await blobs.read(self.key)
        pieces, waiting = list[bytes](), 0
        async with aclosing(body):
            async for piece in body:
                pieces.append(piece)
                waiting += len(piece)
                if waiting >= CHUNK:
                    await self.world.blocking(archive.write, b"".join(pieces))
                    pieces, waiting = [], 0
        await self.world.blocking(archive.write, b"".join(pieces))
