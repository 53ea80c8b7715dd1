"""What another index says of a project: asked once for many, remembered, and believed while it cannot be asked.

Fresh for `ttl`, then revalidated. A 404 is knowledge. While upstream is down what it said last is served, and what is kept of
its files; a short while after a failure nobody waits for it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.core.errors import BadListing, CatalogDown, NotYetKnown, PypidError, UpstreamDown
from pypid.core.model import Heard, Remembered
from pypid.core.names import ProjectName
from pypid.core.policy import Theirs
from pypid.core.remembering import heard_now
from pypid.flow import Flights, World
from pypid.index.envoy import Envoy
from pypid.index.storing import KeptFiles
from pypid.metrics.families import STALE
from pypid.ports import Catalog

_log = Logger()

PAUSE = timedelta(seconds=5)
"""After a failure upstream is left alone for so long, for this project: clients do not each wait for the same time-out."""
FEW = 256
"""Files that are compared in the reactor thread: in a few milliseconds."""

Failure = UpstreamDown | BadListing


@define(eq=False)
class Correspondent:
    """Asks upstream on behalf of everybody. Whoever calls has made sure that the name may be told (`policy.asks_upstream`)."""

    envoy: Envoy
    kept: KeptFiles
    catalog: Catalog
    world: World
    ttl: timedelta
    _flights: Flights[ProjectName, Heard] = field(factory=Flights, init=False, repr=False)
    _failed: dict[ProjectName, tuple[datetime, Failure]] = field(factory=dict, init=False, repr=False)

    async def theirs(self, name: ProjectName, via: Sequence[str] = (), *, anew: bool = False) -> Theirs:
        """What is known of the project of theirs; asks if that is not fresh, or with `anew`.

        Raises `UpstreamDown`, `BadListing` where upstream cannot be asked and nothing is known; `Loop`, `Untold`, `StorageDown`
        as `Envoy`. While a shared catalog is away nobody is asked: what upstream said before is shown as it was, and what it
        never was asked for is `NotYetKnown`.
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
            return _known(await self._flights.single(name, lambda: self._ask(name, via)), failure=None)
        except CatalogDown:
            return self._as_it_was(heard)
        except (UpstreamDown, BadListing) as error:
            if heard.said is None and not heard.kept:
                raise
            self.world.counts.add(STALE, ("upstream",))
            return _known(heard, failure=error)

    def _as_it_was(self, heard: Heard) -> Theirs:
        """What is shown while what upstream would say could not be remembered, for this node or any other.

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

    async def known(self, name: ProjectName) -> Theirs:
        """What is known already; nobody is asked (offline, `/local/`)."""
        return _known(await self.kept.heard(name), failure=None, reachable=False)

    async def standing(self, name: ProjectName) -> Theirs:
        """What a client would be shown if upstream were not asked before: as `known`, but only where it did not answer the last
        time is it taken to be away.
        """
        return _known(await self.kept.heard(name), failure=self.envoy.outage.error or self._failed_just_now(name))

    def _is_fresh(self, heard: Heard) -> bool:
        return heard.said is not None and self.world.now() < heard.said.asked + self.ttl

    def _respect_pause(self, name: ProjectName) -> None:
        """Raise what upstream failed with a moment ago, in place of asking it again."""
        outage = self.envoy.outage
        if outage.error is not None and not outage.may_probe():
            raise outage.error
        failure = self._failed_just_now(name)
        if failure is not None:
            raise failure
        self._failed.pop(name, None)

    def _failed_just_now(self, name: ProjectName) -> Failure | None:
        """What upstream failed with when it was asked for the project, if that was within the `PAUSE`."""
        failed = self._failed.get(name)
        return failed[1] if failed is not None and self.world.now() < failed[0] + PAUSE else None

    async def _ask(self, name: ProjectName, via: Sequence[str]) -> Heard:
        before = (await self.catalog.theirs(name)).said
        try:
            said = await self.envoy.project(name, before, via)
        except (UpstreamDown, BadListing) as error:
            self._note(name, before, error)
            raise
        return await self._remember(said)

    async def _remember(self, said: Remembered) -> Heard:
        """Put down what upstream says; where that is much, it is compared with what it said before off the reactor thread."""
        before = await self.catalog.theirs(said.name)
        compared = await self._compared(said, before)
        return await self.catalog.edit_theirs(
            said.name,
            lambda heard: (
                evolve(heard, said=compared.said, history=compared.history, since=compared.since)
                if heard.said is before.said and heard.history == before.history
                else heard_now(heard, said)
            ),
        )

    async def _compared(self, said: Remembered, before: Heard) -> Heard:
        if len(said.files or ()) <= FEW:
            return heard_now(before, said)
        return await self.world.thinking(heard_now, before, said)

    def _note(self, name: ProjectName, before: Remembered | None, error: Failure) -> None:
        now = self.world.now()
        self._failed = {other: failure for other, failure in self._failed.items() if now < failure[0] + PAUSE}
        self._failed[name] = (now, error)
        if before is not None:
            since = f"{before.asked:%Y-%m-%d %H:%M:%S} UTC"
            _log.warn(
                "upstream cannot be asked for {name}, what it said at {since} is served: {error}",
                name=name,
                since=since,
                error=error,
            )


def _known(heard: Heard, *, failure: PypidError | None, reachable: bool = True) -> Theirs:
    return Theirs(
        said=heard.said,
        kept=heard.kept,
        reachable=reachable and failure is None,
        serial=heard.serial,
        failure=failure,
        history=heard.history,
        since=heard.since,
    )
