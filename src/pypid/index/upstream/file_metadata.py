"""Core metadata of upstream files: cached, fetched, or read from the wheel, of which only some
ranges are fetched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import BinaryIO
from urllib.parse import urlsplit

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pypid.core.archives.members import LARGEST_PART, UnusableArchive
from pypid.core.errors import (
    Archived,
    Missing,
    NoSuchFile,
    NotThere,
    PypidError,
    UnlistedHost,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File, Span, UpstreamEntry
from pypid.core.packaging.expected_digest import claim_of
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.metadata_offer import with_metadata
from pypid.flow import Blocking, start, whole
from pypid.flow.single_flight import Flights
from pypid.flow.spool import Spool
from pypid.index.store import records
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.gate import UpstreamGate

_log = Logger()

Read = Callable[[Span], Awaitable[bytes]]
"""Returns exactly these bytes of a file."""


STORING = 16 << 20
"""Bytes of documents that are stored while their clients have them already. Beyond it, if the
storage is slow, clients wait until theirs is stored.
"""

_Flight = tuple[str, str, str | None]


@define(eq=False)
class Describer:
    """Returns the metadata of upstream files, with one fetch for concurrent requests, and stores
    it: a client need not wait for the storage.
    """

    kept: CacheStore
    gate: UpstreamGate
    blocking: Blocking
    store: Callable[[File, Sequence[str]], Awaitable[None]]
    """Fetch a whole file and store it, verified (`FileCache.store`)."""
    _flights: Flights[_Flight, bytes] = field(factory=Flights, init=False, repr=False)
    _storing: dict[_Flight, bytes] = field(factory=dict, init=False, repr=False)
    """What is being stored."""
    _writes: set[Deferred[None]] = field(factory=set, init=False, repr=False)

    async def metadata(self, file: File, via: Sequence[str]) -> bytes:
        """Return the METADATA of the file: the stored one; else that in a cached wheel; else the
        one that upstream offers, if it has the listed hash; else that in upstream's wheel. It is
        stored even if the file is not.

        Raises `NoSuchFile` if there is none, `UpstreamDown`, `WrongBytes`, `StorageDown`.
        """
        self.gate.refuse_loop(via)
        flight = (file.project, file.filename, file.metadata_sha256 or file.sha256)
        data = self._storing.get(flight)
        if data is None and flight not in self._flights:
            data = await self.kept.metadata(file)
        if data is not None:
            return data
        return await self._flights.single(flight, lambda: self._find(flight, file, via))

    async def close(self) -> None:
        """Give up what is being stored."""
        for write in list(self._writes):
            write.cancel()
        for write in list(self._writes):
            await write

    async def _find(self, flight: _Flight, file: File, via: Sequence[str]) -> bytes:
        data = await self._in_kept(file)
        if data is None:
            data = await self._offered(file, via)
        if data is None:
            data = await self._in_theirs(file, via)
        found = records.sha256_of(data)
        assert found is not None
        if file.metadata_sha256 not in (None, found):
            raise WrongBytes(
                f"{file.filename}.metadata",
                f"sha256 is {found}, and should be {file.metadata_sha256}.",
            )
        self._storing[flight] = data
        write = start(self._store(flight, file, found, data))
        self._writes.add(write)
        write.addBoth(lambda _: self._writes.discard(write))
        if sum(map(len, self._storing.values())) > STORING:
            await write
        return data

    async def _store(self, flight: _Flight, file: File, found: str, data: bytes) -> None:
        """Store the metadata, whose SHA-256 is `found`. A failure is only logged: the clients have
        it.
        """

        def learn(entry: UpstreamEntry) -> UpstreamEntry:
            if file.metadata_sha256 == found and entry.kept_file(file.filename) is None:
                return entry  # the hash is that of the listing
            return with_metadata(entry, file.filename, found)

        try:
            await self.kept.keep_metadata(file, data, learn)
        except CancelledError:
            pass
        except PypidError as error:
            _log.error(
                "the metadata of {filename} could not be stored: {error}",
                filename=file.filename,
                error=error,
            )
        except Exception:
            _log.failure("the metadata of {filename} could not be stored", filename=file.filename)
        finally:
            del self._storing[flight]

    async def _offered(self, file: File, via: Sequence[str]) -> bytes | None:
        """Return the metadata that upstream has beside the file, or None if it has none, whatever
        its page says.
        """
        if file.source is None or not (file.metadata_offered or file.metadata_sha256):
            return None
        try:
            verified = file.metadata_sha256 is not None
            body = await self.gate.fetch(
                file.project, metadata_url(file.source), None, via, verified=verified
            )
            return await whole(body, records.LARGEST_METADATA)
        except NotThere:
            _log.warn(
                "upstream lists metadata of {filename}, but does not have it",
                filename=file.filename,
            )
            return None
        except UnlistedHost:
            return None
        except ValueError as error:
            raise WrongBytes(f"{file.filename}.metadata", f"{error}.") from None

    async def _in_kept(self, file: File) -> bytes | None:
        """Return the metadata in the cached wheel, or None if there is no copy, or none with the
        listed hash.
        """
        kept = await self.kept.find(file) if file.filename.endswith(".whl") else None
        if kept is None:
            return None
        where = kept.key

        async def read(span: Span) -> bytes:
            return await whole(await self.kept.blobs.read(where, span), LARGEST_PART)

        try:
            data = await read_metadata(read, kept.size, file.project, self.blocking)
        except (
            UnusableArchive,
            Missing,
            Archived,
            EOFError,
            OSError,
        ):  # unreadable here now: upstream can be asked
            return None
        return data if file.metadata_sha256 in (None, records.sha256_of(data)) else None

    async def _in_theirs(self, file: File, via: Sequence[str]) -> bytes:
        """Return the metadata in upstream's wheel."""
        source = file.source
        if source is None or not file.filename.endswith(".whl"):
            raise NoSuchFile(f"{file.filename}.metadata")

        async def read(span: Span) -> bytes:
            return await whole(await self.gate.fetch(file.project, source, span, via), LARGEST_PART)

        try:
            size = (
                file.size
                if file.size is not None
                else await self._size_of(file.project, source, via)
            )
            return await read_metadata(read, size, file.project, self.blocking)
        except UnusableArchive as problem:
            _log.info(
                "{filename} has no readable metadata: {problem}",
                filename=file.filename,
                problem=problem,
            )
            raise NoSuchFile(f"{file.filename}.metadata") from None
        except UnlistedHost:
            if claim_of(file) is None:
                raise
        await self.store(file, via)  # whole, and so verified
        data = await self._in_kept(file)
        if data is None:
            raise NoSuchFile(f"{file.filename}.metadata")
        return data

    async def _size_of(self, project: ProjectName, source: str, via: Sequence[str]) -> int:
        """Return the size that upstream announces, without reading the bytes."""
        async with aclosing(await self.gate.fetch(project, source, None, via)) as body:
            if body.size is None:
                raise UpstreamDown("it does not say how large the file is.")
            return body.size


async def read_metadata(read: Read, size: int, project: ProjectName, blocking: Blocking) -> bytes:
    """Return the METADATA of a wheel of `size` bytes, of which `read` returns ranges: usually one,
    at most 8. Raises `UnusableArchive`.
    """
    # imported here: no page needs archives
    from pypid.core.archives.partial_wheel import (
        WheelParts,
        first_part,
        peek,
    )

    wheel = WheelParts(size)
    needed: bytes | Span = first_part(size)
    while isinstance(needed, Span):
        wheel.add(needed, await read(needed))
        needed = await blocking(peek, wheel, project)
    return needed


def metadata_url(source: str) -> str:
    """Return the URL of the metadata: that of the file with ``.metadata`` appended to its path (PEP
    658).
    """
    url = urlsplit(source)
    return url._replace(path=f"{url.path}.metadata", fragment="").geturl()


def metadata_in(spool: Spool, file: File) -> bytes | None:
    """Return the METADATA of the wheel in the spool, or None if it cannot be read."""
    from pypid.core.archives.partial_wheel import (
        metadata_of,
    )  # imported here: no page needs archives

    archive: BinaryIO
    with spool.inspected() as archive:
        try:
            return metadata_of(archive, file.project)
        except UnusableArchive:
            return None
