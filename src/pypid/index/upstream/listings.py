"""Upstream listings of projects: fetched once for concurrent requests, remembered, and used while
upstream is down.

A listing is fresh for `ttl`, then revalidated. A 404 is remembered as well. While upstream is down
its last listing is served whole: leaving out the files that are not cached would make installers
pick an older release. For a short while after a failure, no client waits for upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from attrs import define, evolve, field
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from pypid.core.errors import BadListing, CatalogDown, NotYetKnown, PypidError, UpstreamDown
from pypid.core.model import Listing, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import UpstreamState
from pypid.core.records.ages import is_recent
from pypid.core.records.upstream_entry import is_compared_quickly, with_cached, with_listing
from pypid.flow import World, start
from pypid.flow.single_flight import Flights
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.gate import UpstreamGate
from pypid.metrics.families import STALE
from pypid.ports import Catalog

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
