"""The lists of projects, computed once per change rather than per request; a change costs only what
it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from operator import is_
from typing import Any

from attrs import define, field, frozen

from pypid.core.lru import Recent
from pypid.core.model import Presence, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, is_listed, may_show_upstream
from pypid.core.summaries import Merger, Run, Sieve, Summaries, in_runs, name_of, only
from pypid.flow import World
from pypid.flow.derived import Derived, SameObjects
from pypid.index.context import NamesElsewhere
from pypid.ports import Catalog

FEW = 4096
"""Largest number of names processed on the reactor thread: it takes a few milliseconds."""

_NO_NAMES = frozenset[ProjectName]()


@frozen(eq=False)
class _Rules:
    """The rules by which a list of all stored projects was made, with its memoized state."""

    basis: tuple[object, ...]
    stored: Merger
    cached: Merger


@define(eq=False)
class Names:
    """The project lists of one index."""

    catalog: Catalog
    policy: Policy
    world: World = field(repr=False)
    names_elsewhere: NamesElsewhere | None = field(default=None, repr=False)
    """The local names of the other indexes: upstream projects with these names are not listed."""
    _lists: Derived[str, Summaries] = field(init=False, repr=False)
    _listed: Sieve = field(factory=lambda: Sieve(_listed), init=False, repr=False)
    _rules: _Rules | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._lists = Derived("project_lists", self.world, Recent(3, 3))

    async def listed(self) -> Summaries:
        """Return the listed local projects, by name."""
        return await self._made_of("listed", (await self.catalog.local.summaries(),), self._list)

    async def stored(self) -> Summaries:
        """Return the listed local projects and the upstream projects with cached files that no rule
        hides, by name.
        """
        kept = await self.catalog.upstream.summaries()
        if not kept:
            return await self.listed()
        return await self._made_of("stored", await self._basis(kept), self._store)

    async def held_local(self) -> Summaries:
        """Return all local projects by name, including unlisted ones."""
        return in_runs(await self.catalog.local.summaries())

    async def held_cached(self) -> Summaries:
        """Return the upstream projects of `stored`, by name."""
        kept = await self.catalog.upstream.summaries()
        if not kept:
            return Summaries()
        return await self._made_of("cached", await self._basis(kept), self._cache)

    async def _basis(self, kept: Sequence[Summary]) -> tuple[Any, ...]:
        """Return what the list of upstream projects is made of: local and upstream projects, the
        presence of a name that is not local, the names that are local elsewhere, the policy's
        current claims, and the names in quarantine.
        """
        return (
            await self.catalog.local.summaries(),
            kept,
            Presence.ABSENT if self.catalog.was_complete else Presence.UNKNOWN,
            _NO_NAMES if self.names_elsewhere is None else await self.names_elsewhere.names(),
            self.policy.claims.names,
            self.policy.restrictions.current.unlisted,
        )

    async def _made_of(
        self, what: str, basis: tuple[Any, ...], make: Callable[..., Summaries]
    ) -> Summaries:
        length = sum(len(names) for names in basis if isinstance(names, Sequence))
        # the catalog returns the same objects until something changes
        return await self._lists.compute(
            what, SameObjects(basis), lambda: make(*basis), costly=length > FEW
        )

    def _list(self, ours: Sequence[Summary]) -> Summaries:
        return self._listed.of(in_runs(ours))

    def _store(self, ours: Sequence[Summary], kept: Sequence[Summary], *basis: Any) -> Summaries:
        """Return the list of stored projects. `basis`: the rest of `_basis`."""
        return self._rules_by(basis).stored.of(in_runs(ours), in_runs(kept))

    def _cache(self, ours: Sequence[Summary], kept: Sequence[Summary], *basis: Any) -> Summaries:
        return self._rules_by(basis).cached.of(in_runs(ours), in_runs(kept))

    def _rules_by(self, basis: tuple[Any, ...]) -> _Rules:
        rules = self._rules
        if rules is None or not all(map(is_, rules.basis, basis)):
            by = self.policy, *basis[:2]
            mergers = Merger(partial(_stored, *by)), Merger(partial(_cached, *by))
            rules = self._rules = _Rules(basis, *mergers)
        return rules


def _listed(run: Run) -> Run:
    return only(run, is_listed)


def _stored(
    policy: Policy, presence: Presence, elsewhere: AbstractSet[ProjectName], ours: Run, kept: Run
) -> Run:
    cached = _cached(policy, presence, elsewhere, ours, kept)
    # including unlisted ones: their upstream files are not shown either
    held = set(map(name_of, ours))
    shown = [summary for summary in cached if summary.name not in held]
    listed = _listed(ours)
    return tuple(sorted((*listed, *shown), key=name_of)) if shown else listed


def _cached(
    policy: Policy, presence: Presence, elsewhere: AbstractSet[ProjectName], ours: Run, kept: Run
) -> Run:
    held, unlisted = set(map(name_of, ours)), policy.restrictions.current.unlisted

    def is_shown(summary: Summary) -> bool:
        name = summary.name
        if not is_listed(summary) or name in unlisted:
            return False
        is_local = name in held or name in elsewhere
        return may_show_upstream(policy, name, Presence.ELSEWHERE if is_local else presence)

    return only(kept, is_shown)
