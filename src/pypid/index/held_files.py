"""Withholding the bytes of blocked files in a bucket, so that signed URLs given earlier end.

The document of a block comes first. Then each file's bytes are copied below `layout.HELD` and
deleted where the record names them; a block that ends has them copied back first. Each step can be
repeated: `settle` compares the held bytes with the blocks in force and finishes what broke off. The
records never change: they name the key to which the bytes return.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from functools import partial

from attrs import define, field, frozen
from twisted.logger import Logger

from pypid.core.errors import Archived, Missing, RestrictionsUnknown, StorageDown, Unreadable
from pypid.core.model import Blob, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import KEPT, HeldBytes, ObjectPlace, held_bytes, held_key, owner_of
from pypid.flow import shielded
from pypid.index.bytes_blocks import BytesBlocks
from pypid.index.context import IndexContext, Pace, is_stored
from pypid.index.job_group import JobGroup
from pypid.index.store import records
from pypid.index.store.held_listing import held_blobs
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.cached_records import recorded
from pypid.ports import Blobs, Bucket

_log = Logger()

AT_ONCE = 8
"""Files moved at the same time."""
PAUSE = 60.0
"""Seconds after which a pass that failed is tried again."""
ATTEMPTS = 3
"""How often a file is copied that another node moves at the same time."""
GRACE = 600.0
"""Seconds for which held bytes stay after they were copied back, where another process may move
the same file at the same time: one that was paused between its copy and its delete.
"""


@frozen
class Settled:
    """The result of `HeldFiles.settle`, in numbers of files. `archived` files stay in their place
    until they are restored: no link can read them before.
    """

    moved: int = 0
    returned: int = 0
    archived: tuple[str, ...] = ()
    failure: str = ""
    """Why bytes could not be moved now."""


@define
class _Pass:
    """One comparison of the held bytes with the blocks."""

    blobs: Blobs
    bucket: Bucket | None
    moved: int = 0
    archived: list[str] = field(factory=list)
    returned: set[HeldBytes] = field(factory=set)

    def note_moved(self) -> None:
        """Count a file whose bytes were moved."""
        self.moved += 1

    async def copy(self, key: str, target: str) -> None:
        """Copy the bytes, inside the store if it can. Raises `Missing`, `Archived`."""
        if self.bucket is not None:
            await self.bucket.copy(key, target)
        else:
            await self.blobs.write(target, await self.blobs.read(key), replace=True)

    @property
    def result(self) -> Settled:
        """The numbers so far."""
        return Settled(self.moved, len(self.returned), tuple(sorted(self.archived)))


async def _nothing() -> None:
    """Do nothing: no blocks are followed."""


@define(eq=False)
class HeldFiles:
    """Moves the bytes of blocked files, local and cached, and returns them. In a storage that is
    not a bucket no bytes are moved, and only those return that a copy of a bucket brought.
    Everything raises `StorageDown`.
    """

    context: IndexContext
    kept: CacheStore
    bucket: Callable[[], Awaitable[Bucket]] | None
    _in_force: Callable[[], BytesBlocks | None] = field(
        default=lambda: None, init=False, repr=False
    )
    _ready: Callable[[], Awaitable[object]] = field(default=_nothing, init=False, repr=False)
    _back_since: dict[str, float] = field(factory=dict, init=False, repr=False)
    """Since when bytes are back in their place while their held copy stays, by the copy's key."""

    def follow(
        self,
        in_force: Callable[[], BytesBlocks | None],
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        """Obey these blocks from now on. `in_force` returns None while they are unknown:
        then nothing moves. `ready` waits some seconds until they are known.
        """
        self._in_force, self._ready = in_force, ready

    async def settle(self) -> Settled:
        """Move the bytes that blocks withhold, and return those that none withholds any more. Safe
        to repeat at any time, also after a crash.
        """
        if self._in_force() is None:
            await self._ready()
            if self._in_force() is None:
                return Settled()
        return await shielded(self._settle(await self._begin()))

    async def withhold(self, block: str) -> Settled:
        """Move the bytes that one block withholds; its document is stored already."""
        chosen = BytesBlocks({id: each for id, each in self.blocks.by_id.items() if id == block})
        return await shielded(self._withhold(await self._begin(), chosen))

    async def copy_back(self, block: str) -> None:
        """Copy the bytes of a block back before it ends: then no client finds a listed file without
        its bytes. `settle` deletes the copies afterwards. What another block hits stays held.
        """
        run = await self._begin()
        await shielded(
            self._each_held(partial(self._copy_back, run), lambda held: held.block == block)
        )

    @property
    def blocks(self) -> BytesBlocks:
        """The blocks in force. Raises `RestrictionsUnknown`."""
        blocks = self._in_force()
        if blocks is None:
            raise RestrictionsUnknown()
        return blocks

    async def _begin(self) -> _Pass:
        return _Pass(self.context.blobs, None if self.bucket is None else await self.bucket())

    # --- moving ---

    async def _settle(self, run: _Pass) -> Settled:
        await self._withhold(run, self.blocks)
        await self._each_held(partial(self._end, run), lambda held: held.block not in self.blocks)
        for project, is_cached in {
            (_place(held).project, _is_cached(held.origin)) for held in run.returned
        }:
            await (self.kept.records if is_cached else self.context.records).resync(project)
        return run.result

    async def _withhold(self, run: _Pass, blocks: BytesBlocks) -> Settled:
        if run.bucket is None:
            return run.result
        moves = JobGroup(AT_ONCE)
        try:
            async with aclosing(self._hits(blocks)) as hits:
                async for block, file in hits:
                    await moves.add(partial(self._move, run, block, file))
            await moves.ended()
        except BaseException:
            await moves.cancel()
            raise
        return run.result

    async def _hits(self, blocks: BytesBlocks) -> AsyncGenerator[tuple[str, StoredFile], None]:
        """Yield the stored files that these blocks hit, each with the id of the first of them."""
        names = {each.project for each in blocks.by_id.values() if each.project is not None}
        if any(each.project is None for each in blocks.by_id.values()):
            names.update(each.name for each in await self.context.catalog.local.summaries())
            names.update(each.name for each in await self.context.catalog.upstream.summaries())
        pace = Pace(self.context.world)
        for name in sorted(names):
            local, cached = await self.context.local_project(name), await self.kept.entry(name)
            files = local.files if isinstance(local, Project) else ()
            for file in (*files, *cached.kept):
                block = blocks.first_hit(file)
                if block is not None:
                    yield block, file
                await pace.keep()

    async def _move(self, run: _Pass, block: str, file: StoredFile) -> None:
        """Copy the bytes of a file below `layout.HELD`, then delete them where they were."""
        blobs, target = self.context.blobs, held_key(block, file.key)
        async with self._lock(file.key, file.project, file.filename):
            copied = await self._copied(run, file, target)
            if copied is not None and copied != file.size:
                _log.error(
                    "{filename} is blocked, and its copy has another size; it stays in its place",
                    filename=file.filename,
                )
            elif copied is not None and block in self.blocks:
                await blobs.delete(file.key)
                run.note_moved()

    async def _copied(self, run: _Pass, file: StoredFile, target: str) -> int | None:
        """Copy the bytes of a file; return the size of the copy, or None if there is nothing to
        copy: they were moved before, or lost, which `pypid storage check` tells.
        """
        for _ in range(ATTEMPTS):
            try:
                await run.copy(file.key, target)
                return (await self.context.blobs.stat(target)).size
            except Archived:
                run.archived.append(file.filename)
                return None
            except Missing:
                if not await is_stored(self.context.blobs, file.key):
                    return None
        raise StorageDown(f"the bytes of {file.filename} cannot be copied.")

    # --- returning ---

    async def _each_held(
        self,
        change: Callable[[HeldBytes, Blob], Awaitable[None]],
        chosen: Callable[[HeldBytes], bool],
    ) -> None:
        """Run `change` for the chosen held bytes, under the lock of their file."""

        async def run(held: HeldBytes, blob: Blob) -> None:
            place = _place(held)
            async with self._lock(held.origin, place.project, place.filename):
                if chosen(held):
                    await change(held, blob)

        changes = JobGroup(AT_ONCE)
        try:
            async with aclosing(held_blobs(self.context.blobs)) as listing:
                async for held, blob in listing:
                    if chosen(held):
                        await changes.add(partial(run, held, blob))
            await changes.ended()
        except BaseException:
            await changes.cancel()
            raise

    async def _copy_back(self, run: _Pass, held: HeldBytes, blob: Blob) -> None:
        file = None
        with suppress(Unreadable):  # `_end` reports it
            file = await self._file(held)
        if file is None or file.key != held.origin:
            return
        if self.blocks.first_hit(file, without=held.block) is None:
            await self._copy(run, blob, held.origin)

    async def _end(self, run: _Pass, held: HeldBytes, blob: Blob) -> None:
        """Return bytes whose block has ended, or pass them on to another block that hits them."""
        try:
            file = await self._file(held)
        except Unreadable as error:
            _log.error("{error}; its bytes stay in {key}", error=error, key=blob.key)
            return
        if file is None or file.key != held.origin:
            if file is not None or await self._may_be_lost(held):
                await self.context.blobs.delete(blob.key)
            return
        other = self.blocks.first_hit(file)
        target = held.origin if other is None else held_key(other, held.origin)
        if not await self._copy(run, blob, target):
            return
        if other is None:
            run.returned.add(held)
        if self._may_delete(blob.key):
            await self.context.blobs.delete(blob.key)
            self._back_since.pop(blob.key, None)

    async def _copy(self, run: _Pass, blob: Blob, target: str) -> bool:
        """Copy held bytes unless they are there; return whether they are there now, whole."""
        blobs = self.context.blobs
        with suppress(Missing):
            return (await blobs.stat(target)).size == blob.size
        try:
            await run.copy(blob.key, target)
            return (await blobs.stat(target)).size == blob.size
        except Missing:  # another node has returned it
            return False
        except Archived:
            run.archived.append(blob.key)
            return False

    async def _file(self, held: HeldBytes) -> StoredFile | None:
        """Return the file of the held bytes from its record. Raises `Unreadable`."""
        place, blobs = _place(held), self.context.blobs
        if _is_cached(held.origin):
            return await recorded(blobs, place.project, place.filename)
        return await records.read_record(blobs, place.project, place.filename)

    async def _may_be_lost(self, held: HeldBytes) -> bool:
        """Return whether bytes without a record are a deleted file's, or a cached file's."""
        place = _place(held)
        return _is_cached(held.origin) or (
            await records.tombstone(self.context.blobs, place.project, place.filename) is not None
        )

    def _may_delete(self, key: str) -> bool:
        """Return whether no other process can be moving the bytes that are back in their place."""
        if not self.context.shared or self.context.is_sole():
            return True
        now = self.context.world.clock.seconds()
        return now - self._back_since.setdefault(key, now) >= GRACE

    def _lock(
        self, origin: str, project: ProjectName, filename: str
    ) -> AbstractAsyncContextManager[None]:
        places = self.kept.places if _is_cached(origin) else self.context.places
        return places.hold(f"{project}/{filename}")


async def is_left_over(blobs: Blobs, where: str) -> bool:
    """Return whether the local file of these held bytes has neither a record nor a tombstone, so
    that nothing returns or deletes them.
    """
    held = held_bytes(where)
    if held is None or _is_cached(held.origin):
        return False
    place = _place(held)
    try:
        file = await records.read_record(blobs, place.project, place.filename)
    except Unreadable:
        return False
    if file is not None:
        return file.key != held.origin
    return await records.tombstone(blobs, place.project, place.filename) is None


def _is_cached(origin: str) -> bool:
    return origin.startswith(KEPT)


def _place(held: HeldBytes) -> ObjectPlace:
    found = owner_of(held.origin)
    assert found is not None  # `held_bytes` has checked that
    return found
