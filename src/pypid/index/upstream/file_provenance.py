"""Provenance objects (PEP 740) of upstream files: fetched after their file was cached, checked, and
stored beside it, so that clients can verify a cached file while upstream is away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from pypid.core.accounts.attestations import LARGEST, AttestationSubject, attestations_in
from pypid.core.errors import NoSuchFile, NotThere, PypidError, UnlistedHost, WrongBytes
from pypid.core.model import File, StoredFile, UpstreamEntry
from pypid.core.policy import UnknownOwner
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.flow import Blocking, start, whole
from pypid.flow.signals import Signal
from pypid.flow.single_flight import Flights
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.gate import UpstreamGate

_log = Logger()

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

_Flight = tuple[str, str, str | None]


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
    _refused: OrderedDict[_Flight, None] = field(factory=OrderedDict, init=False, repr=False)
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
        if flight in self._refused or len(self._waiting) >= MOST_WAITING:
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
                if _flight(file) not in self._refused:
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
            self._refused[_flight(file)] = None
            if len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)
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
