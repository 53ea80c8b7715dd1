"""The cache of upstream files, streamed to clients while they are stored: one fetch for any number
of clients.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from pathlib import Path

from attrs import Factory, define, field
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pypid.core.caches import Recent
from pypid.core.errors import (
    Busy,
    Missing,
    PypidError,
    StorageDown,
    UnlistedHost,
    UpstreamDown,
    Withheld,
    WrongBytes,
)
from pypid.core.model import Checksum, Digests, File, Span, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import claim_of, computed, hash_of
from pypid.flow import Blocking, World, start
from pypid.flow.bodies import PIECE, at_hand
from pypid.flow.derived import Signal
from pypid.flow.spool import Spool
from pypid.index.upstream.cache_store import CacheStore, LastAccess
from pypid.index.upstream.file_metadata import Describer, ProvenanceCache, metadata_in
from pypid.index.upstream.listings import UpstreamGate
from pypid.ports import Body

# A download shared by several readers: one fetch writes the file to the spool, and any number of
# readers read what is there already.
#
# Readers that keep up get the bytes from memory, as they come; slower ones read them from the
# spool file at their own pace, so that a slow client delays no other and costs no memory. The last
# part is held back from all of them until the whole is verified: what a client has before that is
# visibly too short.

HELD_BACK = 1 << 16
"""Bytes at the end that no reader gets until the hash is verified; a smaller file is held back
whole.
"""
NEAR = 1 << 20
"""Distance in bytes up to which a reader waits for this fetch instead of asking upstream again."""
RECENT = 1 << 18
"""Bytes that stay in memory once they are written, for readers that are a little behind."""
_NO_FILE = -1
"""The descriptor of a body of a file that was never written."""


@define(eq=False)
class SharedDownload:
    """The state of one fetch; used on the reactor thread only.

    `size` is what was announced, None if nothing was. `came`, `grew`, `prove`, `fail` and `end` are
    for the fetching side.
    """

    blocking: Blocking
    size: int | None
    spool: Spool | None = field(default=None, repr=False)
    written: int = 0
    proven: bool = False
    error: BaseException | None = None
    over: bool = False
    """Whether the fetch has ended: the file was stored, or will not be."""
    come: int = field(default=0, init=False)
    """Number of bytes received: those in the file (`written`), followed by those in memory only."""
    _recent: deque[tuple[int, bytes]] = field(factory=deque, init=False, repr=False)
    """The last pieces, each with its offset: all that are not written, and perhaps some that are.
    """
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    # --- for the fetch ---

    def begin(self, spool: Spool) -> None:
        """Note the spool that the bytes will be written to."""
        self.spool = spool

    def announce(self, size: int | None) -> None:
        """Note the size that upstream announced with its response."""
        self.size = size

    def came(self, piece: bytes) -> None:
        """Add a piece that was received and will be written."""
        self._recent.append((self.come, piece))
        self.come += len(piece)
        self._let_go()
        if self.written:
            self._ring()

    def grew(self, written: int) -> None:
        """Note that so many bytes are in the spool file."""
        self.written = max(self.written, written)
        self._let_go()
        self._ring()

    def prove(self) -> None:
        """Note that all bytes are received, written and verified: release the part held back."""
        self.size = self.come
        self.proven = True
        self._ring()

    def fail(self, error: BaseException) -> None:
        """Note that the fetch failed: every reader raises `error`, unless all was verified
        before.
        """
        if not self.proven:
            self.error = error
        self._ring()

    def end(self) -> None:
        """Note that the fetch has ended."""
        self.over = True
        self._ring()

    # --- for readers ---

    async def ended(self) -> None:
        """Wait until the fetch has ended, successfully or not."""
        while not self.over:
            await self._change()

    @property
    def reach(self) -> int:
        """The offset up to which the file may be read now."""
        if self.proven:
            return self.come
        end = self.come if self.size is None else self.size
        return min(self.come, max(0, end - HELD_BACK))

    def is_near(self, span: Span) -> bool:
        """Return whether the start of the span is received, or will be soon."""
        return span.start <= self.come + NEAR

    async def join(self, start: int, stop: int | None) -> SharedDownloadBody:
        """Return a body from `start` on, once the first bytes of the file are in the spool: then
        the disk is not full, it seems. A small file, which stays in memory, is whole then.

        Raises what the fetch failed with.
        """
        while not self.written and not self.proven:
            self._must_be_well()
            await self._change()
        self._must_be_well()
        if not self.written:
            return SharedDownloadBody(self, _NO_FILE, start, stop)
        assert self.spool is not None  # something was written
        try:
            descriptor = (
                self.spool.descriptor_of_its_own()
            )  # now: it stays readable after the spool is removed
        except (OSError, RuntimeError) as error:
            raise StorageDown("a file that was being fetched has gone from its spool.") from error
        return SharedDownloadBody(self, descriptor, start, stop)

    def recent(self, start: int, stop: int) -> bytes:
        """Return these bytes, as far as they were received, if the first of them is in memory; else
        none.
        """
        found: list[bytes] = []
        for begins, piece in reversed(self._recent):  # usually it is the last one
            if begins < stop:
                found.append(
                    piece
                    if start <= begins and begins + len(piece) <= stop
                    else piece[max(0, start - begins) : stop - begins]
                )
            if begins <= start:
                found.reverse()
                return found[0] if len(found) == 1 else b"".join(found)
        return b""

    async def reaches(self, position: int) -> int:
        """Wait until the byte at `position` may be read, or for the end; return the offset up to
        which it may be read. Raises what `join` raises.
        """
        while True:
            self._must_be_well()
            if self.proven or self.reach > position:
                return self.reach
            await self._change()

    def _must_be_well(self) -> None:
        if self.error is not None:
            raise self.error

    def _let_go(self) -> None:
        while self._recent and self._recent[0][0] + len(self._recent[0][1]) <= min(
            self.written, self.come - RECENT
        ):
            self._recent.popleft()

    async def _change(self) -> None:
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:  # cancelled
                self._waiting.remove(waiter)

    def _ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)


@define(eq=False)
class SharedDownloadBody:
    """The body that one reader gets. Raises what the fetch fails with, after fewer bytes than
    `size`.
    """

    _download: SharedDownload
    _descriptor: int = field(repr=False)
    _start: int
    _stop: int | None

    @property
    def size(self) -> int | None:
        end = self._download.size if self._stop is None else self._stop
        return None if end is None else end - self._start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        while self._stop is None or position < self._stop:
            reach = await self._download.reaches(position)
            end = reach if self._stop is None else min(reach, self._stop)
            if end <= position:
                break
            piece = await self._read(position, min(PIECE, end - position))
            if not piece:
                raise EOFError("the spool is shorter than it was")
            position += len(piece)
            yield piece
        if self._stop is not None and position < self._stop:
            raise EOFError("the file is shorter than it was said to be")

    async def _read(self, position: int, most: int) -> bytes:
        """Read from memory, from the page cache, or from the disk."""
        piece = self._download.recent(position, position + most) or at_hand(
            self._descriptor, position, most
        )
        return piece or await self._download.blocking(os.pread, self._descriptor, most, position)

    async def aclose(self) -> None:
        descriptor, self._descriptor = self._descriptor, _NO_FILE
        if descriptor != _NO_FILE:
            os.close(descriptor)


_log = Logger()

LARGEST = 64 << 30
"""Maximum size of an upstream file in bytes; the largest on the public index have 5 GB."""
BATCH = 1 << 18
"""Bytes written at a time. Installers cause fifty fetches at once, each with two batches in memory.
"""
IN_MEMORY = 100
"""Number of fetches up to which a file of one batch at most stays in memory until it is stored.
Beyond it, if upstream or the storage is slow, every file is spooled.
"""
_MOST_FAILED = 1000
SLOWEST = 1 << 10
"""Minimum average rate in bytes per second: a trickling upstream would be waited for endlessly."""
PATIENCE = 60.0
"""Seconds before that rate is enforced."""

_Flight = tuple[ProjectName, str, str]


@define(eq=False)
class FileCache:
    """Returns the bytes of upstream files to clients, and stores them on the way.

    The caller has checked that the file is visible (`policy.delivery`). `spool` is the folder for
    files that are being fetched; `via` are the pypids that the request has passed through.
    """

    kept: CacheStore
    gate: UpstreamGate
    world: World
    spool: Path
    largest: int = LARGEST
    stored_file: Signal[[StoredFile]] = field(factory=Signal, repr=False)
    """Emitted after a file was cached."""
    last_access: LastAccess = field(
        default=Factory(lambda self: LastAccess(self.world.now), takes_self=True),
        init=False,
        repr=False,
    )
    provenance: ProvenanceCache = field(
        default=Factory(
            lambda self: ProvenanceCache(self.kept, self.gate, self.world.blocking),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    _downloads: dict[_Flight, SharedDownload] = field(factory=dict, init=False, repr=False)
    _under_way: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _describer: Describer = field(
        default=Factory(
            lambda self: Describer(self.kept, self.gate, self.world.blocking, self.store),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    _broken_off: Recent[_Flight, bool] = field(
        factory=lambda: Recent(_MOST_FAILED, _MOST_FAILED), init=False, repr=False
    )
    """Files whose whole fetch failed: a client that resumes with the rest starts it again."""

    # --- serving files ---

    async def open(self, file: File, span: Span | None, via: Sequence[str] = ()) -> Body:
        """Return the bytes of the file, or those of `span`: from the storage, from the fetch under
        way, or from a new one.

        Of a whole file (`span` is None, or is all of it) the last 64 KiB are sent only once its
        hash is verified and no rule withholds it; the fetch continues if the client disconnects.
        The body's `size` is what upstream announced; None if it announced nothing. The body raises
        `WrongBytes`, `Withheld`, `UpstreamDown`, `StorageFull` after fewer bytes.

        A span that is not at hand comes straight from upstream and is not stored. It cannot be
        verified here: clients that read ranges (pip and uv do) verify the whole in the end. At a
        host that is not in ``file_hosts`` the whole file is fetched instead.

        Raises `UpstreamDown`, `NotThere`, `WrongBytes`, `StorageFull`, `StorageDown`,
        `UnknownOwner`, `Loop`; the next call tries again.
        """
        self.gate.refuse_loop(
            via
        )  # before waiting for a fetch that this request may be the cause of
        download = self._fetch_of(file)
        if download is None:
            stored = await self.stored(file, span)
            if stored is not None:
                return stored
            download = self._fetch_of(file)
        if span is None or (span.start, span.stop) == (0, file.size):
            return await (
                download.join(0, None) if download is not None else self._begin(file, via)
            )
        if download is None and self._broken_off.get(_flight(file)):
            download = self._start(file, via, SharedDownload(self.world.blocking, file.size))
        if download is not None and download.error is None and download.is_near(span):
            return await download.join(span.start, span.stop)
        try:
            return await self.gate.fetch(file.project, _source(file), span, via)
        except UnlistedHost:
            if claim_of(file) is None:
                raise
        download = self._fetch_of(file) or self._start(
            file, via, SharedDownload(self.world.blocking, file.size)
        )
        return await download.join(span.start, span.stop)

    async def store(self, file: File, via: Sequence[str]) -> None:
        """Fetch the whole file and store it. Raises what the fetch fails with."""
        download = self._fetch_of(file) or self._start(
            file, via, SharedDownload(self.world.blocking, file.size)
        )
        await download.ended()
        if download.error is not None:
            raise download.error

    async def metadata(self, file: File, via: Sequence[str] = ()) -> bytes:
        """Return the core metadata of the file; see `Describer.metadata`."""
        return await self._describer.metadata(file, via)

    async def settled(self, file: File) -> StoredFile | None:
        """Return the cached file, after waiting for a fetch of it under way; None if it is not
        stored.
        """
        download = self._downloads.get(_flight(file))
        if download is not None:
            await download.ended()
        return await self.kept.find(file)

    async def forget(self, project: ProjectName, filename: str) -> None:
        """Remove a cached file from the storage and the catalog. Never touches a local file."""
        await self.kept.forget(project, filename)

    def touched(self, file: File) -> None:
        """Note that the file was downloaded now; see `LastAccess`."""
        self.last_access.touch(file.project, file.filename)

    async def close(self) -> None:
        """Stop all fetches: their readers fail, and nothing of them is stored."""
        for fetch in list(self._under_way):
            fetch.cancel()
        for fetch in list(self._under_way):
            await fetch
        await self._describer.close()
        await self.provenance.close()

    async def stored(self, file: File, span: Span | None) -> Body | None:
        """Return the bytes from the storage, or None if they are not there (any more). Upstream is
        not asked.
        """
        kept = await self.kept.find(file)
        if kept is None:
            return None
        try:
            body = await self.kept.blobs.read(kept.key, span)
        except Missing:
            _log.warn(
                "the cached file {filename} is missing from the storage; it is fetched again",
                filename=file.filename,
            )
            await self.kept.records.resync(file.project)
            return None
        self.touched(kept)
        self.provenance.want(file, kept)
        return body

    # --- fetching ---

    def _fetch_of(self, file: File) -> SharedDownload | None:
        """Return the fetch under way, unless it has failed and is only being cleaned up."""
        download = self._downloads.get(_flight(file))
        return None if download is None or download.error is not None else download

    async def _begin(self, file: File, via: Sequence[str]) -> SharedDownloadBody:
        """Start a fetch, and be its first reader."""
        download = SharedDownload(self.world.blocking, file.size)
        joined = start(
            download.join(0, None)
        )  # first, so that the spool is not removed before it is opened
        self._start(file, via, download)
        return await joined

    def _start(self, file: File, via: Sequence[str], download: SharedDownload) -> SharedDownload:
        self._downloads[_flight(file)] = download
        fetch = start(self._fetch(download, file, via))
        self._under_way.add(fetch)
        fetch.addBoth(lambda _: self._under_way.discard(fetch))
        return download

    async def _fetch(self, download: SharedDownload, file: File, via: Sequence[str]) -> None:
        """Fetch the file and store it, independently of its readers."""
        async with Spool(
            *(self.spool, self.world.blocking),
            batch=BATCH,
            written=download.grew,
            also=_checksums_for(file),
            lazy=True,
        ) as spool:
            download.begin(spool)
            if (file.size or 0) > BATCH:
                spool.make()  # while the upstream request is under way
            try:
                await self._receive(download, file, spool, via)
                digests = await spool.finish()
                await self._prove(file, digests, spool)
                if file.sha256 is None:
                    await self._check_digest(file, digests, spool)
                download.prove()
                await self._keep(file, digests, spool)
            except BaseException as error:
                self._failed(download, file, error)
            finally:
                if self._downloads.get(_flight(file)) is download:
                    del self._downloads[_flight(file)]
                download.end()

    def _failed(self, download: SharedDownload, file: File, error: BaseException) -> None:
        """Notify the readers and the log of the failure, before any other event is handled."""
        if isinstance(error, PypidError):
            _log.warn(
                "{filename} could not be fetched: {error}", filename=file.filename, error=error
            )
        elif not isinstance(error, CancelledError):
            _log.failure("fetching {filename} failed", filename=file.filename)
        if not isinstance(error, WrongBytes) and not download.proven:
            self._broken_off.put(_flight(file), True)
        download.fail(
            Busy("This index is being stopped.") if isinstance(error, CancelledError) else error
        )

    async def _receive(
        self, download: SharedDownload, file: File, spool: Spool, via: Sequence[str]
    ) -> None:
        """Write all that upstream sends into the spool; stop as soon as it contradicts what was
        announced.
        """
        body = await self.gate.fetch(file.project, _source(file), None, via)
        async with aclosing(body):
            size = _announced(file, body.size)
            download.announce(size)
            if spool.is_in_memory and not self._fits(size):
                spool.make()
            most = self.largest if size is None else size
            if most > self.largest:
                raise WrongBytes(
                    file.filename,
                    f"it has more than the {self.largest} bytes that a file may have here.",
                )
            came, began = 0, self.world.clock.seconds()
            pieces = aiter(body)
            try:
                async for piece in pieces:
                    came += len(piece)
                    if came > most:
                        raise WrongBytes(
                            file.filename, f"it goes on after the {most} bytes that it should have."
                        )
                    download.came(piece)
                    if (
                        lasted := self.world.clock.seconds() - began
                    ) > PATIENCE and came < lasted * SLOWEST:
                        raise UpstreamDown(
                            (
                                f"{file.filename} comes too slowly: {came} bytes in {lasted:.0f} "
                                f"seconds."
                            ),
                            timed_out=True,
                        )
                    await spool.write(piece)
            finally:
                if isinstance(pieces, AsyncGenerator):
                    await pieces.aclose()
        if size is not None and came != size:
            raise UpstreamDown(f"{file.filename} ended after {came} of {size} bytes.")

    def _fits(self, size: int | None) -> bool:
        """Return whether a file of this size may stay in memory until it is stored."""
        return size is not None and size <= BATCH and len(self._under_way) <= IN_MEMORY

    async def _prove(self, file: File, digests: Digests, spool: Spool) -> None:
        """Raise `WrongBytes` unless the bytes have the strongest hash that upstream gave; without
        one only the length is checked.
        """
        claim = claim_of(file)
        if claim is None:
            _log.info("{filename} is cached without a hash to verify it", filename=file.filename)
            return
        found = computed(digests, claim.algorithm)
        if found is None:
            found = await self.world.blocking(_hash_of_spool, spool, claim.algorithm)
        if found != claim.hexdigest:
            raise WrongBytes(
                file.filename, f"{claim.algorithm} is {found}, and should be {claim.hexdigest}."
            )

    async def _check_digest(self, file: File, digests: Digests, spool: Spool) -> None:
        """Raise `Withheld` if a rule hits the digest, which upstream did not list. The file is
        stored, so that the next client is refused at once.
        """
        try:
            self.gate.policy.restrictions.current.check(replace(file, sha256=digests.sha256))
        except Withheld:
            await self._keep(file, digests, spool)
            raise

    async def _keep(self, file: File, digests: Digests, spool: Spool) -> None:
        """Store the verified bytes. A failure is only logged: the clients have their bytes."""
        try:

            async def metadata() -> bytes | None:
                if not file.filename.endswith(".whl"):
                    return None
                return await self.world.blocking(metadata_in, spool, file)

            kept = await self.kept.keep(file, digests, spool.body, metadata)
            self.touched(kept)
            self.provenance.want(file, kept)
            self._broken_off.forget(_flight(file))
            self.stored_file.emit(kept)
        except CancelledError:
            raise
        except PypidError as error:
            _log.error(
                "{filename} was fetched, and could not be stored: {error}",
                filename=file.filename,
                error=error,
            )
        except Exception:
            _log.failure("{filename} was fetched, and could not be stored", filename=file.filename)


def _flight(file: File) -> _Flight:
    """Return the key of a fetch: files with the same announced hash share one."""
    claim = claim_of(file)
    return (
        file.project,
        file.filename,
        f"{file.source}" if claim is None else f"{claim.algorithm}={claim.hexdigest}",
    )


def _checksums_for(file: File) -> Collection[Checksum]:
    """Return the checksums that the record will have: those that upstream lists, or all if it lists
    no SHA-256, since a later listing may have any of them.
    """
    listed = {Checksum.MD5: file.md5, Checksum.BLAKE2B_256: file.blake2b_256}
    return [each for each in Checksum if file.sha256 is None or listed[each] is not None]


def _source(file: File) -> str:
    if file.source is None:
        raise StorageDown(
            f"the bytes of {file.filename!r} are missing, and it is not known where they came from."
        )
    return file.source


def _announced(file: File, size: int | None) -> int | None:
    """Return how many bytes will come. Raises `WrongBytes` if page and response contradict each
    other.
    """
    if None not in (file.size, size) and file.size != size:
        raise WrongBytes(file.filename, f"it has {size} bytes, and should have {file.size}.")
    return file.size if size is None else size


def _hash_of_spool(spool: Spool, algorithm: str) -> str:
    with spool.inspected() as file:
        return hash_of(file, algorithm)
