"""The views of projects, computed once per change rather than per request, and what a request may
cause at the upstream indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from operator import is_
from typing import Any

from attrs import Factory, define, evolve, field, frozen

from pypid.core.caches import BudgetedCache, MemoryBudget, Recent
from pypid.core.errors import PypidError
from pypid.core.indexes import DEFAULT, IndexSettings, absolute
from pypid.core.model import Presence, Project, Summary, any_attested
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import (
    PUBLIC,
    HiddenVersion,
    Policy,
    UpstreamChoice,
    UpstreamState,
    changes_at,
    files_looked_at,
    is_listed,
    may_show_upstream,
    newest_hidden,
    page_of_waiting,
    view,
    waits,
)
from pypid.core.simple_api.listed_files import weight_of
from pypid.core.summaries import Merger, Run, Sieve, Summaries, in_runs, name_of, only
from pypid.flow import World
from pypid.flow.derived import Derived, SameObjects
from pypid.index.context import NamesElsewhere
from pypid.ports import Catalog


def may_read_all(index: str, project: ProjectName) -> None:
    """Let the project be read in the index: `UpstreamPermission.may_read` of internal requests."""


@frozen
class UpstreamPermission:
    """What a request may cause upstream, and which part of the index it is for.

    `via`: the pypid instances that the request has passed through (``Via``). `refusal`: the error
    to raise if an upstream request would be necessary and this user may not cause one
    (`[access] cache_update`); stored files are still served. `local`: only stored files are
    requested, and there are no upstream requests (``/local/``). `before`: the index is requested as
    it was before this time (``/at/``).
    """

    via: tuple[str, ...] = ()
    refusal: PypidError | None = None
    local: bool = False
    known: bool = False
    """With `local`: files of the last upstream listing are shown, too, as for a client that may
    fetch them.
    """
    before: datetime | None = None
    spend: Callable[[], None] | None = field(default=None, eq=False, repr=False)
    """Deducts one name that was never looked up upstream from the client's budget, or raises
    `Busy`; None: there is no limit.
    """

    may_read: Callable[[str, ProjectName], None] = field(kw_only=True, eq=False, repr=False)
    """Called with the name of the index (empty: the default one) in which an inherited project is
    found; raises `Forbidden` or `Unauthenticated` if the client may not read it there. Then the
    project does not exist for this client.
    """

    @property
    def may_reach_out(self) -> bool:
        """Whether there may be upstream requests on behalf of this request."""
        return self.refusal is None and not self.local


DIRECT = UpstreamPermission(may_read=may_read_all)
"""The permission of internal requests, without restrictions."""
STORED = evolve(DIRECT, local=True)
"""The permission of internal requests for stored files alone: upstream is not asked."""


@frozen
class Lookup:
    """Which files of a project are looked up: local ones, upstream ones, or both. `choice`: the
    upstreams of the index whose base is looked at; they replace those of the base.
    """

    local: bool = True
    upstream: bool = True
    choice: UpstreamChoice | None = None


ALL_FILES = Lookup()
LOCAL_FILES = Lookup(upstream=False)
UPSTREAM_FILES = Lookup(local=False)


LIMIT = 256
"""Maximum number of cached views of local projects; the least recently used are dropped first."""
MOST_OWN = 20_000
"""Maximum number of files in the cached views of local projects alone, which are quickly made
again.
"""
FEW = 1000
"""Largest number of files judged on the reactor thread: it takes some 3 milliseconds."""


_Key = tuple[ProjectName, bool, bool]
"""The project, whether upstream can be asked, whether only stored files are shown."""


@frozen
class View:
    """What a client may see of a project. `edition` identifies this view among the project's views:
    another edition, another page.
    """

    project: Project
    edition: Hashable
    attested: bool
    """Whether any of its files has a provenance object here."""
    waiting: Project | None = None
    """What the project page for installers lists while the project waits for approval; no file of
    it is served. None: it does not wait.
    """
    newest_hidden: HiddenVersion | None = None
    """The newest version of the upstream, if it is hidden."""


@frozen
class ViewSources:
    """A view, and what it was made from."""

    view: View
    ours: Project | Presence
    upstream_state: UpstreamState | None
    origin: str = ""
    """The name of the index or upstream that has the project; empty for the default index."""
    mixed_by: frozenset[str] = frozenset()
    """The names of further indexes that have files of it (`allow_mixed`, `merge`)."""
    mixed_from: tuple[ViewSources, ...] = ()
    """The two views that `view` combines; files of the first one take precedence."""
    restricted_by: tuple[IndexSettings, ...] = ()
    """The named indexes whose blocks and cooldown apply to the inherited files."""
    until: datetime | None = None
    """When the cooldown of one of `restricted_by` changes the view."""
    newest_hidden: HiddenVersion | None = None
    """The newest version of the upstream, if it is hidden."""
    is_later: bool = False
    """Whether the index got its first file after the requested time: the next index that has the
    project provided it then.
    """

    @property
    def single_views(self) -> Sequence[ViewSources]:
        """The views of single indexes that it combines, in order of precedence."""
        return (
            [leaf for mixed in self.mixed_from for leaf in mixed.single_views]
            if self.mixed_from
            else [self]
        )

    @property
    def locals(self) -> Sequence[Project]:
        """The local projects of its files, including files that are withheld."""
        return [leaf.ours for leaf in self.single_views if isinstance(leaf.ours, Project)]

    @property
    def provider(self) -> str:
        """The name of the index or upstream that has the project, as in `bases` and `upstreams`."""
        return self.origin or (DEFAULT if isinstance(self.ours, Project) else PUBLIC)


@frozen
class TimedView:
    """A view, and when it changes by itself."""

    view: View
    until: datetime | None


class Views:
    """The most recently used views of one policy. `memory` bounds those of upstream projects;
    `prefix` begins the keys of their files in the whole storage.
    """

    def __init__(
        self, policy: Policy, world: World, memory: MemoryBudget | None = None, prefix: str = ""
    ) -> None:
        self._policy = policy
        self._prefix = prefix
        self._views: Derived[_Key, TimedView] = Derived(
            "views",
            world,
            BudgetedCache(memory or MemoryBudget()),
            # a view shares most of its files with the catalog
            weigh=lambda timed: weight_of(timed.view.project.files) // 2,
            until=lambda timed: timed.until,
        )
        self._own: Derived[ProjectName, View] = Derived(
            "local_views",
            world,
            Recent(LIMIT, MOST_OWN),
            weigh=lambda view: 1 + len(view.project.files),
        )

    async def of(
        self,
        name: ProjectName,
        ours: Project | Presence,
        upstream_state: UpstreamState | None,
        now: datetime,
        generation: str = "",
    ) -> View:
        """Return the view of the local and the upstream project (`policy.view`), in this
        `Catalog.generation` or a later one.
        """
        # read before the view is made, which may be of later restrictions
        restricted = self._policy.restrictions.current.edition(name)
        serial = ours.serial if isinstance(ours, Project) else 0
        basis = generation, serial or ours, restricted
        if upstream_state is None:
            return await self._own.compute(
                name,
                basis,
                lambda: _viewed(view(self._policy, ours, None, now, name), basis, self._prefix),
                costly=False,
            )
        edition = (*basis, upstream_state.serial)
        timed = await self._views.compute(
            (name, upstream_state.reachable, upstream_state.stored_only),
            edition,
            lambda: _see(self._policy, ours, upstream_state, now, name, edition, self._prefix),
            costly=files_looked_at(self._policy, ours, upstream_state, now, name) > FEW,
            at=now,
        )
        return timed.view

    def until(self, name: ProjectName, *, reachable: bool) -> tuple[datetime | None] | None:
        """Return when the latest view changes by itself, in a tuple; None if it is no longer
        cached.
        """
        timed = self._views.latest((name, reachable, not reachable))
        return None if timed is None else (timed.until,)


def _see(
    policy: Policy,
    ours: Project | Presence,
    upstream_state: UpstreamState,
    now: datetime,
    name: ProjectName,
    basis: Hashable,
    prefix: str,
) -> TimedView:
    until = changes_at(policy, upstream_state, name, now)
    edition = basis, upstream_state.reachable, upstream_state.stored_only, until
    shown = view(policy, ours, upstream_state, now, name)
    found = _viewed(shown, edition, prefix)
    if waits(policy, ours, upstream_state, name):
        page = page_of_waiting(policy, ours, upstream_state, now, name)
        found = evolve(found, waiting=page)
    else:
        hidden = newest_hidden(policy, shown, upstream_state, now, name)
        found = evolve(found, newest_hidden=hidden)
    return TimedView(found, until)


def _viewed(project: Project, edition: Hashable, prefix: str) -> View:
    whole = absolute(project, prefix) if prefix else project
    return View(whole, edition, any_attested(whole.files))


# The lists of projects, computed once per change rather than per request; a change costs only what
# it changed.

FEW_NAMES = 4096
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
    _lists: Derived[str, Summaries] = field(
        default=Factory(
            lambda self: Derived("project_lists", self.world, Recent(3, 3)), takes_self=True
        ),
        init=False,
        repr=False,
    )
    _listed: Sieve = field(factory=lambda: Sieve(_listed), init=False, repr=False)
    _rules: _Rules | None = field(default=None, init=False, repr=False)

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
            what, SameObjects(basis), lambda: make(*basis), costly=length > FEW_NAMES
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
