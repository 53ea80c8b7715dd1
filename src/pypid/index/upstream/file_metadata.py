"""Core metadata and provenance of upstream files: cached, fetched, or read from the wheel, of which
only some ranges are fetched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import BinaryIO
from urllib.parse import urlsplit

from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pypid.core.accounts.provenance import LARGEST, AttestationSubject, attestations_in
from pypid.core.archives.members import LARGEST_PART, UnusableArchive
from pypid.core.caches import Recent
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
from pypid.core.model import File, Span, StoredFile, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import claim_of
from pypid.core.policy import UnknownOwner, with_metadata
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.flow import Blocking, start, whole
from pypid.flow.derived import Flights, Signal
from pypid.flow.spool import Spool
from pypid.index.store import records
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.listings import UpstreamGate
from pypid.ports import Body

_log = Logger()

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
        read = partial(self.kept.blobs.read, kept.key)
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

        def read(span: Span) -> Awaitable[Body]:
            return self.gate.fetch(file.project, source, span, via)

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


async def read_metadata(
    read: Callable[[Span], Awaitable[Body]], size: int, project: ProjectName, blocking: Blocking
) -> bytes:
    """Return the METADATA of a wheel of `size` bytes, of which `read` returns ranges: usually one,
    at most 8. Raises `UnusableArchive`.
    """
    # imported here: no page needs archives
    from pypid.core.archives.zips import WheelParts, first_part, peek

    wheel = WheelParts(size)
    needed: bytes | Span = first_part(size)
    while isinstance(needed, Span):
        wheel.add(needed, await whole(await read(needed), LARGEST_PART))
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
    from pypid.core.archives.zips import metadata_of  # imported here: no page needs archives

    archive: BinaryIO
    with spool.inspected() as archive:
        try:
            return metadata_of(archive, file.project)
        except UnusableArchive:
            return None


# Provenance objects (PEP 740) of upstream files: fetched after their file was cached, checked, and
# stored beside it, so that clients can verify a cached file while upstream is away.

FETCHES = 2
"""Provenance objects fetched at a time without a client that waits for them: files come first."""
AT_ONCE = 200
"""Number of missing provenance objects that the maintenance requests at a time: upstream indexes
limit requests.
"""
MOST_WAITING = 2000
"""Number of files whose provenance waits to be fetched; `fetch_missing` finds the others."""
MOST_REFUSED = 10_000
"""Number of remembered files without usable provenance, which is not fetched again."""


@define(eq=False)
class ProvenanceCache:
    """Returns the provenance of upstream files, with one fetch for concurrent requests, and stores
    it beside cached files.
    """

    kept: CacheStore
    gate: UpstreamGate
    blocking: Blocking
    stored: Signal[[StoredFile, bytes]] = field(factory=Signal, repr=False)
    """Emitted after a provenance object was stored beside its cached file."""
    _flights: Flights[_Flight, bytes] = field(factory=Flights, init=False, repr=False)
    _waiting: OrderedDict[_Flight, File] = field(factory=OrderedDict, init=False, repr=False)
    _refused: Recent[_Flight, bool] = field(
        factory=lambda: Recent(MOST_REFUSED, MOST_REFUSED), init=False, repr=False
    )
    _fetches: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _is_closed: bool = field(default=False, init=False)

    async def provenance(self, file: File, via: Sequence[str] = ()) -> bytes:
        """Return the provenance object of the file: the stored one, else upstream's, which is
        stored if the file is cached.

        Raises `NoSuchFile` if there is none that can be checked, `UpstreamDown`, `WrongBytes`,
        `UnknownOwner`, `Loop`, `StorageDown`.
        """
        self.gate.refuse_loop(via)
        data = await self.kept.provenance(file)
        if data is not None:
            return data
        return await self._flights.single(_flight(file), lambda: self._fetch(file, via))

    def want(self, file: File, kept: StoredFile) -> None:
        """Fetch and store the provenance of a cached file soon, unless it is stored. `file` is what
        upstream lists.
        """
        if kept.attested or file.provenance_url is None or self._is_closed:
            return
        file = replace(kept, provenance_url=file.provenance_url)
        flight = _flight(file)
        if self._refused.get(flight) or len(self._waiting) >= MOST_WAITING:
            return
        self._waiting[flight] = file
        if len(self._fetches) < FETCHES:
            fetch = start(self._fetch_waiting())
            self._fetches.add(fetch)
            fetch.addBoth(lambda _: self._fetches.discard(fetch))

    async def close(self) -> None:
        """Stop the fetches that no client waits for."""
        self._is_closed = True
        self._waiting.clear()
        for fetch in list(self._fetches):
            fetch.cancel()
        for fetch in list(self._fetches):
            await fetch

    async def fetch_missing(self, after: str, most: int) -> str | None:
        """Fetch the provenance of cached files that lack it, such as those of earlier versions: of
        projects in the order of their names `after` this one, `most` objects. Return the last
        project, or None if all are done.
        """
        names = sorted(each.name for each in await self.kept.catalog.upstream.summaries())
        for name in names[bisect_right(names, after) :]:
            if self._is_closed or most <= 0:
                return after
            for file in lacking(await self.kept.catalog.upstream.get(name)):
                if not self._refused.get(_flight(file)):
                    most -= 1
                    await self._fetch_quietly(file)
            after = name
        return None

    async def _fetch_quietly(self, file: File) -> None:
        """Fetch and store the provenance of a cached file. A failure is logged: the file is served
        without provenance.
        """
        try:
            await self.provenance(file)
        except (NoSuchFile, UnknownOwner):
            pass
        except PypidError as error:
            _log.info(
                "the provenance of {filename} could not be fetched; the file is served without "
                "it: {error}",
                filename=file.filename,
                error=error,
            )

    async def _fetch_waiting(self) -> None:
        try:
            while self._waiting:
                _, file = self._waiting.popitem(last=False)
                await self._fetch_quietly(file)
        except CancelledError:  # pypid stops
            pass
        except Exception:
            _log.failure("fetching the provenance of cached files failed")

    async def _fetch(self, file: File, via: Sequence[str]) -> bytes:
        """Return upstream's provenance object of the file after its check, and store it."""
        url, sha256 = file.provenance_url, file.sha256
        if url is None or sha256 is None:  # without the hash it could be that of other bytes
            raise NoSuchFile(f"{file.filename}.provenance")
        try:
            data = await self._checked(url, file, AttestationSubject(file.filename, sha256), via)
        except (NoSuchFile, WrongBytes):
            self._refused.put(_flight(file), True)
            raise
        kept = await self.kept.keep_provenance(file, data)
        if kept is not None:
            self.stored.emit(kept, data)
        return data

    async def _checked(
        self, url: str, file: File, about: AttestationSubject, via: Sequence[str]
    ) -> bytes:
        what = f"{file.filename}.provenance"
        try:
            # no hash of it is listed, so that only an index's own host or a listed one may have it
            body = await self.gate.fetch(file.project, url, None, via, verified=False)
            data = await whole(body, LARGEST)
            await self.blocking(attestations_in, data, about)
        except NotThere:
            raise NoSuchFile(what) from None
        except UnlistedHost as error:
            _log.info("{error}", error=error)
            raise NoSuchFile(what) from None
        except ValueError as error:
            raise WrongBytes(what, f"{error}.") from None
        return data


def lacking(entry: UpstreamEntry) -> Sequence[StoredFile]:
    """Return the cached files of which upstream has provenance that is not stored here."""
    unattested = {file.filename: file for file in entry.kept if not file.attested}
    listed = entry.listing.files if entry.listing is not None else None
    urls = {}
    if isinstance(listed, ListedFiles) and unattested:
        found = listed.find(unattested).values()
        urls = {file.filename: file.provenance_url for _, file in found}
    known = (
        replace(file, provenance_url=urls.get(file.filename, file.provenance_url))
        for file in unattested.values()
    )
    return [file for file in known if file.provenance_url is not None]


def _flight(file: File) -> _Flight:
    return file.project, file.filename, file.sha256
