"""The cache of upstream files, streamed to clients while they are stored: one fetch for any number
of clients.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from pathlib import Path

from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

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
from pypid.core.packaging.expected_digest import claim_of, computed, hash_of
from pypid.core.packaging.listed_names import is_mutable
from pypid.core.packaging.names import ProjectName
from pypid.flow import World, start
from pypid.flow.signals import Signal
from pypid.flow.spool import Spool
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.file_metadata import Describer, metadata_in
from pypid.index.upstream.file_provenance import ProvenanceCache
from pypid.index.upstream.gate import UpstreamGate
from pypid.index.upstream.last_access import LastAccess
from pypid.index.upstream.shared_download import SharedDownload, SharedDownloadBody
from pypid.ports import Body

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
    last_access: LastAccess = field(init=False, repr=False)
    provenance: ProvenanceCache = field(init=False, repr=False)
    _downloads: dict[_Flight, SharedDownload] = field(factory=dict, init=False, repr=False)
    _under_way: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _describer: Describer = field(init=False, repr=False)
    _broken_off: OrderedDict[_Flight, None] = field(factory=OrderedDict, init=False, repr=False)
    """Files whose whole fetch failed: a client that resumes with the rest starts it again."""

    def __attrs_post_init__(self) -> None:
        self.last_access = LastAccess(self.world.now)
        self.provenance = ProvenanceCache(self.kept, self.gate, self.world.blocking)
        self._describer = Describer(self.kept, self.gate, self.world.blocking, self.store)

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
        if (
            is_mutable(file.filename) and claim_of(file) is None
        ):  # without an announced hash, the current bytes are the right ones
            return await self.gate.fetch(file.project, _source(file), span, via)
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
        if download is None and _flight(file) in self._broken_off:
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
            self._broken_off[_flight(file)] = None
            if len(self._broken_off) > _MOST_FAILED:
                self._broken_off.popitem(last=False)
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
            self._broken_off.pop(_flight(file), None)
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
