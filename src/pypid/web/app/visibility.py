"""The visibility of projects on lists, computed once for each user and change of the rules, not for
each request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial

from attrs import define, evolve, field, frozen

from pypid.core.caches import Recent
from pypid.core.errors import NotYetKnown
from pypid.core.indexes import DEFAULT, IndexSettings, bases_of, rules_of
from pypid.core.model import Project, RenderedPage, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import (
    EVERYONE,
    EVERYTHING,
    Identity,
    Rules,
    Visibility,
    visibility_of,
    without,
)
from pypid.core.summaries import Run, Sieve, Summaries
from pypid.flow import World
from pypid.flow.derived import Derived, SameObjects, Signal
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.layers import LayerProjects, as_readable
from pypid.index.named_indexes import Indexes
from pypid.index.stored_view import stored_project
from pypid.index.views import FEW_NAMES
from pypid.web.http.responses import FinishedPage

# The access rules of the named indexes. They are computed from those of the default index once for
# each change.


class NoNamedIndexes:
    """The named indexes of an app that has none."""

    settings: Mapping[str, IndexSettings] = {}
    changed: Signal[[]] = Signal()

    def get(self, name: str) -> Index | None:
        """Return None."""
        return None

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str]:
        """Return no index."""
        return frozenset()


@frozen(eq=False)
class IndexRules:
    """The rules of one index, and the values from which they were computed."""

    settings: IndexSettings
    default: Rules
    rules: Rules


@define(eq=False)
class IndexAccess:
    """The access rules of each index. The argument `default` is always the rules of the default
    index.
    """

    indexes: Indexes | NoNamedIndexes
    _made: dict[str, IndexRules] = field(factory=dict, init=False, repr=False)
    _settings: Mapping[str, IndexSettings] = field(factory=dict, init=False, repr=False)
    _mixed: dict[str, Collection[str]] = field(factory=dict, init=False, repr=False)
    """The results of `mixed_bases` for these settings."""

    def rules(self, name: str, default: Rules) -> Rules:
        """Return the rules of the index; those of the default index for any other name (`default`,
        `public`).
        """
        settings = self.indexes.settings.get(name)
        if settings is None:
            self._made.pop(name, None)
            return default
        made = self._made.get(name)
        if made is None or made.settings is not settings or made.default is not default:
            rules = rules_of(default, settings)
            made = self._made[name] = IndexRules(settings, default, rules)
        return made.rules

    def mixed_bases(self, name: str) -> Collection[str]:
        """Return the bases of the index (empty: the default index) whose files may be on one page
        with those of another index.
        """
        settings = self.indexes.settings
        if settings is not self._settings:
            self._settings, self._mixed = settings, {}
        if name not in self._mixed:
            bases = self.bases(name)
            together = [settings[each] for each in (name, *bases) if each in settings]
            is_mixed = any(each.merge or each.allow_mixed for each in together)
            self._mixed[name] = bases if is_mixed else ()
        return self._mixed[name]

    def bases(self, name: str) -> tuple[str, ...]:
        """Return the bases of the index, and their bases, as far as they have local projects (empty
        name: the default index).
        """
        settings = self.indexes.settings
        found = bases_of(name, settings).intersection((*settings, DEFAULT))
        return tuple("" if each == DEFAULT else each for each in sorted(found))

    def may_all_read_bases(self, name: str) -> bool:
        """Return whether no base of the index sets `read` to less than everyone."""
        settings = self.indexes.settings
        bases = bases_of(name, settings).intersection(settings)
        return all(settings[base].read in (None, EVERYONE) for base in bases)


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
            weigh=lambda found: 1 + len(found.others) + len(found.shown or ()),
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
class LayerVisibility:
    """The visibility of viewers in one named index: they see a project that it inherits only if
    they may read it in the index that has it, too.
    """

    index: Index
    access: IndexAccess
    world: World
    _caches: dict[str, VisibilityCache] = field(factory=dict, init=False, repr=False)
    """The visibility of viewers in each index whose rights apply."""
    _made: Derived[Hashable, Visibility] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._made = Derived(
            "layer_visibility",
            self.world,
            Recent(PEOPLE, NAMES),
            weigh=lambda found: 1 + len(found.others),
        )

    async def of(self, by: Visibility, who: Identity, default: Rules) -> Visibility:
        """Return the part of `by` that the user may read by the rights in all layers. `default`:
        the rules of the default index.
        """
        layers = await self.index.layer_projects()  # none for the default index
        by = await self._listed(by, layers, who, default)
        return await self._with_bases(by, self.access.mixed_bases(self.index.name), who, default)

    async def in_bases(self, by: Visibility, who: Identity, default: Rules) -> Visibility:
        """Return `by` with what the user may read in each base of the index."""
        return await self._with_bases(by, self.access.bases(self.index.name), who, default)

    async def _with_bases(
        self, by: Visibility, bases: Collection[str], who: Identity, default: Rules
    ) -> Visibility:
        seen = [(base, await self._viewer(base, who, default)) for base in bases]
        hiding = tuple(each for each in seen if not each[1].sees_all)
        return evolve(by, bases=hiding) if hiding else by

    async def _listed(
        self, by: Visibility, layers: Sequence[LayerProjects], who: Identity, default: Rules
    ) -> Visibility:
        viewers = [await self._viewer(layer.guard, who, default) for layer in layers]
        if all(seen.sees_all for seen in viewers):
            return by
        return await self._made.compute(
            (by, *viewers),
            SameObjects(layer.names for layer in layers),
            lambda: without(by, _hidden(by, layers, viewers)),
            costly=sum(len(layer.names) for layer in layers) > FEW_NAMES,
        )

    async def without_other_indexes(self, by: Visibility) -> Visibility:
        """Return `by` without the local projects that other indexes have and this one does not
        have.
        """
        names = await self.index.lists.names_elsewhere()
        if not names:
            return by
        return await self._made.compute(
            ("without", by),
            SameObjects((names,)),
            lambda: without(by, names),
            costly=len(names) > FEW_NAMES,
        )

    async def _viewer(self, guard: str | None, who: Identity, default: Rules) -> Visibility:
        """Return the visibility of the user in another index whose rights apply in addition."""
        if guard is None or guard == self.index.name:
            return EVERYTHING
        cache = self._caches.get(guard)
        if cache is None:
            cache = self._caches[guard] = VisibilityCache(self.world)
        return await cache.of(self.access.rules(guard, default), who)


def _hidden(
    by: Visibility, layers: Sequence[LayerProjects], viewers: Sequence[Visibility]
) -> frozenset[ProjectName]:
    """Return the projects that the viewer may read in no layer that has them."""
    hidden = {
        summary.name
        for layer, seen in zip(layers, viewers, strict=True)
        if not (seen.sees_all or seen == by)
        for summary in layer.names
        if not seen.sees(summary.name)
    }
    shown = (
        name
        for name in hidden
        if any(
            seen.sees(name) and layer.names.has(name)
            for layer, seen in zip(layers, viewers, strict=True)
        )
    )
    return frozenset(hidden.difference(tuple(shown)))


@define(eq=False)
class Lists:
    """One list as each viewer sees it: for unchanged runs of the list, the visible part is
    cached.
    """

    _sieves: Recent[Visibility, Sieve] = field(
        factory=lambda: Recent(PEOPLE, CACHED_NAMES), init=False, repr=False
    )

    async def seen(
        self, names: Summaries, by: Visibility, world: World, layers: Sequence[LayerProjects] = ()
    ) -> Summaries:
        """Return the list as the viewer sees it (`as_readable`)."""
        if not by.sees_all:
            through = self.sieve(by, names)
            # a token of many globs has each of them tried on each name
            at_once = not by.has_patterns and len(names) <= FEW_NAMES
            names = through(names) if at_once else await world.thinking(through, names)
        return as_readable(names, layers, by)

    def sieve(self, by: Visibility, names: Summaries) -> Callable[[Summaries], Summaries]:
        """Return the function that reduces the list, of about so many `names`, to the visible ones;
        any thread may call it.
        """
        if by.sees_all:
            return lambda names: names
        sieve = self._sieves.get(by) or Sieve(partial(_run_seen, by))
        self._sieves.put(by, sieve, 1 + len(names))
        return sieve.of


def _run_seen(by: Visibility, run: Run) -> Run:
    found = tuple(seen(run, by))
    return run if len(found) == len(run) else found


def seen(names: Sequence[Summary], by: Visibility) -> Sequence[Summary]:
    """Return the visible projects of a list; the same object if nothing is hidden."""
    if by.sees_all:
        return names
    if not by.has_patterns:
        return tuple([summary for summary in names if (summary.name in by.others) != by.usual])
    return tuple([summary for summary in names if by.sees(summary.name)])


# All stored projects that a viewer sees, with their files, gathered once for each change.
#
# For the answers about every file (``/packages/``, a search), so that such a request costs no more
# than others.

FEW_STORED = 256
"""Most projects and files that are rendered in the reactor thread: in some milliseconds."""
SEERS = 16
"""Most viewers who see different things and whose projects are cached; the least recently used are
evicted first.
"""
LIMIT = 64 << 20
"""Most bytes of cached pages, in total."""

Render = Callable[[Sequence[Project]], RenderedPage]


class StoredProjects:
    """The stored projects of one index."""

    def __init__(self, index: Index, world: World) -> None:
        self._index = index
        self._world = world
        self._projects: Derived[Visibility, tuple[Project, ...]] = Derived(
            "stored_projects", world, Recent(SEERS, SEERS)
        )
        self._pages: Derived[Hashable, FinishedPage] = Derived(
            "stored_projects_pages",
            world,
            Recent(SEERS, LIMIT),
            weigh=lambda finished: finished.weight,
        )

    async def projects(self, by: Visibility) -> tuple[Project, ...]:
        """Return the projects that `by` sees, by name, each with its visible stored files; none
        without any.

        Upstream is not asked. Raises `StorageDown`.
        """
        edition = await self._index.edition()
        return await self._projects.get(by, edition, lambda: self._gathered(by))

    async def page(self, what: Hashable, by: Visibility, render: Render) -> FinishedPage:
        """Return the page that `render` makes of the projects, cached under `what`."""

        async def make() -> FinishedPage:
            projects = await self.projects(by)
            many = len(projects) + sum(len(project.files) for project in projects) > FEW_STORED
            page = await self._world.thinking(render, projects) if many else render(projects)
            return FinishedPage(page, self._world.blocking)

        return await self._pages.get((what, by), await self._index.edition(), make)

    async def _gathered(self, by: Visibility) -> tuple[Project, ...]:
        names = seen(await self._index.stored_names(), by)
        pace, found = Pace(self._world), []
        for summary in names:
            await pace.keep()
            with suppress(NotYetKnown):
                project = await stored_project(self._index, summary.name, by)
                if project is not None and project.files:
                    found.append(project)
        return tuple(found)
