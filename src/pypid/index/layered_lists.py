"""The project lists of an index with layers: its own projects, and those that it inherits.

A list is updated when one of its parts changes, and only in the runs that changed. An index without
projects and rules of its own returns the list objects of its base.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import define, evolve, field, frozen

from pypid.core.errors import ListIncomplete
from pypid.core.indexes import DEFAULT, IndexSettings
from pypid.core.layering import inherits, merges
from pypid.core.lru import Recent
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import is_listed
from pypid.core.summaries import Merger, Run, Sieve, Summaries, name_of, only
from pypid.core.upstream_choice import PUBLIC, UpstreamChoice
from pypid.core.visibility import EVERYTHING, Visibility
from pypid.flow.derived import Derived, SameObjects
from pypid.index.context import IndexContext
from pypid.index.layers import IndexesByName, LayeredIndex, chosen_upstreams
from pypid.index.project_lists import FEW, Names

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

    context: IndexContext
    own_lists: Names
    lists: LayeredLists


@define(eq=False)
class LayeredLists:
    """The lists of one index."""

    index: ListedIndex
    indexes: IndexesByName[ListedIndex]
    _held: Derived[Hashable, HeldProjects] = field(init=False, repr=False)
    _names_elsewhere: Derived[str, frozenset[ProjectName]] = field(init=False, repr=False)
    _sieved: Derived[Hashable, Summaries] = field(init=False, repr=False)
    _steps: Recent[Hashable, Any] = field(
        factory=lambda: Recent(STEPS, STEPS), init=False, repr=False
    )
    """The steps that make the parts of lists, each with its last result."""

    def __attrs_post_init__(self) -> None:
        self._held = Derived("held_projects", self.index.world, Recent(LISTS, LISTS))
        self._names_elsewhere = Derived("names_elsewhere", self.index.world, Recent(1, 1))
        self._sieved = Derived("layered_lists", self.index.world, Recent(LISTS, LISTS))

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
        if not self.index.name and not private:
            return _NO_NAMES
        held = (await self.held()).local if self.index.name else ours
        return await self._names_elsewhere.compute(
            "",
            SameObjects((private, ours, held)),
            lambda: private.union(map(name_of, ours)).difference(map(name_of, held)),
            costly=len(private) + len(ours) > FEW,
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
        own = LayerProjects(self.index.name, await self.index.own_lists.held_local())
        settings, bases = self.index.settings, list[Sequence[LayerProjects]]()
        if settings is None:
            bases.append(await self._cached(choice or self.index.choice, self.index.name))
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
        is_costly = sum(map(len, names)) > FEW
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
            what, SameObjects((names,)), lambda: sieve.of(names), costly=len(names) > FEW
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
                    stays = partial(_is_inherited, settings)
                    names = self._sieve((step, settings), stays).of(names)
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


def _is_inherited(settings: IndexSettings, summary: Summary) -> bool:
    return inherits(settings, summary.name)


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
