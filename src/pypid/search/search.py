"""Search queries: what fits, what was uploaded last, and what is new; each only of what the viewer
may see now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import DeferredSemaphore

from pypid.core.errors import Busy
from pypid.core.packaging.names import ProjectName
from pypid.core.search.ranking import FoundProject, SearchQuery, SearchResults
from pypid.core.summaries import Summaries, differing
from pypid.core.visibility import Visibility
from pypid.flow import start
from pypid.flow.single_flight import Flights
from pypid.index import Index
from pypid.search.follower import SearchFollower
from pypid.search.fts_index import READERS, IndexOutdated, SearchIndex
from pypid.search.reader import Reader, SearchViewer

T = TypeVar("T")

FILE = "search.sqlite"
"""The file below the state folder."""
MOST = 100
"""Projects on a page of results."""
FARTHEST = 10_000
"""Results that can be paged to."""
WAITING = 64
"""Queries that wait for their turn; more are refused, as a typing user has gone on meanwhile."""
FROM_A_PLACE = WAITING // 2
"""Queries from one place that have no answer yet: one client must not take all the turns, from the
first page, too.
"""
PROMPTLY = 1.0
"""Maximum number of seconds that a search waits for the cards of a named index."""
MARGIN = 20
"""So many more are looked up than are wanted, since some may have just been removed."""


@define(eq=False)
class Search:
    """The search index of one process. `promptly`: it is updated before each answer, and not in the
    background.

    Every query raises `Busy` where too many ask, and what `Index.stored_names` raises.
    """

    index: Index
    folder: Path | None = None
    """The folder of the cards; None: in memory."""
    identity: str = ""
    """The identity of the storage."""
    promptly: bool = False
    within: float = inf
    """Maximum number of seconds that `catch_up` takes; the next call continues."""
    following: SearchFollower = field(init=False, repr=False)
    _search_index: SearchIndex = field(init=False, repr=False)
    _turns: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(READERS), init=False, repr=False
    )
    _catching_up: Flights[None, None] = field(factory=Flights, init=False, repr=False)
    _from: Counter[str] = field(factory=Counter, init=False, repr=False)
    """Queries without an answer yet, by place."""
    _between: tuple[Summaries, Summaries, frozenset[ProjectName]] | None = field(
        default=None, init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self._search_index = SearchIndex(
            None if self.folder is None else self.folder / FILE, self.identity
        )
        self.following = SearchFollower(self.index, self._search_index)

    async def find(
        self,
        query: SearchQuery,
        by: Visibility,
        *,
        most: int = 20,
        skip: int = 0,
        place: str = "",
    ) -> SearchResults:
        """Return at most `most` (`MOST`) projects that fit, the best first, after the first `skip`
        (`FARTHEST`).

        `place`: the network of the client (`core.accounts.client_networks`); "" is everywhere.
        """
        if not place:
            return await self._find(query, by, most, skip)
        if self._from[place] >= FROM_A_PLACE:
            raise Busy("Too many search from where you are, at this moment.", 1)
        self._from[place] += 1
        try:
            return await self._find(query, by, most, skip)
        finally:
            self._from[place] -= 1
            if not self._from[place]:
                del self._from[place]

    async def _find(
        self, query: SearchQuery, by: Visibility, most: int, skip: int
    ) -> SearchResults:
        most, skip = min(most, MOST), min(skip, FARTHEST)
        names, eyes = await self._look(by)

        def ask(reader: Reader) -> tuple[Sequence[FoundProject], int, int, int | None]:
            found, total = reader.find(query, eyes, most, skip)
            return found, total, reader.unread(eyes), reader.filed(eyes)

        nothing: tuple[Sequence[FoundProject], int, int, int | None] = ((), 0, 0, 0)
        found, total, unread, filed = await self._ask(ask, nothing)
        if filed is not None:  # nothing is known of the others, not even a name
            unread += max(0, await self._count(names, eyes) - filed)
        there = tuple(each for each in found if names.has(each.name))
        return SearchResults(found=there, total=total - (len(found) - len(there)), unread=unread)

    async def updated(self, by: Visibility, most: int = 100) -> Sequence[ProjectName]:
        """Return the projects of which a file was uploaded last, the newest first."""
        return await self._newest("updated", by, most)

    async def created(self, by: Visibility, most: int = 40) -> Sequence[ProjectName]:
        """Return the projects whose first file was uploaded last, the newest first."""
        return await self._newest("created", by, most)

    async def _newest(self, which: str, by: Visibility, most: int) -> Sequence[ProjectName]:
        names, eyes = await self._look(by)
        none: Sequence[ProjectName] = ()
        found = await self._ask(lambda reader: reader.newest(which, eyes, most + MARGIN), none)
        return [name for name in found if names.has(name)][:most]

    async def catch_up(self) -> None:
        """Index until every known project has a card, for at most `within` seconds."""
        await self._catching_up.single(None, self._catch_up)

    async def _catch_up(self) -> None:
        clock = self.index.world.clock
        until = clock.seconds() + self.within
        while await self.following.look() and clock.seconds() < until:
            pass

    def close(self) -> None:
        """Close the index; blocks."""
        self._search_index.close()

    async def _look(self, by: Visibility) -> tuple[Summaries, SearchViewer]:
        """Return all current projects, and the viewer: projects removed meanwhile count nowhere."""
        if self.promptly:
            await self.catch_up()
        names = await self.index.own_stored_names()
        known = self.following.known.names
        if self._between is None or self._between[0] is not known or self._between[1] is not names:
            self._between = known, names, frozenset(differing(known, names)[1])
        return names, SearchViewer(by, self._between[2] | self.following.going)

    async def _ask(self, ask: Callable[[Reader], T], nothing: T) -> T:
        """Return the result of a query, run in its turn in a thread; `nothing` where there are no
        cards yet.
        """
        if len(self._turns.waiting) >= WAITING:
            raise Busy("Too many search at this moment.", 1)
        return await self._turns.run(lambda: start(self._in_thread(ask, nothing)))

    async def _in_thread(self, ask: Callable[[Reader], T], nothing: T) -> T:
        def read() -> T:
            with self._search_index.reading() as reader:
                return ask(reader)

        try:
            return await self.index.world.blocking(read)
        except IndexOutdated:
            return nothing

    async def _count(self, names: Summaries, eyes: SearchViewer) -> int:
        if eyes.see_all:
            return len(names)
        return await self.index.world.thinking(
            lambda: sum(eyes.sees(summary.name) for summary in names)
        )


@define(eq=False)
class IndexSearches:
    """The searches of all indexes of one process, each made at its first use. An index finds its
    own projects, and none that it inherits. `searching` returns the search of the default index;
    None: it is made in memory.
    """

    searching: Callable[[], Search] | None = None
    _made: dict[str, Search] = field(factory=dict, init=False, repr=False)

    def of(self, index: Index) -> Search:
        """Return the search of the index."""
        if not index.name and self.searching is not None:
            return self.searching()
        made = self._made.get(index.name)
        if made is None or made.index is not index:
            for name in [*self._made]:
                if name == index.name or not index.has_member(name):
                    self._made.pop(name).close()
            within = PROMPTLY if index.name else inf
            made = self._made[index.name] = Search(index, promptly=True, within=within)
        return made
