"""The lists of projects, computed once per change rather than per request; a change costs only what
it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any

from attrs import define, field, frozen

from pypid.core.lru import Recent
from pypid.core.model import Presence, Summary
from pypid.core.policy import Policy, is_listed, may_show_upstream
from pypid.core.summaries import Merger, Run, Sieve, Summaries, in_runs, name_of, only
from pypid.flow import World
from pypid.flow.derived import Derived, SameObjects
from pypid.ports import Catalog

FEW = 4096
"""Largest number of names processed on the reactor thread: it takes a few milliseconds."""


@frozen(eq=False)
class _Rules:
    """The rules by which a list of all stored projects was made, with its memoized state."""

    basis: tuple[object, ...]
    merger: Merger


@define(eq=False)
class Names:
    """The project lists of one index."""

    catalog: Catalog
    policy: Policy
    world: World = field(repr=False)
    _lists: Derived[str, Summaries] = field(init=False, repr=False)
    _listed: Sieve = field(factory=lambda: Sieve(_listed), init=False, repr=False)
    _rules: _Rules | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._lists = Derived("project_lists", self.world, Recent(2, 2))

    async def listed(self) -> Summaries:
        """Return the listed local projects, by name."""
        return await self._made_of("listed", (await self.catalog.local.summaries(),), self._list)

    async def stored(self) -> Summaries:
        """Return the listed local projects and the upstream projects with cached files that no rule
        hides, by name.
        """
        ours, kept, complete = (
            await self.catalog.local.summaries(),
            await self.catalog.upstream.summaries(),
            self.catalog.was_complete,
        )
        if not kept:
            return await self.listed()
        presence = Presence.ABSENT if complete else Presence.UNKNOWN
        return await self._made_of(
            "stored",
            (
                *(ours, kept, presence, self.policy.claims.names),
                self.policy.restrictions.current.unlisted,
            ),
            self._store,
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
        """Return the list of stored projects. `basis`: the presence of a name that is not among
        `ours`, the policy's current claims, and the names in quarantine.
        """
        rules = self._rules
        if rules is None or not all(map(is_, rules.basis, basis)):
            rules = self._rules = _Rules(basis, Merger(partial(_stored, self.policy, basis[0])))
        return rules.merger.of(in_runs(ours), in_runs(kept))


def _listed(run: Run) -> Run:
    return only(run, is_listed)


def _stored(policy: Policy, presence: Presence, ours: Run, kept: Run) -> Run:
    held = set(
        map(name_of, ours)
    )  # including unlisted ones: their upstream files are not shown either
    shown = [
        summary
        for summary in kept
        if summary.name not in held
        and is_listed(summary)
        and summary.name not in policy.restrictions.current.unlisted
        and may_show_upstream(policy, summary.name, presence)
    ]
    listed = _listed(ours)
    return tuple(sorted((*listed, *shown), key=name_of)) if shown else listed
