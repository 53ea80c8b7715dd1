"""Blobs as files below one folder: the key is the path, so that administrators and other programs
can find files there.

A write goes to a draft below ``.pypid/tmp`` on the same file system, is synced, and gets its name
atomically: by a hard link, which fails if the name is taken, or by a rename over it. A crash leaves
a draft, never half a blob. Several processes (also on several machines, over NFS) may use one
folder.
"""

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH101, PTH108, PTH116, PTH120

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from attrs import frozen

from pypid.blobs.disk import (
    DRAFTS,
    FILE_MODE,
    PROVISIONAL_MODE,
    DiskFolder,
    blob,
    our_words,
    prepare,
    sync_folder,
)
from pypid.blobs.draft import DraftFile
from pypid.blobs.keys import must_be_key, pieces, segments
from pypid.blobs.walk import walk
from pypid.core.errors import Missing, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import BytesBody, FileBody, World
from pypid.flow.reserve import FILE, SMALL, Reserve
from pypid.flow.spool import BATCH
from pypid.ports import Blobs, Body, Duplicating, Provisional

LISTED = 500
"""Blobs listed per call in a thread."""
COPIED = 64 << 20
"""Bytes copied per call in a thread."""


@frozen
class FilesSettings:
    """Settings of the folder. `root`: its path. `create`: create it if it is missing (else it may
    be a disk that is not mounted). `exclusive`: no other machine writes to the folder.
    """

    root: str
    create: bool = False
    reserve: bool = False
    """Whether space is reserved for small documents, so that files can be deleted, yanked and
    closed on a full disk.
    """
    exclusive: bool = False


