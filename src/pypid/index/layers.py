"""The layers of an index: the places where it looks up projects that it does not have itself.

The first layer that has the project provides it. A layer that cannot tell whether it has the
project ends the search with its error: unknown is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import Factory, define, evolve, field, frozen

from pypid.core.caches import Recent
from pypid.core.cooldown import Cooldown
from pypid.core.errors import Forbidden, ListIncomplete, NoSuchProject, NotYetKnown, Unauthenticated
from pypid.core.indexes import (
    DEFAULT,
    IndexSettings,
    blocks_of,
    cooled,
    inherits,
    merges,
    mixed,
    mixes,
    unblocked,
)
from pypid.core.model import Project, Summary, any_attested
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.permissions import EVERYTHING, Visibility
from pypid.core.policy import PUBLIC, UpstreamChoice, is_listed
from pypid.core.records.history import had_begun
from pypid.core.simple_api.listed_files import weight_of
from pypid.core.summaries import Merger, Run, Sieve, Summaries, name_of, only
from pypid.flow.derived import Derived, SameObjects
from pypid.index.context import IndexContext
from pypid.index.views import (
    ALL_FILES,
    FEW,
    FEW_NAMES,
    LOCAL_FILES,
    UPSTREAM_FILES,
    Lookup,
    Names,
    TimedView,
    UpstreamPermission,
    View,
    ViewSources,
)

MOST_VIEWS = 64
"""Maximum number of cached views that an index changes by rules of its own."""
HEAVIEST = 4 << 20
"""Their maximum weight, as `weight_of` counts it."""


class LayeredIndex(Protocol):
    """What this module needs of an `Index`."""

    context: IndexContext
    choice: UpstreamChoice

    @property
    def settings(self) -> IndexSettings | None:
        """The settings of a named index."""

    async def own_view(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project in this index alone."""

    async def seen(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project in the index and its layers."""

    def asked_upstreams(
        self, name: ProjectName, choice: UpstreamChoice | None = None
    ) -> Sequence[LayeredIndex]:
        """Return the indexes whose upstreams are asked for the project (`Layers.upstreams_of`)."""


Found = TypeVar("Found", covariant=True)


class IndexesByName(Protocol[Found]):
    """All indexes and upstreams of one pypid, by name."""

    def find(self, name: str) -> Found | None:
        """Return the index, or the upstream, of this name; empty: the default index."""

    @property
    def settings(self) -> Mapping[str, IndexSettings]:
        """The settings of all named indexes. Replaced as a whole."""

    @property
    def only(self) -> Mapping[str, tuple[str, ...]]:
        """The names and globs of each `[upstream:NAME]`."""


@frozen
class Layer:
    """A place where an index looks a project up: one of its bases (`is_base`) with the layers of
    that base, whose rights apply; or only the upstream of an index.
    """

    index: LayeredIndex
    is_base: bool


@define(eq=False)
class Layers:
    """The layers of one index."""

    index: LayeredIndex
    indexes: IndexesByName[LayeredIndex]
    _views: Derived[ProjectName, TimedView] = field(
        default=Factory(
            lambda self: Derived(
                "layered_views",
                self.index.context.world,
                Recent(MOST_VIEWS, HEAVIEST),
                weigh=lambda changed: weight_of(changed.view.project.files),
                until=lambda changed: changed.until,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    """Views without the files that the cooldown and the blocks of the index hide."""

    def of(self, name: ProjectName, choice: UpstreamChoice | None = None) -> Iterator[Layer]:
        """Yield the layers where a project is looked up, after the index itself. `choice`: the
        upstreams of an index whose base this one is; they replace the own ones. Raises
        `NotYetKnown` for a base that does not exist.
        """
        settings = self.index.settings
        if settings is None:
            yield from self._upstreams(name, choice or self.index.choice)
            return
        for base in settings.bases:
            found = self.indexes.find("" if base in (DEFAULT, PUBLIC) else base)
            if found is None:
                raise NotYetKnown(name, of=self.index.context.name, missing=base)
            if base == PUBLIC:
                yield from self._upstreams(name, self._choice(choice) or found.choice)
            else:
                yield Layer(found, is_base=True)

    def upstreams_of(
        self, name: ProjectName, choice: UpstreamChoice | None = None
    ) -> Iterator[LayeredIndex]:
        """Yield the indexes whose upstreams are asked for a project that no index has, also those
        of the bases, in order. `choice`: as for `of`. Raises `NotYetKnown`.
        """
        settings = self.index.settings
        if settings is None or inherits(settings, name):
            for layer in self.of(name, choice):
                if layer.is_base:
                    yield from layer.index.asked_upstreams(name, self._choice(choice))
                else:
                    yield layer.index

    def _upstreams(self, name: ProjectName, choice: UpstreamChoice) -> Iterator[Layer]:
        for upstream in choice.upstreams_of(name):
            found = self.indexes.find("" if upstream == PUBLIC else upstream)
            if found is None:
                raise NotYetKnown(name, of=self.index.context.name or DEFAULT, missing=upstream)
            yield Layer(found, is_base=False)

    def _choice(self, choice: UpstreamChoice | None) -> UpstreamChoice | None:
        return chosen_upstreams(self.index.settings, choice, self.indexes.only)

    async def seen(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project. Raises what `Index.view` raises."""
        index, settings = self.index, self.index.settings
        if settings is None:
            choice = lookup.choice or index.choice
            if not (lookup.upstream and choice.upstreams_of(name) != (PUBLIC,)):
                return await index.own_view(name, permission, lookup)
        own = await self._own(name, permission) if lookup.local else None
        is_merged = settings is not None and merges(settings, name)
        is_mixed = (
            matches(name, index.context.policy.allow_mixed)
            if settings is None
            else mixes(settings, name)
        )
        if lookup.local and is_merged:
            own, is_complete = await self._merged(own, name, permission)
            is_mixed = is_mixed and is_complete and lookup.upstream
        is_own = is_merged or _is_own(own, settings, permission.before)
        if own is not None and not is_mixed and is_own:
            return own
        if is_merged:
            lookup = evolve(lookup, local=False)
        try:
            below = await self._inherited(name, permission, lookup)
        except NoSuchProject:
            if own is None:
                raise
            return own if is_own else evolve(own, is_later=True)
        return await self._mixed(own, below) if own is not None and is_mixed else below

    async def _own(self, name: ProjectName, permission: UpstreamPermission) -> ViewSources | None:
        """Return the view of the index's own local files; None if it does not have the project."""
        with suppress(NoSuchProject):
            return await self.index.own_view(name, permission, LOCAL_FILES)
        return None

    async def _merged(
        self, own: ViewSources | None, name: ProjectName, permission: UpstreamPermission
    ) -> tuple[ViewSources | None, bool]:
        """Return the view of the local files of the index and of all its bases, and whether the
        client may read all of them. Raises `NoSuchProject` if the client may read none of the bases
        that have the project.
        """
        found, hidden = own, None
        for layer in self._bases(name):
            try:
                below = await self._inherited_from(layer, name, permission, LOCAL_FILES)
            except NoSuchProject as error:
                hidden = error if error.is_hidden else hidden
                continue
            found = below if found is None else await self._mixed(found, below)
        if found is None and hidden is not None:
            raise hidden
        return found, hidden is None

    def _bases(self, name: ProjectName) -> Iterator[Layer]:
        settings = self.index.settings
        if settings is None or inherits(settings, name):
            yield from (layer for layer in self.of(name) if layer.is_base)

    async def _inherited(
        self, name: ProjectName, permission: UpstreamPermission, lookup: Lookup
    ) -> ViewSources:
        settings = self.index.settings
        if settings is not None and not inherits(settings, name):
            raise NoSuchProject(name)
        later: ViewSources | None = None
        for layer in self.of(name, lookup.choice):
            if not layer.is_base and not lookup.upstream:
                continue
            try:
                found = await self._inherited_from(layer, name, permission, lookup)
            except NoSuchProject as error:
                if error.is_hidden:
                    raise
                continue
            if not found.is_later:
                return found
            later = later or found
        if later is None:
            raise NoSuchProject(name)
        return later

    async def _inherited_from(
        self, layer: Layer, name: ProjectName, permission: UpstreamPermission, lookup: Lookup
    ) -> ViewSources:
        """Return what the index shows of the project in the layer."""
        found = await self._in(layer, name, permission, lookup)
        return await self._restricted(found)

    async def _in(
        self, layer: Layer, name: ProjectName, permission: UpstreamPermission, lookup: Lookup
    ) -> ViewSources:
        index = layer.index
        if not layer.is_base:
            return await index.own_view(name, permission, UPSTREAM_FILES)
        choice = self._choice(lookup.choice)
        below = Lookup(lookup.local, lookup.upstream, choice)
        found = await index.seen(name, permission, below)
        has_files = not index.context.name or index.context.name in (found.origin, *found.mixed_by)
        if has_files:
            try:
                permission.may_read(index.context.name, name)
            except (Forbidden, Unauthenticated):
                raise NoSuchProject(name, is_hidden=not found.is_later) from None
        return found

    async def _restricted(self, found: ViewSources) -> ViewSources:
        """Return what is inherited without the files that the index's own blocks and cooldown
        hide.
        """
        settings = self.index.settings
        if settings is None:
            return found
        view, now = found.view, self.index.context.world.now()
        cooldown = settings.cooldown or Cooldown()
        blocks = blocks_of(settings, view.project.name)
        if not blocks and not cooldown.may_hide(view.project.name):
            return found
        restricted_by = (*found.restricted_by, settings)

        def change() -> TimedView:
            project, until = cooled(unblocked(view.project, blocks), cooldown, now)
            edition = (view.edition, cooldown, blocks, until)
            attested = any_attested(project.files)
            return TimedView(View(project, edition, attested, view.waiting), until)

        changed = await self._views.compute(
            view.project.name,
            (view.edition, found.origin, cooldown, blocks),
            change,
            costly=len(view.project.files) > FEW,
            at=now,
        )
        return evolve(
            found,
            view=changed.view,
            restricted_by=restricted_by,
            until=earliest(found.until, changed.until),
        )

    async def _mixed(self, own: ViewSources, below: ViewSources) -> ViewSources:
        """Return the files of both. A local file that is withheld still takes its name."""
        taken = frozenset(file.filename for local in own.locals for file in local.files)
        make = partial(mixed, own.view.project, below.view.project, taken)
        is_costly = len(below.view.project.files) > FEW
        project = await self.index.context.world.thinking(make) if is_costly else make()
        edition = (own.view.edition, own.origin, below.view.edition, below.origin)
        view = View(project, edition, any_attested(project.files))
        mixed_by = below.mixed_by | own.mixed_by | {own.origin}
        state, both = below.upstream_state, (own, below)
        until, hidden = earliest(own.until, below.until), own.newest_hidden or below.newest_hidden
        sources = ViewSources(view, own.ours, state, below.origin, mixed_by, both, until=until)
        return evolve(sources, newest_hidden=hidden)


def chosen_upstreams(
    settings: IndexSettings | None,
    choice: UpstreamChoice | None,
    only: Mapping[str, tuple[str, ...]],
) -> UpstreamChoice | None:
    """Return the upstreams that are asked for projects of an index with these `settings`: `choice`,
    which is that of the index that the client asks, or else its own; None if neither is set.
    """
    if choice is not None or settings is None or settings.upstreams is None:
        return choice
    return UpstreamChoice.of(settings.upstreams, only)


def earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier of two times; None: never."""
    return min((time for time in (one, other) if time is not None), default=None)


def _is_own(
    own: ViewSources | None, settings: IndexSettings | None, before: datetime | None
) -> bool:
    """Return whether the index itself provides the project. As of a time before its first file in a
    named index, the bases provided it.
    """
    if settings is None or before is None or own is None or not isinstance(own.ours, Project):
        return own is not None
    return had_begun(own.ours, before)


# The project lists of an index with layers: its own projects, and those that it inherits.
#
# A list is updated when one of its parts changes, and only in the runs that changed. An index
# without projects and rules of its own returns the list objects of its base.

LISTS = 8
"""Maximum number of lists of one index that are cached."""
STEPS = 256
"""Maximum number of steps whose last result is cached, in all lists of one index."""

_NO_NAMES = frozenset[ProjectName]()


@frozen(eq=False)
class LayerProjects:
    """Projects of one index or upstream that no earlier layer has, except those that an index
    merges. `guard` is the index in which a user needs the right to read them, in addition to the
    index of the list; None: no other right is needed.
    """

    guard: str | None
    names: Summaries
    is_local: bool = True


@frozen(eq=False)
class HeldProjects:
    """All projects that an index has, including unlisted ones, such as quarantined projects: they
    hide projects of bases.
    """

    layers: tuple[LayerProjects, ...]
    """In the order of precedence."""
    local: Summaries
    stored: Summaries
    """The projects in `local`, and upstream projects with cached files."""


class ListedIndex(LayeredIndex, Protocol):
    """What this module needs of an `Index`."""

    own_lists: Names
    lists: LayeredLists


def _derived(name: str, most: int) -> Any:
    """Return the default of a field: at most so many lists of one index."""
    return Factory(
        lambda self: Derived(name, self.index.context.world, Recent(most, most)), takes_self=True
    )


@define(eq=False)
class LayeredLists:
    """The lists of one index."""

    index: ListedIndex
    indexes: IndexesByName[ListedIndex]
    _held: Derived[Hashable, HeldProjects] = field(
        default=_derived("held_projects", LISTS), init=False, repr=False
    )
    _names_elsewhere: Derived[str, frozenset[ProjectName]] = field(
        default=_derived("names_elsewhere", 1), init=False, repr=False
    )
    _sieved: Derived[Hashable, Summaries] = field(
        default=_derived("layered_lists", LISTS), init=False, repr=False
    )
    _steps: Recent[Hashable, Any] = field(
        factory=lambda: Recent(STEPS, STEPS), init=False, repr=False
    )
    """The steps that make the parts of lists, each with its last result."""

    async def local(self) -> Summaries:
        """Return the listed local projects of the index and of its bases."""
        return await self._only("local", (await self.held()).local, is_listed)

    async def stored(self) -> Summaries:
        """Return the projects of `local`, and the upstream projects with cached files."""
        return await self._only("stored", (await self.held()).stored, is_listed)

    async def names_elsewhere(self) -> frozenset[ProjectName]:
        """Return the names of local projects that other indexes have, and this one does not."""
        default = self._find("").own_lists
        private = (
            _NO_NAMES if default.names_elsewhere is None else await default.names_elsewhere.names()
        )
        ours = await default.held_local()
        if not self.index.context.name and not private:
            return _NO_NAMES
        held = (await self.held()).local if self.index.context.name else ours
        return await self._names_elsewhere.compute(
            "",
            SameObjects((private, ours, held)),
            lambda: private.union(map(name_of, ours)).difference(map(name_of, held)),
            costly=len(private) + len(ours) > FEW_NAMES,
        )

    def providers(self) -> Iterator[ListedIndex]:
        """Yield the index, and the indexes and upstreams whose projects it may show, in the order
        of precedence; some more than once. Raises `ListIncomplete` for one that is not there.
        """
        yield self.index
        settings = self.index.settings
        choice = self.index.choice if settings is None else self._choice(None)
        for base in () if settings is None else settings.bases:
            yield from self._find("" if base == PUBLIC else base).lists.providers()
        for upstream in () if choice is None else choice.named:
            yield self._find(upstream)

    async def held(self, choice: UpstreamChoice | None = None) -> HeldProjects:
        """Return the projects of the index and its layers. `choice`: the upstreams of an index
        whose base this is; they replace the own ones. Raises `ListIncomplete`.
        """
        own = LayerProjects(self.index.context.name, await self.index.own_lists.held_local())
        settings, bases = self.index.settings, list[Sequence[LayerProjects]]()
        if settings is None:
            bases.append(await self._cached(choice or self.index.choice, self.index.context.name))
        else:
            choice = self._choice(choice)
            for base in settings.bases:
                if base == PUBLIC:
                    default = self._find("")
                    bases.append(await default.lists._cached(choice or default.choice, None))
                    continue
                inherited = await self._find(base).lists.held(choice)
                if not own.names and len(settings.bases) == 1 and not settings.is_filtered:
                    return inherited
                bases.append(inherited.layers)
        what = None if choice is None else choice.names
        names = [layer.names for layers in ([own], *bases) for layer in layers]
        make = partial(self._merged, what, own, bases, settings)
        is_costly = sum(map(len, names)) > FEW_NAMES
        return await self._held.compute(
            what, SameObjects((settings, *names)), make, costly=is_costly
        )

    async def _cached(self, choice: UpstreamChoice, guard: str | None) -> list[LayerProjects]:
        """Return the projects with cached files of each chosen upstream."""
        found = []
        for name in choice.names:
            index = self._find("" if name == PUBLIC else name)
            names = await index.own_lists.held_cached()
            if names and choice.named:
                shows = partial(_is_chosen, choice, name)
                names = await self._only((choice.names, name), names, shows)
            found.append(LayerProjects(guard, names, is_local=False))
        return found

    def _find(self, name: str) -> ListedIndex:
        found = self.indexes.find("" if name == DEFAULT else name)
        if found is None:
            raise ListIncomplete()
        return found

    def _choice(self, choice: UpstreamChoice | None) -> UpstreamChoice | None:
        return chosen_upstreams(self.index.settings, choice, self.indexes.only)

    async def _only(
        self, what: Hashable, names: Summaries, stays: Callable[[Summary], bool]
    ) -> Summaries:
        sieve = self._sieve(what, stays)
        return await self._sieved.compute(
            what, SameObjects((names,)), lambda: sieve.of(names), costly=len(names) > FEW_NAMES
        )

    def _merged(
        self,
        what: Hashable,
        own: LayerProjects,
        bases: Sequence[Sequence[LayerProjects]],
        settings: IndexSettings | None,
    ) -> HeldProjects:
        """Return the projects of the index and of the `bases`. The first that has a project
        provides it.
        """
        found, fresh = own.names, [own]
        for number, layers in enumerate(bases):
            before = found
            for place, layer in enumerate(layers):
                step, names = (what, number, place), layer.names
                if settings is not None and settings.is_filtered:
                    names = self._sieve(
                        (step, settings), lambda summary: inherits(settings, summary.name)
                    ).of(names)
                if before and names:
                    is_new = partial(_new, settings if layer.is_local else None, own.names)
                    names = self._merger((step, settings, "new"), is_new).of(before, names)
                found = self._both((step, "stored"), found, names)
                fresh.append(evolve(layer, names=names))
        local = found
        if not all(layer.is_local for layer in fresh if layer.names):
            local = Summaries()
            for number, layer in enumerate(fresh):
                if layer.is_local:
                    local = self._both((what, number, "local"), local, layer.names)
        return HeldProjects(tuple(layer for layer in fresh if layer.names), local, found)

    def _sieve(self, what: Hashable, stays: Callable[[Summary], bool]) -> Sieve:
        sieve: Sieve = self._steps.get(what) or Sieve(partial(only, stays=stays))
        self._steps.put(what, sieve)
        return sieve

    def _both(self, what: Hashable, one: Summaries, other: Summaries) -> Summaries:
        return self._merger(what, _joined).of(one, other) if one and other else one or other

    def _merger(self, what: Hashable, merge: Callable[[Run, Run], Run]) -> Merger:
        merger: Merger = self._steps.get(what) or Merger(merge)
        self._steps.put(what, merger)
        return merger


def _new(settings: IndexSettings | None, own: Summaries, before: Run, names: Run) -> Run:
    """Return the projects that are not in `before`, and those that the index merges (`settings`),
    since a user may be able to read them in one layer only.
    """
    held = set(map(name_of, before))
    if not held:
        return names

    def is_new(summary: Summary) -> bool:
        name = summary.name
        if name not in held:
            return True
        return settings is not None and merges(settings, name) and not own.has(name)

    return only(names, is_new)


def _joined(one: Run, other: Run) -> Run:
    held = set(map(name_of, one))
    new = [summary for summary in other if summary.name not in held]
    if not one:
        return other
    return tuple(sorted((*one, *new), key=name_of)) if new else one


def _is_chosen(choice: UpstreamChoice, upstream: str, summary: Summary) -> bool:
    return upstream in choice.upstreams_of(summary.name)


def as_readable(names: Summaries, layers: Sequence[LayerProjects], by: Visibility) -> Summaries:
    """Return the list with each project as in the first of the `layers` in which the viewer may
    read it, like its page: the serial of another layer would disclose changes there.
    """
    viewers, readable = dict(by.bases), dict[ProjectName, Summary]()
    for place, layer in enumerate(layers):
        seen = EVERYTHING if layer.guard is None else viewers.get(layer.guard, EVERYTHING)
        for summary in () if seen.sees_all else layer.names:
            name = summary.name
            if seen.sees(name) or names.find(name) != summary:
                continue
            for other in layers[place + 1 :]:
                found = other.names.find(name)
                guard = viewers.get(other.guard or "", EVERYTHING)
                if found is not None and (other.guard is None or guard.sees(name)):
                    readable[name] = found
                    break
    if not readable:
        return names
    return Summaries(
        tuple(tuple(readable.get(each.name, each) for each in run) for run in names.runs)
    )
