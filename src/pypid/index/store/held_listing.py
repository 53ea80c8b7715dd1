"""Finding the bytes that blocks withhold: in a bucket they are moved below `layout.HELD`, and the
records still name the keys from which they were moved (`index.held_files`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from attrs import define, field

from pypid.core.errors import Missing
from pypid.core.model import Blob
from pypid.core.records.layout import HELD, HeldBytes, held_bytes
from pypid.ports import Blobs


async def held_blobs(blobs: Blobs) -> AsyncGenerator[tuple[HeldBytes, Blob], None]:
    """Yield all bytes that blocks withhold. Close it explicitly. Raises `StorageDown`."""
    async with aclosing(blobs.list(HELD)) as listing:
        async for blob in listing:
            found = held_bytes(blob.key)
            if found is not None:
                yield found, blob


@define(eq=False)
class HeldListing:
    """Held bytes by the key from which they were moved, for one job. The storage is listed only
    where bytes are missing. Everything raises `StorageDown`.
    """

    blobs: Blobs
    _by_origin: dict[str, Blob] = field(factory=dict, init=False, repr=False)

    async def stat(self, where: str) -> Blob:
        """Return the blob with the bytes of this key, held or in place. Raises `Missing`."""
        try:
            return await self.blobs.stat(where)
        except Missing:
            found = await self.find(where)
            if found is None:
                raise
            return found

    async def find(self, where: str) -> Blob | None:
        """Return the blob to which the bytes at this key were moved, or None."""
        if where not in self._by_origin:  # they may have been moved since the last listing
            async with aclosing(held_blobs(self.blobs)) as listing:
                self._by_origin = {held.origin: blob async for held, blob in listing}
        return self._by_origin.get(where)
