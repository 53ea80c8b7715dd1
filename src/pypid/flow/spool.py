"""Files that come in: spooled, hashed, with some disk space kept for what must always work.

Incoming files: written to a temporary file, hashed as they come, and removed when the request
ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import blake2b, md5, sha256
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkstemp
from threading import Lock
from types import TracebackType
from typing import BinaryIO, Final, Protocol, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pypid.core.errors import StorageDown, StorageFull
from pypid.core.model import Checksum, Digests, Span
from pypid.flow.bodies import BytesBody, FileBody
from pypid.flow.world import Blocking
from pypid.ports import Body

# The hashes of the packaging APIs, computed while bytes pass.


class _Hash(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


_CHECKSUMS: dict[Checksum, Callable[[], _Hash]] = {
    Checksum.MD5: lambda: md5(usedforsecurity=False),
    Checksum.BLAKE2B_256: lambda: blake2b(digest_size=32),
}


class Checksums:
    """Some of the hashes other than SHA-256. Each takes longer than SHA-256, which processors have
    instructions for.
    """

    def __init__(self, *which: Checksum) -> None:
        self._hashes = {checksum: _CHECKSUMS[checksum]() for checksum in which}

    @property
    def which(self) -> frozenset[Checksum]:
        """The checksums that are computed."""
        return frozenset(self._hashes)

    def update(self, data: bytes) -> None:
        """Add more bytes."""
        for hash_ in self._hashes.values():
            hash_.update(data)

    def add_to(self, digests: Digests) -> Digests:
        """Return `digests` together with the checksums of all bytes so far."""
        texts = {checksum: hash_.hexdigest() for checksum, hash_ in self._hashes.items()}
        md5, blake2b_256 = (
            texts.get(Checksum.MD5, digests.md5),
            texts.get(Checksum.BLAKE2B_256, digests.blake2b_256),
        )
        return evolve(digests, md5=md5, blake2b_256=blake2b_256)


class Hashes:
    """The hashes of the packaging APIs, computed in one pass: SHA-256, and `also` these."""

    def __init__(self, also: Iterable[Checksum] = tuple(Checksum)) -> None:
        self._sha256 = sha256()
        self._also = Checksums(*also)
        self._size = 0

    def update(self, data: bytes) -> None:
        """Add more bytes."""
        self._sha256.update(data)
        self._also.update(data)
        self._size += len(data)

    def digests(self) -> Digests:
        """Return the hashes of all bytes so far."""
        return self._also.add_to(
            Digests(sha256=self._sha256.hexdigest(), md5=None, blake2b_256=None, size=self._size)
        )


T = TypeVar("T")
_log = Logger()

BATCH = 1 << 20
"""Bytes that one call in a thread writes or hashes: large enough that the thread switch costs
nothing.
"""
PREFIX = "incoming-"
COLLECTING = "collect-"
UNREADABLE = "its folder for incoming files cannot be read."
"""The text of `StorageDown` where the folder cannot be read."""


class Spool:
    """A temporary file (mode 0600) in `folder`; use it with ``async with``, which removes it
    however the block ends.

    While one batch is hashed and written in a thread the next one fills, so two batches are in
    memory at most. The file is created when the first batch is written. SHA-256 is computed in the
    thread that writes, other checksums (`also`, `want`) in a second one, or with `written` in the
    same one: there are many such files at once, and each call in a thread costs as much as hashing
    64 KiB. Raises `StorageFull` and `StorageDown`.

    With `written`, which is called with the number of bytes in the file so far, others can read
    them while more come: the first bytes are then written as soon as they arrive, which shows that
    writing works. `make` creates the file before.

    If it is `lazy`, and `make` was not called, up to one batch stays in memory: a small file needs
    no temporary file, and one call in a thread.
    """

    def __init__(
        self,
        folder: Path,
        blocking: Blocking,
        *,
        batch: int = BATCH,
        written: Callable[[int], None] | None = None,
        also: Iterable[Checksum] = (),
        lazy: bool = False,
    ) -> None:
        self._folder = folder
        self._in_memory = lazy
        self._data: bytes | None = None
        self._written = 0
        self._tell = written
        self._blocking = blocking
        self._batch = batch
        self._filling: list[bytes] = []
        self._filled = 0
        self._begun = False
        self._under_way: Deferred[None] | None = None
        self._hashing: Deferred[None] | None = None
        self._checksums = Checksums(*also)
        self._late: set[Checksum] = set()
        self._disk = _Disk(folder)
        self._digests: Digests | None = None

    async def __aenter__(self) -> Spool:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.discard()

    @property
    def is_in_memory(self) -> bool:
        """Whether the file is in memory only."""
        return self._in_memory

    def make(self) -> None:
        """Create the file now; the first batch will find out if that fails."""
        self._send([])

    def want(self, checksums: Iterable[Checksum]) -> None:
        """Have `finish` return these checksums, too. Best before the first bytes: else it has to
        read the file again.
        """
        if self._begun:
            self._late.update(checksums)
        else:
            self._checksums = Checksums(*self._checksums.which.union(checksums))

    async def write(self, data: bytes) -> None:
        """Take more bytes; waits while a batch is full and the previous one is not yet written."""
        self._begun = True
        self._filling.append(data)
        self._filled += len(data)
        if self._filled > self._batch or (self._filled == self._batch and not self._in_memory):
            await self._turn()
        elif (
            self._tell is not None
            and self._under_way is None
            and not self._written
            and not self._in_memory
        ):
            self._send_filled()

    async def finish(self) -> Digests:
        """Write the rest, and return the hashes and the size."""
        if self._in_memory:
            self._data, self._filling = _joined(self._filling), []
            wanted = self._checksums.which | self._late
            self._digests = await self._blocking(_digests_of, self._data, wanted)
            return self._digests
        await self._turn()
        await self._settle()
        self._digests = await self._blocking(
            self._disk.finish, self._checksums, self._late - self._checksums.which
        )
        return self._digests

    async def body(self) -> Body:
        """Return the finished file as a body, from its beginning. The `path` of a `FileBody` is
        where the file is stored, fit to be hard-linked.

        Raises `StorageDown` where the system cannot open the file.
        """
        if self._digests is None:
            raise RuntimeError("the spool is not finished")
        if self._data is not None:
            return BytesBody(self._data)
        try:
            file = await self._blocking(self.open_for_inspection)
        except OSError as error:
            raise StorageDown(UNREADABLE) from error
        return FileBody(file, Span(0, self._digests.size), self._blocking, str(self._disk.path))

    def open_for_inspection(self) -> BinaryIO:
        """Return the file, open for reading; the caller closes it. Blocks: call it in a thread.

        It is the finished file, or one whose first bytes were `written`; a discarded spool has
        none.
        """
        if self._data is not None:
            return BytesIO(self._data)
        path = self._disk.path
        if path is None:
            raise RuntimeError("the spool has no file")
        return path.open("rb")

    @contextmanager
    def inspected(self) -> Iterator[BinaryIO]:
        """Open the file for the block. Raises `StorageDown` where the system cannot read it."""
        try:
            with self.open_for_inspection() as file:
                yield file
        except OSError as error:
            raise StorageDown(UNREADABLE) from error

    def descriptor_of_its_own(self) -> int:
        """Return another descriptor of a file whose first bytes were `written`, for ``pread`` only:
        its position is the writer's.

        The caller closes it. Raises `RuntimeError` or `OSError` if there is no file, or no longer
        one.
        """
        return self._disk.duplicate()

    async def discard(self) -> None:
        """Remove the file. May be called at any time, and more than once; what `body` opened stays
        readable.
        """
        self._filling.clear()
        self._filled = 0
        if self._under_way is not None:
            self._under_way.addErrback(lambda _: None)
            self._under_way = None
        self._hashing = None
        self._data = None
        if not self._in_memory:
            await self._blocking(self._disk.remove)

    async def _turn(self) -> None:
        """Send the full batch to the thread, after the one before."""
        await self._settle()
        self._send_filled()

    def _send_filled(self) -> None:
        if self._filled:
            batch, self._filling = self._filling, []
            self._filled = 0
            self._send(batch)

    def _send(self, batch: list[bytes]) -> None:
        self._in_memory = False
        if self._tell is None and batch and self._checksums.which:
            self._hashing = self._blocking(_take_in, self._checksums, batch)
        too = Checksums() if self._tell is None else self._checksums
        self._under_way = under_way = self._blocking(self._disk.write, batch, too)
        if self._tell is not None:
            under_way.addCallback(lambda _: self._landed(under_way, sum(map(len, batch))))

    def _landed(self, under_way: Deferred[None], size: int) -> None:
        """Report a batch that is in the file. Bytes that came during the first write are sent at
        once, unless a waiting writer will do it.
        """
        self._written += size
        if self._under_way is under_way:
            self._under_way = None
            if not self._written:
                self._send_filled()
        if self._tell is not None and size:
            self._tell(self._written)

    async def _settle(self) -> None:
        under_way, self._under_way = self._under_way, None
        hashing, self._hashing = self._hashing, None
        if under_way is not None:
            await under_way
        if hashing is not None:
            await hashing


class _Disk:
    """The blocking part of a spool. Its calls come from threads, one after the other even after a
    cancellation.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = Lock()
        self._descriptor = -1
        self._removed = False
        self._hashes = Hashes(())
        self.path: Path | None = None

    def write(self, pieces: list[bytes], checksums: Checksums) -> None:
        """Append the pieces, and add them to the checksums."""
        with self._turn:
            if self._removed:
                return  # the request was cancelled meanwhile
            data = _joined(pieces)
            _storing(self._append, data)
            self._hashes.update(data)
            checksums.update(data)

    def duplicate(self) -> int:
        """Return a new descriptor. Runs in the reactor thread, so it takes no lock; only that
        thread starts a removal.
        """
        if self._descriptor < 0 or self._removed:
            raise RuntimeError("the spool has no file")
        return os.dup(self._descriptor)

    def finish(self, taken: Checksums, late: Collection[Checksum]) -> Digests:
        with self._turn:
            if self.path is None and not self._removed:
                _storing(self._append, b"")
            checksums = Checksums(*late)
            if late:
                _storing(self._read_again, checksums)
            return checksums.add_to(taken.add_to(self._hashes.digests()))

    def _read_again(self, checksums: Checksums) -> None:
        position = 0
        while data := os.pread(self._descriptor, BATCH, position):
            checksums.update(data)
            position += len(data)

    def remove(self) -> None:
        with self._turn:
            self._removed = True
            path, self.path = self.path, None
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)
            if path is None:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # the request's outcome is already decided
                _log.warn(
                    "the file of an upload in progress cannot be removed; the next start "
                    "does it: {error}",
                    error=error,
                )

    def _append(self, data: bytes) -> None:
        if self._descriptor < 0:
            self._descriptor, self.path = _create(self._folder)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _create(folder: Path) -> tuple[int, Path]:
    """Create a new file, locked for as long as it is open, so that `sweep` leaves it alone."""
    while True:
        descriptor, name = mkstemp(prefix=PREFIX, dir=folder)
        with suppress(OSError):  # a file system without locks: then nothing sweeps while pypid runs
            flock(descriptor, LOCK_EX | LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # swept before it was locked


def _joined(pieces: Sequence[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _digests_of(data: bytes, wanted: Iterable[Checksum]) -> Digests:
    hashes = Hashes(wanted)
    hashes.update(data)
    return hashes.digests()


def _take_in(checksums: Checksums, pieces: Sequence[bytes]) -> None:
    checksums.update(_joined(pieces))


def _storing(call: Callable[[T], None], data: T) -> None:
    try:
        call(data)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StorageFull("spool") from error
        raise StorageDown("its folder for incoming files cannot be written.") from error


def sweep(folder: Path) -> int:
    """Create the folder of the spools (mode 0700) if it does not exist, and remove what a crash
    left in it; blocks.

    Files that another process is writing stay. Returns how many files were removed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    removed = 0
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError), path.open("rb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def sweep_collections(folder: Path) -> None:
    """Remove the folders of collections that a crash left; blocks."""
    for path in folder.glob(f"{COLLECTING}*"):
        rmtree(path, ignore_errors=True)


# Disk space reserved for what must work on a full disk: deleting, yanking, closing a project,
# reading accounts.
#
# There is a file of `SIZE` bytes in the state folder, and one in the storage folder. What writes
# little and must not fail takes from it. All functions block.

FILE: Final = "reserve"
SIZE = 4 << 20
"""Bytes of each reserve: some thousand records."""
STEP = 256 << 10
"""Bytes that are released at a time."""
SMALL = 64 << 10
"""Bytes of the largest document that may use the reserve."""
REFILL = 60.0
"""Seconds between two attempts to fill the reserve again."""


@frozen
class Reserve:
    """The reserve file at `path`."""

    path: Path

    def fill(self) -> None:
        """Allocate what is missing, as long as that leaves as much again for others. A disk that
        refuses is left alone.
        """
        with suppress(OSError):
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                held, room = os.fstat(descriptor).st_size, os.fstatvfs(descriptor)
                if held < SIZE and room.f_bavail * room.f_frsize >= 2 * SIZE - held:
                    os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Free `STEP` bytes of the disk; return whether there were any."""
        try:
            held = self.path.stat().st_size
            if not held:
                return False
            left = max(0, held - STEP)
            os.truncate(self.path, left)
        except OSError:
            return False
        _log.warn(
            "the disk is full, space was taken from the reserve: path={path} left={left}",
            path=str(self.path),
            left=left,
        )
        return True
