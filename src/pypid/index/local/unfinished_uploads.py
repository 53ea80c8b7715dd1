"""Multipart uploads that a crash left unfinished: they take up space in a bucket, and no listing
shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta

from attrs import evolve, frozen

from pypid.core.errors import PypidError
from pypid.core.model import Unfinished
from pypid.core.records.layout import lies_at, place
from pypid.index.context import IndexContext
from pypid.index.local.publish import UNDER_WAY
from pypid.index.local.storage_check import Finding, StorageProblem
from pypid.ports import Bucket

ADVICE = (
    "A multipart upload that began {begun:%Y-%m-%d %H:%M} UTC was not completed and takes up "
    "space. `pypid storage check --sweep` deletes it."
)


@frozen
class UnfinishedUploads:
    """Finds unfinished uploads that are too old to belong to a publish under way, and removes
    them.
    """

    context: IndexContext
    bucket: Bucket
    age: timedelta = UNDER_WAY
    """Age from which an upload is found."""

    async def check(self, *, sweep: bool) -> Sequence[Finding]:
        """Return one finding for each. Raises `StorageDown`."""
        now = self.context.world.now()
        async with aclosing(self.bucket.unfinished()) as uploads:
            old = [upload async for upload in uploads if now - upload.begun >= self.age]
        return [await self._finding(upload, sweep) for upload in old]

    async def _finding(self, upload: Unfinished, sweep: bool) -> Finding:
        found = Finding(
            upload.key, StorageProblem.UNFINISHED, ADVICE.format(begun=upload.begun), sweepable=True
        )
        return evolve(found, swept=await self._swept(upload)) if sweep else found

    async def _swept(self, upload: Unfinished) -> bool:
        """Abort the upload and return whether it is removed. A local publish of the same file, to
        which it may belong, ends first.
        """
        where = place(upload.key) or lies_at(upload.key)
        try:
            if where is None:
                await self.bucket.abandon(upload)
            else:
                async with self.context.places.hold(f"{where.project}/{where.filename}"):
                    await self.bucket.abandon(upload)
            async with aclosing(self.bucket.unfinished()) as uploads:
                return upload not in [each async for each in uploads]
        except PypidError:
            return False
