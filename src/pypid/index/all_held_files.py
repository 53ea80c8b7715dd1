"""Withholds the bytes of blocked files in the default index, in all named indexes and in all named
upstreams. Each of them has its own part of the bucket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field

from pypid.index.bytes_blocks import BytesBlocks
from pypid.index.held_files import HeldFiles, Settled

InForce = Callable[[], BytesBlocks | None]
Ready = Callable[[], Awaitable[object]]


@define(eq=False)
class AllHeldFiles:
    """Moves the bytes of blocked files in `own`, and in what `others` returns. Everything raises
    `StorageDown`.
    """

    own: HeldFiles
    others: Callable[[], Awaitable[Sequence[HeldFiles]]]
    _follows: tuple[InForce, Ready] | None = field(default=None, init=False, repr=False)

    def follow(self, in_force: InForce, ready: Ready) -> None:
        """Apply these blocks and all later ones; see `HeldFiles.follow`."""
        self._follows = in_force, ready
        self.own.follow(in_force, ready)

    async def settle(self) -> Settled:
        """Move the bytes that blocks withhold, and return those that none withholds any more; see
        `HeldFiles.settle`.
        """
        return _sum([await each.settle() for each in await self._all()])

    async def withhold(self, block: str) -> Settled:
        """Move the bytes that one block withholds; its document is stored already."""
        return _sum([await each.withhold(block) for each in await self._all()])

    async def copy_back(self, block: str) -> None:
        """Copy the bytes of a block back before it ends; see `HeldFiles.copy_back`."""
        for each in await self._all():
            await each.copy_back(block)

    async def _all(self) -> Sequence[HeldFiles]:
        others = await self.others()
        if self._follows is not None:
            for each in others:
                each.follow(*self._follows)
        return (self.own, *others)


def _sum(found: Sequence[Settled]) -> Settled:
    return Settled(
        sum(each.moved for each in found),
        sum(each.returned for each in found),
        tuple(name for each in found for name in each.archived),
        next((each.failure for each in found if each.failure), ""),
    )
