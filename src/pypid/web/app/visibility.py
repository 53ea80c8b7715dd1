"""The visibility of projects on lists, computed once for each user and change of the rules, not for
each request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, evolve, field

from pypid.core.lru import Recent
from pypid.core.model import Summary
from pypid.core.permissions import Identity, Rules, Visibility, visibility_of
from pypid.core.summaries import Run, Sieve, Summaries
from pypid.flow import World
from pypid.flow.derived import Derived

MANY = 2000
"""Number of projects with their own rules that are processed in the reactor thread: in a
millisecond or two.
"""
PEOPLE = 1000
"""Maximum number of identities in the cache."""
NAMES = 1_000_000
"""Maximum number of names in the cache in total."""
CACHED_NAMES = 4_000_000
"""Maximum number of names in the lists whose filtered runs are cached; 8 bytes for each, where
anything is hidden near it.
"""


@define(eq=False)
class VisibilityCache:
    """The visibility of each identity, for one state of the rules."""

    world: World
    _rules: Rules | None = field(default=None, init=False)
    _edition: int = field(default=0, init=False)
    """The number of these rules: comparing rules takes long."""
    _known: Derived[Identity, Visibility] = field(init=False, repr=False)
    _same: dict[Visibility, Visibility] = field(factory=dict, init=False)
    """Makes identities with equal visibility share one object: comparing two takes long."""

    def __attrs_post_init__(self) -> None:
        self._known = Derived(
            "visibility",
            self.world,
            Recent(PEOPLE, NAMES),
            weigh=lambda found: 1 + len(found.others),
        )

    async def of(self, rules: Rules, who: Identity) -> Visibility:
        """Return what the identity sees by these rules."""
        if rules is not self._rules:
            self._rules, self._edition, self._same = rules, self._edition + 1, {}
        whose = evolve(who, token=None) if who.scope is not None else who

        async def make() -> Visibility:
            is_long = len(rules.projects) > MANY
            found = (
                await self.world.thinking(visibility_of, rules, whose)
                if is_long
                else visibility_of(rules, whose)
            )
            if rules is not self._rules:
                return found
            if len(self._same) > len(self._known.memory):  # of people that are no longer cached
                self._same.clear()
            return self._same.setdefault(found, found)

        return await self._known.get(whose, self._edition, make)


@define(eq=False)
class Lists:
    """One list as each viewer sees it: for unchanged runs of the list, the visible part is
    cached.
    """

    _sieves: Recent[Visibility, Sieve] = field(
        factory=lambda: Recent(PEOPLE, CACHED_NAMES), init=False, repr=False
    )

    def sieve(self, by: Visibility, names: Summaries) -> Callable[[Summaries], Summaries]:
        """Return the function that reduces the list, of about so many `names`, to the visible ones;
        any thread may call it.
        """
        if by.sees_all:
            return _all
        sieve = self._sieves.get(by) or Sieve(partial(_run_seen, by))
        self._sieves.put(by, sieve, 1 + len(names))
        return sieve.of


def _all(names: Summaries) -> Summaries:
    return names


def _run_seen(by: Visibility, run: Run) -> Run:
    found = tuple(seen(run, by))
    return run if len(found) == len(run) else found


def seen(names: Sequence[Summary], by: Visibility) -> Sequence[Summary]:
    """Return the visible projects of a list; the same object if nothing is hidden."""
    if by.sees_all:
        return names
    if by.within is None:
        return tuple([summary for summary in names if (summary.name in by.others) != by.usual])
    return tuple([summary for summary in names if by.sees(summary.name)])