class FilesBlobs:
    """A `Blobs` in a folder. Made by `open`.

    Files are created with mode 0640 and folders with 0750. Empty folders stay: removing one
    races with a write into it.
    """

    def __init__(self, disk: DiskFolder, world: World, reserve: Reserve | None = None) -> None:
        self._disk = disk
        self._reserve = reserve
        self._has_given = False
        """Whether the reserve gave up some of its space: deletions refill it first."""
        self._blocking = world.blocking
        self._random = world.random

    async def read(self, key: str, span: Span | None = None) -> Body:
        if span is not None and not 0 <= span.start <= span.stop:
            raise ValueError(f"{span} is not a span")
        return await self._blocking(self._opened, key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._write(key, body, replace, FILE_MODE)

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._write(key, body, replace, PROVISIONAL_MODE)

    async def confirm(self, key: str) -> None:
        await self._blocking(self._confirmed, key)

    async def _write(self, key: str, body: Body, replace: bool, mode: int) -> Blob:
        async with aclosing(body):
            while True:
                draft = self._draft(key, replace, mode)
                try:
                    return blob(key, await self._take(body, draft))
                except Exception as error:
                    await self._blocking(draft.discard)
                    if not isinstance(error, StorageFull) or not await self._make_room(body):
                        raise

    def _draft(self, key: str, replace: bool, mode: int = FILE_MODE) -> DraftFile:
        """Return a new write. Raises `ValueError`."""
        where = must_be_key(key)
        if where[: len(DRAFTS)] == DRAFTS:
            raise ValueError(f"{key!r} is where drafts lie")
        name = self._random(16).hex().encode()
        return DraftFile(self._disk, key, where, name, replace, mode)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        draft = self._draft(target, replace)
        try:
            linked = await self._blocking(lambda: draft.link(self._path(source), source))
            return blob(target, linked or await self._copy(source, draft, tell or _ignore))
        except Exception:
            await self._blocking(draft.discard)
            raise

    async def _copy(
        self, source: str, draft: DraftFile, tell: Callable[[int], object]
    ) -> os.stat_result:
        """Copy a blob on another file system, or on one without links: in the kernel if it can."""
        body = await self._blocking(self._opened, source, None)
        async with aclosing(body):
            position, size = 0, body.span.stop
            while position < size:
                count = min(COPIED, size - position)
                done = await self._blocking(draft.clone, body.file.fileno(), position, count)
                if not done:
                    break
                position += done
                tell(position)
            rest = FileBody(body.file, Span(position, size), self._blocking)
            return await self._append(rest, draft, tell)

    async def _make_room(self, body: Body) -> bool:
        """Return whether the reserve freed space for a record, a mark or a status. (Package files
        get none of it.)
        """
        if self._reserve is None or not isinstance(body, BytesBody) or len(body.data) > SMALL:
            return False
        self._has_given = True
        return await self._blocking(self._reserve.release)

    async def delete(self, key: str) -> None:
        await self._blocking(self._removed, key)

    async def stat(self, key: str) -> Blob:
        return await self._blocking(self._found, key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        walking = walk(self._disk, prefix)
        while batch := await self._blocking(_next, walking):
            for found in batch:
                yield found

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return None

    async def _take(self, body: Body, draft: DraftFile) -> os.stat_result:
        """Write all of `body` to the draft and install it: a small body takes one call in a thread,
        a spool too.
        """
        if isinstance(body, FileBody) and body.path is not None and body.span.start == 0:
            linked = await self._blocking(draft.adopt, body.file, body.path, body.span.stop)
            if linked is not None:
                return linked
        return await self._append(body, draft)

    async def _append(
        self, body: Body, draft: DraftFile, tell: Callable[[int], object] | None = None
    ) -> os.stat_result:
        """Append all of `body` to the draft and install it."""
        held: list[bytes] = []
        size, position = 0, body.span.start if isinstance(body, FileBody) else 0
        async with aclosing(pieces(body)) as source:
            async for piece in source:
                held.append(piece)
                size += len(piece)
                if size >= BATCH:
                    await self._blocking(draft.add, held)
                    position += size
                    held, size = [], 0
                    if tell is not None:
                        tell(position)
        return await self._blocking(draft.commit, held)

    def _path(self, key: str) -> bytes:
        """Return the path of `key`. Raises `Missing` for an invalid key, or one of a draft."""
        where = segments(key)
        if where is None or where[: len(DRAFTS)] == DRAFTS:
            self._disk.must_be_there()
            raise Missing(key)
        return self._disk.path(where)

    def _opened(self, key: str, span: Span | None) -> FileBody:
        with our_words("Reading"):
            try:
                # O_NONBLOCK: opening a stray FIFO must not block the thread for ever
                descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise self._disk.absent(error, key) from None
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or (
                    span is not None and span.stop > found.st_size
                ):
                    raise Missing(key)
                file = os.fdopen(descriptor, "rb")
            except BaseException:
                os.close(descriptor)
                raise
            return FileBody(file, span or Span(0, found.st_size), self._blocking)

    def _found(self, key: str) -> Blob:
        with our_words("Looking"):
            try:
                found = os.stat(self._path(key))
            except OSError as error:
                raise self._disk.absent(error, key) from None
            if not stat.S_ISREG(found.st_mode):
                raise Missing(key)
            return blob(key, found)

    def _confirmed(self, key: str) -> None:
        with our_words("Confirming"):
            try:
                os.chmod(self._path(key), FILE_MODE)
            except OSError as error:
                self._disk.absent(error, key)
            except Missing:
                return

    def _removed(self, key: str) -> None:
        with our_words("Deleting"):
            try:
                path = self._path(key)
                os.unlink(path)
                sync_folder(os.path.dirname(path))
                if self._has_given and self._reserve is not None:
                    self._reserve.fill()
            except OSError as error:
                self._disk.absent(error, key)
            except Missing:
                return


def _ignore(position: int) -> None:
    """Do nothing with the progress of a copy."""


def _next(walking: Iterator[Blob]) -> list[Blob]:
    with our_words("Listing"):
        return list(islice(walking, LISTED))


async def open(settings: FilesSettings, world: World) -> FilesBlobs:
    """Return the store in the folder, after removing what crashes left.

    Raises `CannotStart` if the folder is missing (and not to be created) or cannot be written.
    """
    probe = world.random(16).hex().encode()
    made = partial(prepare, exclusive=settings.exclusive)
    disk = await world.blocking(made, settings.root, settings.create, probe, world.now())
    reserve = None
    if settings.reserve:
        reserve = Reserve(Path(os.fsdecode(disk.path((*DRAFTS, FILE.encode())))))
        await world.blocking(reserve.fill)
    return FilesBlobs(disk, world, reserve)


_: type[Blobs] = FilesBlobs
_provisional: type[Provisional] = FilesBlobs
_duplicating: type[Duplicating] = FilesBlobs
