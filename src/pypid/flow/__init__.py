"""Twisted plumbing: `World`, streaming bodies, shared flights, locks, periodic jobs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from hashlib import blake2b, md5, sha256
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from attrs import Factory, define, evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import PypidError
from pypid.core.model import Checksum, Digests, Span
from pypid.metrics.counts import Counts
from pypid.ports import Body

_log = Logger()

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_AT_ONCE = getattr(os, "RWF_NOWAIT", 0x8)
PIECE = 1 << 19
"""Bytes in one piece of a file, as it was read (cutting it again is a copy);
`web.http.response_body` lets a transport send it in one go.

500 MB to one client, on one core: 128 KiB 790 MB/s, 512 KiB 1,580, 1 MiB 1,980, nginx 2,190. Each
client holds two pieces.
"""
BATCH = 1 << 20
"""Bytes that one call in a thread writes or hashes: large enough that the thread switch costs
nothing.
"""


class Blocking(Protocol):
    """A runner of blocking calls, off the reactor thread."""

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]: ...


@frozen
class InTurn:
    """A `Blocking` for computation: one call after the other.

    Such calls take Python's lock from the reactor, for 5 ms at a time; with only one of them the
    reactor gets it back then.
    """

    blocking: Blocking
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)

    def __call__(self, call: Callable[..., T], *args: Any) -> Deferred[T]:
        return self._turn.run(self.blocking, call, *args)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for their turn."""
        return len(self._turn.waiting)


@frozen
class World:
    """The outside world as factories receive it: nothing else in pypid has a clock, threads or
    randomness.
    """

    clock: IReactorTime
    now: Callable[[], datetime]
    """Return the time of day, aware, UTC."""
    blocking: Blocking
    random: Callable[[int], bytes]
    """Return that many unpredictable bytes."""
    thinking: Blocking = field(
        default=Factory(lambda world: InTurn(world.blocking), takes_self=True), repr=False
    )
    """A `Blocking` for computation that takes longer than some milliseconds: see `InTurn`."""
    counts: Counts = field(factory=Counts, repr=False, eq=False)
    """The counters of everything, for `/metrics`."""


def at_once(call: Callable[..., T], *args: Any) -> Deferred[T]:
    """Run the call here and now: a `Blocking` for tests and tools without a reactor."""
    try:
        return succeed(call(*args))
    except Exception:
        failed: Deferred[T] = Deferred()
        failed.errback()
        return failed


