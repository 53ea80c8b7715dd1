"""What another index says of a project: asked once for many, remembered, and believed while it
cannot be asked.

Fresh for `ttl`, then revalidated. A 404 is knowledge. While upstream is down its last listing is
served whole: to leave out the files that are not stored would have installers pick an older
release. A short while after a failure nobody waits for it again.
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
from pypid.core.records.listing_changes import heard_now, with_stored
from pypid.flow import Flights, World, start
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.gate import UpstreamGate
from pypid.metrics.families import STALE
from pypid.ports import Catalog

_log = Logger()

PAUSE = timedelta(seconds=5)
"""After a failure upstream is left alone for so long, for this project: clients do not each wait
for the same time-out.
"""
MOST_LATE = 64
"""Pages that are read on behind at a time. While there are so many, known listings are not renewed.
"""
FEW = 256
"""Files that are compared in the reactor thread: in a few milliseconds."""

Failure = UpstreamDown | BadListing


@define(eq=False)
class UpstreamListings:
    """Asks upstream on behalf of everybody. Whoever calls has made sure that the name may be told
    (`policy.asks_upstream`).
    """

    envoy: UpstreamGate
    kept: CacheStore
    catalog: Catalog
    world: World
    ttl: timedelta
    timeout: timedelta = timedelta(seconds=10)
    """How long a client with a known listing waits for a new one; then it gets the known one, and
    the page is read on behind.
    """
    _late: set[ProjectName] = field(factory=set, init=False, repr=False)
    """Projects whose page is read on behind: at most a minute each (`Upstream`)."""
    _flights: Flights[ProjectName, UpstreamEntry] = field(factory=Flights, init=False, repr=False)
    _failed: dict[ProjectName, tuple[float, Failure]] = field(factory=dict, init=False, repr=False)
    _doubts: dict[ProjectName, float] = field(factory=dict, init=False, repr=False)
    """When pages that may be error pages came first, in seconds of the monotonic clock; only of
    projects with a known listing.
    """

    async def theirs(
        self,
        name: ProjectName,
        via: Sequence[str] = (),
        *,
        anew: bool = False,
        spend: Callable[[], None] | None = None,
    ) -> UpstreamState:
        """What is known of the project of theirs; asks if that is not fresh, or with `anew`.

        Raises `UpstreamDown`, `BadListing` where upstream cannot be asked and nothing is known;
        `Loop`, `UnknownOwner`, `StorageDown` as `UpstreamGate`. While a shared catalog is away
        nobody is asked: what upstream said before is shown as it was, and what it never was asked
        for is `NotYetKnown`. `spend` is called before a question about a name that was never asked
        before, and raises where the client has no budget left for one.
        """
        self.envoy.refuse_loop(via)  # before it waits for a flight that it may be the cause of
        heard = await self.kept.heard(name)
        outage = self.envoy.outage
        if not outage.is_down and not anew and self._is_fresh(heard):
            return _known(heard, failure=None)
        if await self.catalog.is_away():
            return self._as_it_was(heard)
        try:
            self._respect_pause(name)
            if (
                spend is not None
                and heard.said is None
                and not heard.kept
                and name not in self._flights
            ):
                spend()
            waits = heard.said is None or anew
            return _known(
                await (self._renewed(name, via) if waits else self._renewed_soon(name, via)),
                failure=None,
            )
        except CatalogDown:
            return self._as_it_was(heard)
        except (UpstreamDown, BadListing) as error:
            if heard.said is None and not heard.kept:
                raise
            self.world.counts.add(STALE, ("upstream",))
            return _known(heard, failure=error)

    async def _renewed(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        """What upstream says now; one question for all who ask at the same time."""

        async def renew() -> UpstreamEntry:
            try:
                return await self._ask(name, via)
            finally:
                self._late.discard(name)

        return await self._flights.single(name, renew)

    async def _renewed_soon(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        """What upstream says now, if that takes no longer than `timeout`. Raises `UpstreamDown`
        else, and reads on behind.
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

    def _as_it_was(self, heard: UpstreamEntry) -> UpstreamState:
        """What is shown while what upstream would say could not be remembered, for this node or any
        other.

        What it did not have is not said to be absent any longer than what it said is fresh.
        """
        failure = self.envoy.outage.error or self._failed_just_now(heard.name)
        has_it = heard.said is not None and (heard.said.files is not None or self._is_fresh(heard))
        if has_it:
            return _known(heard, failure=failure)
        unknown = NotYetKnown(heard.name)
        if not heard.kept:
            raise unknown
        return _known(heard, failure=failure or unknown)

    async def known(self, name: ProjectName) -> UpstreamState:
        """What is known already; nobody is asked (offline, `/local/`)."""
        return _known(await self.kept.heard(name), failure=None, reachable=False)

    async def standing(self, name: ProjectName) -> UpstreamState:
        """What a client would be shown if upstream were not asked before: as `known`, but only
        where it did not answer the last time is it taken to be away.
        """
        return _known(
            await self.kept.heard(name),
            failure=self.envoy.outage.error or self._failed_just_now(name),
        )

    def _is_fresh(self, heard: UpstreamEntry) -> bool:
        return heard.said is not None and is_recent(heard.said.asked, self.world.now(), self.ttl)

    def _respect_pause(self, name: ProjectName) -> None:
        """Raise what upstream failed with a moment ago, in place of asking it again."""
        self.envoy.outage.refuse_unless_probe()
        failure = self._failed_just_now(name)
        if failure is not None:
            raise failure.with_traceback(None)  # else each raise adds to its traceback
        self._failed.pop(name, None)

    def _failed_just_now(self, name: ProjectName) -> Failure | None:
        """What upstream failed with when it was asked for the project, if that was within the
        `PAUSE`.
        """
        failed = self._failed.get(name)
        return (
            failed[1]
            if failed is not None and self.world.clock.seconds() < failed[0] + PAUSE.total_seconds()
            else None
        )

    async def _ask(self, name: ProjectName, via: Sequence[str]) -> UpstreamEntry:
        before = (await self.catalog.theirs(name)).said
        try:
            said = await self.envoy.project(name, before, via)
            if said.is_doubtful:
                self._doubt(said, before)
            else:
                self._doubts.pop(name, None)
        except (UpstreamDown, BadListing) as error:
            self._note(name, before, error)
            raise
        return await self._remember(said)

    def _doubt(self, said: Listing, before: Listing | None) -> None:
        """Raise `BadListing` for a page without files in place of a known listing, unless it came
        before, a `ttl` ago.
        """
        if before is None or not before.files:
            return
        now = self.world.clock.seconds()
        if now < self._doubts.setdefault(said.name, now) + max(self.ttl, PAUSE).total_seconds():
            raise BadListing(
                "its page has no files any more, and may be an error page. It is asked again."
            )

    async def _remember(self, said: Listing) -> UpstreamEntry:
        """Put down what upstream says; where that is much, it is compared with what it said before
        off the reactor thread.
        """
        before = await self.catalog.theirs(said.name)
        if said.is_doubtful:
            said = with_stored(said, before)
        compared = await self._compared(said, before)
        return await self.catalog.edit_theirs(
            said.name,
            lambda heard: (
                evolve(heard, said=compared.said, history=compared.history, since=compared.since)
                if heard.said is before.said and heard.history == before.history
                else heard_now(heard, said)
            ),
        )

    async def _compared(self, said: Listing, before: UpstreamEntry) -> UpstreamEntry:
        if len(said.files or ()) <= FEW:
            return heard_now(before, said)
        return await self.world.thinking(heard_now, before, said)

    def _note(self, name: ProjectName, before: Listing | None, error: Failure) -> None:
        now = self.world.clock.seconds()
        self._failed = {
            other: failure
            for other, failure in self._failed.items()
            if now < failure[0] + PAUSE.total_seconds()
        }
        self._failed[name] = (now, error)
        if before is not None:
            since = f"{before.asked:%Y-%m-%d %H:%M:%S} UTC"
            _log.warn(
                "upstream cannot be asked for {name}, what it said at {since} is served: {error}",
                name=name,
                since=since,
                error=error,
            )


def _known(
    heard: UpstreamEntry, *, failure: PypidError | None, reachable: bool = True
) -> UpstreamState:
    return UpstreamState(
        said=heard.said,
        kept=heard.kept,
        reachable=reachable and failure is None,
        serial=heard.serial,
        failure=failure,
        history=heard.history,
        since=heard.since,
    )
