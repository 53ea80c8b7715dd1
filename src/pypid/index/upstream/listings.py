"""Listings of upstream projects: the gate that lets a request out, the servers, and what is
remembered, which is used while upstream is down.

A listing is fresh for `ttl`, then revalidated. A 404 is remembered as well. While upstream is down
its last listing is served whole: leaving out the files that are not cached would make installers
pick an older release. For a short while after a failure, no client waits for upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from attrs import define, evolve, field
from twisted.internet.defer import TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.caches import Recent
from pypid.core.errors import (
    BadListing,
    CatalogDown,
    NotThere,
    NotYetKnown,
    PypidError,
    UpstreamDown,
)
from pypid.core.model import Listing, Presence, Project, Span, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, UnknownOwner, UpstreamState, silence
from pypid.core.records.upstream_entry import is_compared_quickly, with_cached, with_listing
from pypid.core.simple_api.via import refuse_loop
from pypid.core.times import is_recent
from pypid.flow import World, start
from pypid.flow.derived import Flights
from pypid.http_client.circuit_breaker import STRIKES, CircuitBreaker
from pypid.index.upstream.cache_store import CacheStore
from pypid.metrics.counts import STALE
from pypid.ports import Body, Catalog, Upstream

# The servers that upstream files come from: retries, and circuit breakers.
#
# A file that fails says nothing about the index that lists it, nor about other files. So its
# failures count for its URL, and failures to connect for the origin of the URL (scheme, host and
# port).

RETRIES = (0.2, 0.6)
"""Seconds before the second and the third try; up to as much again is added at random."""
LONGEST_WAIT = 2
"""Longest ``Retry-After`` in seconds that is waited for; after a longer one the client gets the
failure at once.
"""
MOST_BREAKERS = 1024
"""Maximum number of remembered origins and failed URLs; the least recently used are forgotten
first.
"""


@define(eq=False)
class FileHostBreakers:
    """Fetches files by URL; a host or a URL that failed three times in a row is only probed for a
    while.
    """

    world: World
    _breakers: Recent[str, CircuitBreaker] = field(
        factory=lambda: Recent(MOST_BREAKERS, MOST_BREAKERS), init=False, repr=False
    )

    async def fetch(self, url: str, ask: Callable[[], Awaitable[Body]]) -> Body:
        """Return what `ask` returns for the URL. Statuses 500, 502, 503 and 504 are retried.

        Raises what `ask` raises; and, without asking, the last `UpstreamDown` of a URL or host
        whose breaker is open.
        """
        host = self._host(url)
        host.refuse_unless_probe()
        if (file := self._breakers.get(url)) is not None:
            file.refuse_unless_probe()
        try:
            body = await self._retried(ask)
        except UpstreamDown as error:
            self._file(url).failed(error)
            if error.unreachable:
                host.failed(error)
            else:
                host.answered()
            raise
        except NotThere:
            host.answered()
            raise
        host.answered()
        self._breakers.forget(url)
        return body

    async def _retried(self, ask: Callable[[], Awaitable[Body]]) -> Body:
        for seconds in RETRIES:
            try:
                return await ask()
            except UpstreamDown as error:
                if not error.is_transient or (error.retry_after or 0) > LONGEST_WAIT:
                    raise
                jitter = seconds * self.world.random(1)[0] / 255
                await deferLater(self.world.clock, max(seconds, error.retry_after or 0) + jitter)
        return await ask()

    def _host(self, url: str) -> CircuitBreaker:
        address = urlsplit(url)
        origin = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        return self._breaker(origin, f"the file host {origin}")

    def _file(self, url: str) -> CircuitBreaker:
        return self._breaker(
            url, f"the upstream file {unquote(urlsplit(url).path.rpartition('/')[2])[:250]!r}"
        )

    def _breaker(self, key: str, what: str) -> CircuitBreaker:
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = CircuitBreaker(self.world, what, refusals=STRIKES)
            self._breakers.put(key, breaker)
        return breaker


# The only module that sends requests to upstream: checks each time that the name may be disclosed,
# and tracks whether upstream responds.

T = TypeVar("T")

Ours = Callable[[ProjectName], Awaitable[Project | Presence]]
"""Returns the local project of a name, according to the storage now (`IndexContext.ours_now`)."""


async def _never() -> bool:
    return False


@define(eq=False)
class UpstreamGate:
    """An `Upstream` that is only asked for names that may be disclosed.

    Just before each request the storage is asked whether the name is local: what another process
    published a moment ago is not in this catalog yet (unknown is not absent). While a shared
    catalog is `away`, no name is disclosed that was not before (`NotYetKnown`). Everything raises
    `UnknownOwner` for a name that must not go upstream, `StorageDown` if that cannot be determined,
    `Loop` for a request that has passed through here before, and what `Upstream` raises.

    Only requests to the index itself count for its circuit breaker (`breaker`). Failures of files
    count for their host and their URL (`hosts`).
    """

    upstream: Upstream
    policy: Policy
    identity: str
    ours: Ours
    breaker: CircuitBreaker
    hosts: FileHostBreakers
    away: Callable[[], Awaitable[bool]] = _never

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the current upstream listing of the project."""
        await self.check(name, via)
        if known is None and await self.away():
            raise NotYetKnown(name)
        return await self._noted(self.upstream.project(name, known, via))

    async def fetch(
        self,
        name: ProjectName,
        url: str,
        span: Span | None,
        via: Sequence[str],
        *,
        verified: bool = True,
    ) -> Body:
        """Return the bytes of a file of the project, or of a sidecar (`Upstream.fetch`)."""
        await self.check(name, via)
        return await self.hosts.fetch(
            url, lambda: self.upstream.fetch(url, span, via, verified=verified)
        )

    async def listed_project(self, name: ProjectName) -> Listing:
        """Return the current listing of a project that is in upstream's own list of projects, for a
        comparison with files in the storage. The caller has checked the policy.

        Files without a record make `project` refuse the name: it may be private.
        """
        return await self._noted(self.upstream.project(name, None, ()))

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return all upstream projects."""
        refuse_loop(via, self.identity)
        return await self._noted(self.upstream.names(via))

    def refuse_loop(self, via: Sequence[str]) -> None:
        """Raise `Loop` if the request has passed through here before. Call this before waiting for
        a fetch that the request itself may be the cause of.
        """
        refuse_loop(via, self.identity)

    async def check(self, name: ProjectName, via: Sequence[str]) -> None:
        """Raise unless the name may be disclosed now."""
        refuse_loop(via, self.identity)
        why = silence(self.policy, name, await self.ours(name))
        if why is not None:
            raise UnknownOwner(name, why)

    async def _noted(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except UpstreamDown as error:
            self.breaker.failed(error)
            raise
        except (BadListing, NotThere):
            self.breaker.answered()
            raise
        self.breaker.answered()
        return answer


_log = Logger()

PAUSE = timedelta(seconds=5)
"""How long upstream is not asked again for this project after a failure: clients do not each wait
for the same time-out.
"""
MOST_LATE = 64
"""Pages being read in the background at a time. While there are so many, known listings are not
renewed.
"""
FEW = 256
"""Largest number of files compared on the reactor thread: it takes a few milliseconds."""

Failure = UpstreamDown | BadListing


@define(eq=False)
class UpstreamListings:
    """Fetches upstream listings on behalf of all clients. The caller has checked that the name may
    be disclosed (`policy.asks_upstream`).
    """

    gate: UpstreamGate
    kept: CacheStore
    catalog: Catalog
    world: World
    ttl: timedelta
    timeout: timedelta = timedelta(seconds=10)
    """How long a client waits for a listing: pip gives up after 15 seconds. Then it gets the known
    one, or 503 if there is none, and the page is read in the background.
    """
    _late: set[ProjectName] = field(factory=set, init=False, repr=False)
    """Projects whose page is read in the background: at most a minute each (`Upstream`)."""
    _flights: Flights[ProjectName, UpstreamEntry] = field(factory=Flights, init=False, repr=False)
    _failed: dict[ProjectName, tuple[float, Failure]] = field(factory=dict, init=False, repr=False)
    _doubts: dict[ProjectName, float] = field(factory=dict, init=False, repr=False)
    """When pages that may be error pages first came, in seconds of the monotonic clock; only of
    projects with a known listing.
    """

    async def state(
        self,
        name: ProjectName,
        via: Sequence[str] = (),
        *,
        renewed: bool = False,
        spend: Callable[[], None] | None = None,
    ) -> UpstreamState:
        """Return the upstream state of the project; fetch the listing if it is not fresh, or with
        `renewed`.

        Raises `UpstreamDown`, `BadListing` if upstream cannot be asked and nothing is known;
        `Loop`, `UnknownOwner`, `StorageDown` as `UpstreamGate`. While a shared catalog is down,
        upstream is not asked: the last listing is used as it was, and a project that was never
        asked for is `NotYetKnown`. `spend` is called before a request for a name that was never
        asked for before, and raises if the client has no budget left.
        """
        self.gate.refuse_loop(
            via
        )  # before waiting for a flight that this request may be the cause of
        entry = await self.kept.entry(name)
        breaker = self.gate.breaker
        if not breaker.is_down and not renewed and self._is_fresh(entry):
            return _known(entry, failure=None)
        if await self.catalog.is_away():
            return self._as_it_was(entry)
        try:
            self._respect_pause(name)
            if (
                spend is not None
                and entry.listing is None
                and not entry.kept
                and name not in self._flights
            ):
                spend()
            return _known(
                await (self._renewed(name, via) if renewed else self._renewed_soon(name, via)),
                failure=None,
            )
        except CatalogDown:
            return self._as_it_was(entry)
        except (UpstreamDown, BadListing) as error:
            if entry.listing is None and not entry.kept:
                raise
            self.world.counts.add(STALE, ("upstream",))
            return _known(entry, failure=error)

    async def _renewed(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        """Fetch the current listing; one request for all concurrent callers."""

        async def renew() -> UpstreamEntry:
            try:
                return await self._ask(name, via)
            finally:
                self._late.discard(name)

        return await self._flights.single(name, renew)

    async def _renewed_soon(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        """Fetch the current listing, if that takes no longer than `timeout`. Else raise
        `UpstreamDown`, and read on in the background.
        """
        seconds = self.timeout.total_seconds()
        late = UpstreamDown(f"its page did not come within {seconds:g} seconds.", timed_out=True)
        if name in self._late or (len(self._late) >= MOST_LATE and name not in self._flights):
            raise late
        renewal = start(self._renewed(name, via)).addTimeout(seconds, self.world.clock)
        try:
            return await renewal
        except TimeoutError:
            if name in self._flights:
                self._late.add(name)
            raise late from None

    def _as_it_was(self, entry: UpstreamEntry) -> UpstreamState:
        """Return the known state while a new listing could not be stored, for this node or any
        other.

        A remembered absence is only used while it is fresh.
        """
        failure = self.gate.breaker.error or self._failed_just_now(entry.name)
        has_it = entry.listing is not None and (
            entry.listing.files is not None or self._is_fresh(entry)
        )
        if has_it:
            return _known(entry, failure=failure)
        unknown = NotYetKnown(entry.name)
        if not entry.kept:
            raise unknown
        return _known(entry, failure=failure or unknown)

    async def known(self, name: ProjectName) -> UpstreamState:
        """Return the known state; upstream is not asked (offline, `/local/`)."""
        return _known(await self.kept.entry(name), failure=None, reachable=False)

    async def shown_state(self, name: ProjectName) -> UpstreamState:
        """Return the state that a client would see if upstream were not asked first: like `known`,
        but upstream counts as down only if its last response failed.
        """
        return _known(
            await self.kept.entry(name),
            failure=self.gate.breaker.error or self._failed_just_now(name),
        )

    def _is_fresh(self, entry: UpstreamEntry) -> bool:
        return entry.listing is not None and is_recent(
            entry.listing.confirmed, self.world.now(), self.ttl
        )

    def _respect_pause(self, name: ProjectName) -> None:
        """Raise the failure of a moment ago instead of asking upstream again."""
        self.gate.breaker.refuse_unless_probe()
        failure = self._failed_just_now(name)
        if failure is not None:
            raise failure.with_traceback(None)  # without this each raise adds to its traceback
        self._failed.pop(name, None)

    def _failed_just_now(self, name: ProjectName) -> Failure | None:
        """Return the last failure for the project, if it was within the `PAUSE`."""
        failed = self._failed.get(name)
        return (
            failed[1]
            if failed is not None and self.world.clock.seconds() < failed[0] + PAUSE.total_seconds()
            else None
        )

    async def _ask(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        before = (await self.catalog.upstream.get(name)).listing
        try:
            listing = await self.gate.project(name, before, via)
            if listing.is_doubtful:
                self._doubt(listing, before)
            else:
                self._doubts.pop(name, None)
        except (UpstreamDown, BadListing) as error:
            self._note(name, before, error)
            raise
        return await self._remember(listing)

    def _doubt(self, listing: Listing, before: Listing | None) -> None:
        """Raise `BadListing` for a page without files that would replace a known listing, unless
        such a page already came a `ttl` ago.
        """
        if before is None or not before.files:
            return
        now = self.world.clock.seconds()
        if now < self._doubts.setdefault(listing.name, now) + max(self.ttl, PAUSE).total_seconds():
            raise BadListing(
                "its page has no files any more, and may be an error page. pypid requests it again."
            )

    async def _remember(self, listing: Listing) -> UpstreamEntry:
        """Store the listing; a large one is compared with the previous one off the reactor
        thread.
        """
        before = await self.catalog.upstream.get(listing.name)
        if listing.is_doubtful:
            listing = with_cached(listing, before)
        compared = await self._compared(listing, before)
        return await self.catalog.upstream.edit(
            listing.name,
            lambda entry: (
                evolve(
                    entry, listing=compared.listing, history=compared.history, since=compared.since
                )
                if entry.listing is before.listing and entry.history == before.history
                else with_listing(entry, listing)
            ),
        )

    async def _compared(self, listing: Listing, before: UpstreamEntry) -> UpstreamEntry:
        if len(listing.files or ()) <= FEW or is_compared_quickly(listing, before.listing):
            return with_listing(before, listing)
        return await self.world.thinking(with_listing, before, listing)

    def _note(self, name: ProjectName, before: Listing | None, error: Failure) -> None:
        now = self.world.clock.seconds()
        self._failed = {
            other: failure
            for other, failure in self._failed.items()
            if now < failure[0] + PAUSE.total_seconds()
        }
        self._failed[name] = (now, error)
        if before is not None:
            since = f"{before.confirmed:%Y-%m-%d %H:%M:%S} UTC"
            _log.warn(
                "upstream is unavailable for {name}, its listing of {since} is served: {error}",
                name=name,
                since=since,
                error=error,
            )


def _known(
    entry: UpstreamEntry, *, failure: PypidError | None, reachable: bool = True
) -> UpstreamState:
    return UpstreamState(
        listing=entry.listing,
        kept=entry.kept,
        reachable=reachable and failure is None,
        serial=entry.serial,
        failure=failure,
        history=entry.history,
        since=entry.since,
    )