def start(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run the coroutine and return it as a Deferred (at the boundary, where Twisted calls this
    code).
    """
    return Deferred.fromCoroutine(coroutine)


is_patient: ContextVar[bool] = ContextVar("is_patient", default=False)
"""Whether the client of the current task waits anyway: a storage that fails is then retried for up
to a minute.
"""


async def shielded(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end even if its caller is cancelled (a client that disconnected).

    An error that it raises after that is logged, unless it is a refusal made for clients.
    """
    done: Deferred[T] = Deferred(canceller=lambda _: None)

    def failed(failure: Failure) -> None:
        if not done.called:
            done.errback(failure)
        elif not isinstance(failure.value, PypidError):
            _log.failure("what went on after its client had gone failed", failure=failure)

    start(coroutine).addCallbacks(
        lambda value: None if done.called else done.callback(value), failed
    )
    return await done


# --- bodies ---------------------------------------------------------------------------------------


@define
class BytesBody:
    """A body of bytes in memory."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int | None:
        return len(self.data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.data:
            yield self.data

    async def aclose(self) -> None:
        return None


def at_hand(descriptor: int, position: int, most: int) -> bytes:
    """Return what can be read of a file without waiting for a disk; b"" where that is not known
    (``preadv2(2)``, ``RWF_NOWAIT``).
    """
    buffer = bytearray(most)
    try:
        return bytes(memoryview(buffer)[: os.preadv(descriptor, [buffer], position, _AT_ONCE)])
    except (
        OSError
    ):  # EAGAIN: the disk is needed; EOPNOTSUPP, EINVAL: this file system or kernel cannot say
        return b""


@define
class FileBody:
    """A body read from an open file (which it closes), in pieces of `PIECE` bytes.

    What the kernel has in memory is read at once, without waiting; all else is read off the reactor
    thread. (A turn in a thread costs more than the copy of a piece: it held back warm downloads.)

    `path` is where the file is stored, if it has a path: a store on the same file system may link
    it instead of copying. So give it only for a file that is never written to again (its name may
    be removed, and its mode may change). Raises `EOFError` if the file turns out shorter than
    `span`.
    """

    file: BinaryIO
    span: Span
    blocking: Blocking
    path: str | None = None

    @property
    def size(self) -> int | None:
        return self.span.stop - self.span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self.span.start
        while position < self.span.stop:
            most = min(PIECE, self.span.stop - position)
            piece = self._at_hand(position, most) or await self.blocking(self._read, position, most)
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)
            yield piece

    async def have_at_hand(self, position: int, size: int) -> None:
        """Have the kernel keep these bytes in memory, for a caller that sends them without reading
        them (``sendfile``).

        Looks at the first and the last of them: the kernel reads ahead, and evicts, in longer
        stretches than `BATCH`.
        """
        if self._at_hand(position, 1) and self._at_hand(position + size - 1, 1):
            return
        await self.blocking(self._fetch, position, size)

    def _fetch(self, position: int, size: int) -> None:
        """Read the bytes by pieces and drop them at once: what is sent from the kernel's memory
        need not be in this process's memory too.
        """
        end = position + size
        while position < end:
            piece = self._read(position, min(PIECE, end - position))
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)

    def _at_hand(self, position: int, most: int) -> bytes:
        return at_hand(self.file.fileno(), position, most)

    def _read(self, position: int, most: int) -> bytes:
        self.file.seek(position)
        return self.file.read(most)

    async def aclose(self) -> None:
        self.file.close()


async def whole(body: Body, limit: int) -> bytes:
    """Return all of a small body, and close it; raises `ValueError` beyond `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in body:
            size += len(piece)
            if size > limit:
                raise ValueError(f"the body is larger than {limit} bytes")
            pieces.append(piece)
    finally:
        await body.aclose()
    return b"".join(pieces)


class _Taken(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


_CHECKSUMS: dict[Checksum, Callable[[], _Taken]] = {
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
        for taken in self._hashes.values():
            taken.update(data)

    def beside(self, digests: Digests) -> Digests:
        """Return `digests` together with the checksums of all bytes so far."""
        found = {checksum: taken.hexdigest() for checksum, taken in self._hashes.items()}
        md5, blake2b_256 = (
            found.get(Checksum.MD5, digests.md5),
            found.get(Checksum.BLAKE2B_256, digests.blake2b_256),
        )
        return evolve(digests, md5=md5, blake2b_256=blake2b_256)


class Hashes:
    """The hashes that the packaging APIs know, computed in one pass: SHA-256, and `also` these."""

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
        return self._also.beside(
            Digests(sha256=self._sha256.hexdigest(), md5=None, blake2b_256=None, size=self._size)
        )


# --- shared jobs, locks, periodic jobs ------------------------------------------------------------


class Flights(Generic[K, T]):
    """Shared jobs by key: while a job is under way, other callers wait for the same result.

    The job runs to its end even if all callers go away.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[T]]] = {}

    def __contains__(self, key: K) -> bool:
        """Return whether a job for this key is under way."""
        return key in self._waiting

    async def single(self, key: K, job: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `job`, or of the job for `key` that is under way."""
        mine: Deferred[T] = Deferred(canceller=lambda _: None)
        if key in self._waiting:
            self._waiting[key].append(mine)
            return await mine
        self._waiting[key] = [mine]

        def land(settle: Callable[[Deferred[T]], None]) -> None:
            for waiter in self._waiting.pop(key):
                if not waiter.called:
                    settle(waiter)

        start(job()).addCallbacks(
            lambda value: land(lambda waiter: waiter.callback(value)),
            lambda failure: land(lambda waiter: waiter.errback(failure)),
        )
        return await mine


class Locks(Generic[K]):
    """A lock for each key, which exists only while it is held or wanted."""

    def __init__(self) -> None:
        self._locks: dict[K, tuple[DeferredLock, int]] = {}

    def held(self, key: K) -> bool:
        """Return whether the lock is held or wanted."""
        return key in self._locks

    @asynccontextmanager
    async def hold(self, key: K) -> AsyncIterator[None]:
        """Hold the key's lock; callers get it in the order they asked."""
        lock, wanted = self._locks.get(key, (DeferredLock(), 0))
        self._locks[key] = (lock, wanted + 1)
        try:
            await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, wanted = self._locks[key]
            if wanted == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, wanted - 1)


class Periodic(Service):
    """A service that runs `job` every `interval` seconds, never twice at once; a job that fails is
    logged and tried again next time.

    `stopService` waits for a job under way.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, interval: float, job: Callable[[], Awaitable[object]], what: str
    ) -> None:
        self._job = job
        self._what = what
        self._interval = interval
        self._loop = LoopingCall(self._run)
        self._loop.clock = clock
        self._ended: Deferred[LoopingCall] | None = None

    def _run(self) -> Deferred[None]:
        return start(self._once())

    async def _once(self) -> None:
        try:
            await self._job()
        except Exception:
            self._log.failure(
                "{what} failed; it is tried again in {interval} s",
                what=self._what,
                interval=self._interval,
            )

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        self._ended = self._loop.start(self._interval, now=False)

    def stopService(self) -> Deferred[LoopingCall] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        return self._ended
