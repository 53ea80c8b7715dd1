"""Search of an index with several layers. Each layer has its own cards, and a project is found in
the layer that shows it, so a base of a hundred indexes is indexed only once. A query is sent to
each layer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from heapq import merge
from itertools import islice
from math import inf

from attrs import define, field, frozen

from pypid.core.errors import NotYetKnown
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release
from pypid.core.search.ranking import Card, FoundProject, SearchQuery, SearchResults, rank
from pypid.core.summaries import Summaries
from pypid.core.visibility import EVERYTHING, Visibility
from pypid.index import Index
from pypid.index.stored_view import stored_project
from pypid.search.search import FARTHEST, MOST, Search, Shown

PROMPTLY = 1.0
"""Maximum number of seconds that a search waits for the cards of a named index."""


@define(eq=False)
class LayeredSearch:
    """The search of one index. Raises what `Search` raises.

    `names` returns the projects of the index, as `Index.stored_names`; `layers` the searches of
    its layers, each once, in the order of precedence. `current` returns a result as the index shows
    it now: an index may have stricter rules than the layer.
    """

    names: Callable[[], Awaitable[Summaries]]
    layers: Callable[[], Sequence[Search]]
    current: Callable[[FoundProject, Visibility], Awaitable[FoundProject]]

    async def find(
        self, query: SearchQuery, by: Visibility, *, most: int = 20, skip: int = 0, place: str = ""
    ) -> SearchResults:
        """Return at most `most` matching projects, the best first; see `Search.find`."""
        most, skip = min(most, MOST), min(skip, FARTHEST)
        results = [
            await search.find(query, by, most=skip + most, place=place, shown=shown)
            async for search, shown in self._shown(by)
        ]
        found = _merged(query, [each.found for each in results])
        return SearchResults(
            found=tuple(
                [await self.current(each, by) for each in islice(found, skip, skip + most)]
            ),
            total=sum(each.total for each in results),
            unread=sum(each.unread for each in results),
        )

    async def updated(self, by: Visibility, most: int = 100) -> Sequence[ProjectName]:
        """Return the projects of each layer with the newest files, at most `most` of each layer."""
        return [
            name
            async for search, shown in self._shown(by)
            for name in await search.updated(by, most, shown)
        ]

    async def created(self, by: Visibility, most: int = 40) -> Sequence[ProjectName]:
        """Return the newest projects of each layer, by their first upload, at most `most` of each
        layer.
        """
        return [
            name
            async for search, shown in self._shown(by)
            for name in await search.created(by, most, shown)
        ]

    async def _shown(self, by: Visibility) -> AsyncIterator[tuple[Search, Shown]]:
        """Yield the search of each layer, and which of its projects the index shows the viewer."""
        names, before = await self.names(), tuple[SearchedLayer, ...]()
        for search in self.layers():
            own = await search.index.own_stored_names()
            layer = SearchedLayer(own, dict(by.bases).get(search.index.name, EVERYTHING))
            yield search, shown_by(names, layer, before)
            before = (*before, layer)


@define(eq=False)
class IndexSearches:
    """The searches of all indexes of one process, each made at its first use. `searching` returns
    that of the default index; None: it is made in memory.
    """

    searching: Callable[[], Search] | None = None
    _own: dict[str, Search] = field(factory=dict, init=False, repr=False)
    """The searches of single indexes and upstreams, without their layers."""

    def of(self, index: Index) -> Search | LayeredSearch:
        """Return the search of the index."""
        if not index.name:
            return self._own_search(index)
        return LayeredSearch(
            index.stored_names,
            lambda: [self._own_search(each) for each in index.providers()],
            partial(_as_shown, index),
        )

    def _own_search(self, index: Index) -> Search:
        if not index.name and self.searching is not None:
            return self.searching()
        made = self._own.get(index.name)
        if made is None or made.index is not index:
            for name in [*self._own]:
                if name == index.name or not index.has_member(name):
                    self._own.pop(name).close()
            within = PROMPTLY if index.name else inf
            made = self._own[index.name] = Search(index, promptly=True, within=within)
        return made


async def _as_shown(index: Index, found: FoundProject, by: Visibility) -> FoundProject:
    """Return the result with the newest release that the index shows the viewer. The index may hide
    later releases of a layer.
    """
    with suppress(NotYetKnown):
        project = await stored_project(index, found.name, by)
        version = None if project is None else choose_release(project)
        if version != (found.version or None):
            return FoundProject(
                name=found.name, version=version or "", ours=found.ours, updated=found.updated
            )
    return found


@frozen(eq=False)
class SearchedLayer:
    """The projects of a layer, and which of them the viewer may read there."""

    names: Summaries
    by: Visibility = EVERYTHING

    def find(self, name: ProjectName) -> Summary | None:
        """Return the project, if the viewer may read it."""
        return self.names.find(name) if self.by.sees(name) else None


def shown_by(names: Summaries, layer: SearchedLayer, before: Sequence[SearchedLayer]) -> Shown:
    """Return whether a project of `names` is shown by this layer, and by none `before` it.

    Two layers never have the same serial, unless they have the same project of the same table. A
    project that the viewer may not read in one layer is shown by the next layer that has it, if the
    index merges it; otherwise `Search` does not show it.
    """

    def is_shown(text: str) -> bool:
        name = ProjectName(text)
        shown, own = names.find(name), layer.find(name)
        if shown is None or own is None:
            return False
        others = [found for each in before if (found := each.find(name)) is not None]
        if shown.serial != own.serial:
            return not others and any(_has(each, name, shown.serial) for each in before)
        return all(other.serial != own.serial for other in others)

    return is_shown


def _has(layer: SearchedLayer, name: ProjectName, serial: int) -> bool:
    found = layer.names.find(name)
    return found is not None and found.serial == serial


def _merged(query: SearchQuery, found: Iterable[Sequence[FoundProject]]) -> Iterable[FoundProject]:
    def key(each: FoundProject) -> tuple[object, ...]:
        card = Card(name=each.name, summary=each.summary, keywords=each.keywords, ours=each.ours)
        age = 0.0 if each.updated is None else -each.updated.timestamp()
        return rank(query, card), not each.ours, age

    return merge(*found, key=key)
