"""The lists of projects, put together once for each change and not for each request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter, is_
from typing import Any

from attrs import define, field, frozen

from pypid.core.model import Presence, Summary
from pypid.core.names import ProjectName
from pypid.core.policy import Policy, is_listed, may_show_theirs
from pypid.flow import Blocking, Flights
from pypid.ports import Catalog

FEW = 4096
"""Names that are put together in the reactor thread: in a few milliseconds."""

_by_name = attrgetter("name")


@frozen
class _Made:
    basis: tuple[object, ...]
    """What it was made of; the catalog gives the same objects until something changes."""
    names: Sequence[Summary]


@define(eq=False)
class Names:
    """The lists of one index. `thinking` is for long ones (`World.thinking`)."""

    catalog: Catalog
    policy: Policy
    thinking: Blocking = field(repr=False)
    _made: dict[str, _Made] = field(factory=dict, init=False, repr=False)
    _flights: Flights[tuple[str | int, ...], Sequence[Summary]] = field(factory=Flights, init=False, repr=False)

    async def listed(self) -> Sequence[Summary]:
        """Ours, by name, without those that are not listed."""
        return await self._made_of("listed", (await self.catalog.names(),), _listed)

    async def stored(self) -> Sequence[Summary]:
        """The same, with the projects of theirs of which files are kept, and which no rule hides."""
        ours, kept, complete = (
            await self.catalog.names(),
            await self.catalog.their_summaries(),
            await self.catalog.is_complete(),
        )
        presence = Presence.ABSENT if complete else Presence.UNKNOWN
        basis = (ours, kept, presence, self.policy.claims.names)
        return await self._made_of("stored", basis, partial(_stored, self.policy))

    async def _made_of(self, what: str, basis: tuple[Any, ...], make: Callable[..., Sequence[Summary]]) -> Sequence[Summary]:
        made = self._made.get(what)
        if made is not None and all(map(is_, made.basis, basis)):
            return made.names

        async def job() -> Sequence[Summary]:
            return await self.thinking(make, *basis)

        if sum(len(names) for names in basis if isinstance(names, Sequence)) <= FEW:
            names = make(*basis)
        else:
            names = await self._flights.single((what, *map(id, basis)), job)  # `job` holds on to what has these ids
        self._made[what] = _Made(basis, names)
        return names


def _listed(ours: Sequence[Summary]) -> Sequence[Summary]:
    return ours if all(map(is_listed, ours)) else tuple(filter(is_listed, ours))


def _stored(
    policy: Policy, ours: Sequence[Summary], kept: Sequence[Summary], presence: Presence, claimed: frozenset[ProjectName]
) -> Sequence[Summary]:
    """`presence` is what is known of a name that is not among `ours`; `claimed` are the policy's claims of now."""
    held = set(map(_by_name, ours))  # also those that are not listed: then no files of theirs are shown either
    shown = [
        summary
        for summary in kept
        if summary.name not in held and is_listed(summary) and may_show_theirs(policy, summary.name, presence)
    ]
    listed = _listed(ours)
    return tuple(sorted((*listed, *shown), key=_by_name)) if shown else listed
