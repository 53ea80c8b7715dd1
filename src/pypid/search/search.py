"""Search: its queries, and the follower that keeps its cards in step with the index.

Search queries: what fits, what was uploaded last, and what is new; each only of what the viewer
may see now.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from itertools import islice
from math import inf
from pathlib import Path
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import DeferredSemaphore, gatherResults
from twisted.logger import Logger

from pypid.core.errors import Busy, NotYetKnown, PypidError, StorageDown
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Visibility
from pypid.core.restrictions import Restrictions
from pypid.core.search import FoundProject, SearchQuery, SearchResults
from pypid.core.summaries import Summaries, differing, in_runs
from pypid.flow import start
from pypid.flow.derived import Flights
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.stored_view import own_stored_view
from pypid.index.views import STORED
from pypid.search.fts_index import (
    READERS,
    CardSource,
    Filed,
    IndexOutdated,
    Reader,
    SearchIndex,
    SearchViewer,
    differing_cards,
    filed_all,
    hash_of,
    mark_of,
    with_metadata,
)

# Upstream projects that are indexed once they have stopped changing.

QUIET, LATEST = 3.0, 30.0
"""Seconds after the last change, and after the first one, when the projects are due: an
installation through the proxy changes a hundred of them, each several times, and no client waits
for its card.
"""


@define(eq=False)
class Postponed:
    """The projects that wait. Times are in seconds of the monotonic clock."""

    names: dict[ProjectName, None] = field(factory=dict, init=False)
    _since: float = field(default=0.0, init=False)
    _due: float = field(default=0.0, init=False)

    def add(self, names: Collection[ProjectName], now: float) -> None:
        """Add projects that changed now."""
        if names:
            self._since = self._since if self.names else now
            self.names.update(dict.fromkeys(names))
            self._due = min(now + QUIET, self._since + LATEST)

    def take(self, now: float) -> dict[ProjectName, None]:
        """Return the projects that are due, and remove them from those that wait."""
        if now < self._due:
            return {}
        due, self.names = self.names, {}
        return due


# Keeps the cards in step with the index: first changes, then projects without a card, then unread
# metadata.

_log = Logger()

BATCH, READ = 256, 32
"""Projects that are indexed, or whose metadata is read, in one step."""
AT_ONCE = 4
"""Metadata files that are read concurrently."""
LONG, SHORT = 0.5, 0.15
"""Seconds after which a look ends: while there are projects to index, and while only metadata is
read, for which no client waits.
"""
ELSEWHERE = 2.0
"""Seconds between two attempts to become the writing process."""
PAUSE = 15.0
"""Seconds between two attempts while the storage, or the disk with the cards, fails."""


@frozen(eq=False)
class CatalogView:
    """The lists at one time; unchanged runs are the same objects as before."""

    names: Summaries = Summaries()
    local: Summaries = Summaries()
    upstream: Summaries = Summaries()


@define(eq=False)
class SearchFollower:
    """The follower of one index, which writes one `SearchIndex`. Call `look` a few times a second,
    never twice at once.
    """

    index: Index
    search_index: SearchIndex
    known: CatalogView = field(factory=CatalogView, init=False, repr=False)
    """The last view. A card that is not in it is among `_todo`, or removed with the next step."""
    _edition: Hashable = field(default=None, init=False, repr=False)
    _generation: str = field(default="", init=False)
    _rules: str = field(default="", init=False)
    """A digest of the visibility rules: when it differs, all is indexed again."""
    _restrictions: Restrictions = field(factory=Restrictions, init=False, repr=False)
    """Those that the cards obey."""
    _begun: bool = field(default=False, init=False)
    _urgent: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    _todo: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    _later: Postponed = field(factory=Postponed, init=False, repr=False)
    """Projects of which only the upstream half changed."""
    _gone: set[ProjectName] = field(factory=set, init=False, repr=False)
    _is_whole: bool = field(default=False, init=False)
    _all_read: bool = field(default=False, init=False)
    _not_before: float = field(default=0.0, init=False)
    """The time before which a retry, or becoming the writer, is not worthwhile."""
    _read_from: float = field(default=0.0, init=False)
    """The time before which reading metadata again is not worthwhile."""
    _failing: bool = field(default=False, init=False)

    @property
    def going(self) -> frozenset[ProjectName]:
        """The removed projects that may still have a card."""
        return frozenset(self._gone)

    async def look(self, *, patient: bool = False) -> bool:
        """Do pending work, for `LONG` at most; return whether some is left. Raises unexpected
        errors only.

        A `patient` look leaves out upstream projects that may still be changing (`Postponed`).
        """
        clock = self.index.context.world.clock
        begun = clock.seconds()
        if begun < self._not_before or not self.index.lists_are_complete:
            return False
        try:
            if not await self._may_write():
                self._not_before = begun + ELSEWHERE
                return False
            now = self.index.context.world.now().timestamp()
            due = await self.index.context.world.blocking(self.search_index.due, now)
            self._urgent.update(dict.fromkeys(due))  # changed with time
            while await self._step(patient):
                if clock.seconds() - begun > (LONG if self._urgent or self._todo else SHORT):
                    return True
        except (PypidError, OSError, sqlite3.Error, IndexOutdated) as error:
            await self._failed(error)
        else:
            self._failing = False
        return False

    async def _failed(self, error: Exception) -> None:
        """Log a failure once. Damaged cards are removed; the next look makes new ones."""
        if not self._failing:
            _log.warn(
                "the search index cannot be updated: {error}. pypid tries again.",
                error=error,
            )
        self._failing, self._begun = True, False
        self._not_before = self.index.context.world.clock.seconds() + PAUSE
        if isinstance(error, sqlite3.DatabaseError):
            await self.index.context.world.blocking(self.search_index.discard)

    async def _may_write(self) -> bool:
        was = self.search_index.opened
        if not await self.index.context.world.blocking(self.search_index.claim):
            return False
        if not self._begun or was is not self.search_index.opened:
            await self._begin()
        return True

    async def _begin(self) -> None:
        """Find out which projects have a card, and which of these are outdated."""
        world = self.index.context.world
        self._urgent.clear()
        self._later = Postponed()
        self._edition, self._generation = await self.index.edition(), self.index.catalog.generation
        self._obey()
        look = await self._look()
        held = await world.blocking(self.search_index.held)
        self._todo, self._gone = await world.thinking(
            differing_cards, held, (look.names, look.local, look.upstream), self._rules
        )
        self.known, self._begun, self._is_whole, self._all_read = look, True, False, False

    def _obey(self) -> None:
        """Make cards by the restrictions in force from now on."""
        policy = self.index.context.policy
        self._restrictions = policy.restrictions.current
        digests = sorted(self._restrictions.digests)
        self._rules = hash_of((self._generation, repr(policy), *digests))

    def _restricted(self, look: CatalogView) -> None:
        """Queue the projects whose restrictions have changed since the last look."""
        changed = self.index.context.policy.restrictions.current.changed_names(self._restrictions)
        if changed is None:
            self._todo.update((summary.name, None) for summary in look.names)
        else:
            self._urgent.update((name, None) for name in changed if look.names.has(name))
        if changed is None or changed:
            self._obey()

    async def _look(self) -> CatalogView:
        catalog = self.index.catalog
        local, upstream = (
            in_runs(await catalog.local.summaries()),
            in_runs(await catalog.upstream.summaries()),
        )
        return CatalogView(await self.index.own_stored_names(), local, upstream)

    async def _step(self, patient: bool) -> bool:
        """Do the next step; return whether there may be another one."""
        await self._compare()
        self._urgent.update(
            self._later.take(self.index.context.world.clock.seconds() if patient else inf)
        )
        if self._gone or self._urgent:
            await self._file([*islice(self._urgent, BATCH)], at_once=True)
        elif self._todo:
            await self._file([*islice(self._todo, BATCH)])
        elif not self._is_whole:
            await self.index.context.world.blocking(self.search_index.is_whole)
            self._is_whole = True
        else:
            return await self._read()
        return True

    async def _compare(self) -> None:
        """Find what has changed since the last look."""
        edition = await self.index.edition()
        if self.index.catalog.generation != self._generation:
            await self._begin()
        elif edition != self._edition:
            look = await self._look()
            changed, only_upstream, gone = self._changes(look)
            self._edition, self.known = edition, look
            self._restricted(look)
            self._urgent.update(dict.fromkeys(changed))
            self._later.add(only_upstream, self.index.context.world.clock.seconds())
            self._gone |= gone
            for name in gone:
                for waiting in (self._urgent, self._later.names, self._todo):
                    waiting.pop(name, None)
            self._gone -= changed | only_upstream

    def _changes(
        self, look: CatalogView
    ) -> tuple[set[ProjectName], set[ProjectName], set[ProjectName]]:
        """Return the changed projects, those of which only the upstream half changed, and those
        that are gone.
        """
        known = self.known
        changed, gone = differing(known.names, look.names)
        # of a project that is local and upstream the list shows one half only
        local = differing(known.local, look.local)[0]
        upstream = differing(known.upstream, look.upstream)[0]
        changed |= {name for name in local | upstream if look.names.has(name)}
        only_upstream = {name for name in changed & upstream if name not in local}
        return changed - only_upstream, only_upstream, gone

    # --- filing ---

    async def _file(self, names: Sequence[ProjectName], *, at_once: bool = False) -> None:
        """Index these again, and remove what is gone; `at_once`: with their metadata, if that is
        quickly read.
        """
        world, gone = self.index.context.world, sorted(self._gone)
        seen = await self._seen(names)
        known = await world.blocking(self.search_index.descriptions, names)
        cards: Sequence[Filed] = await world.thinking(filed_all, seen, known)
        if at_once and len(cards) <= READ:
            cards = await self._described(seen, cards)
        there = {each.project.name for each in seen}
        await world.blocking(
            self.search_index.put, cards, [*gone, *(name for name in names if name not in there)]
        )
        self._gone.difference_update(gone)
        for name in names:
            self._urgent.pop(name, None)
            self._todo.pop(name, None)
        self._all_read = self._all_read and not any(card.unread for card in cards)

    async def _seen(self, names: Iterable[ProjectName]) -> list[CardSource]:
        """Return the visible state of these projects, if they exist."""
        pace, found = Pace(self.index.context.world), []
        for name in names:
            seen = await self._seen_of(name) if self.known.names.has(name) else None
            if seen is not None:
                found.append(seen)
            await pace.keep()
        return found

    async def _seen_of(self, name: ProjectName) -> CardSource | None:
        try:
            found = await own_stored_view(self.index, name, verified=False)
        except NotYetKnown:
            return None
        if found is None:
            return None
        mark = mark_of(self._rules, *found.serials)
        if self._restrictions.of(name) is not None:  # another process may have others
            mark += " restricted"
        return CardSource(found.project, found.is_local, mark, found.until)

    # --- reading metadata ---

    async def _read(self) -> bool:
        """Read some of the unread metadata; return whether there may be more."""
        world = self.index.context.world
        if self._all_read or world.clock.seconds() < self._read_from:
            return False
        names = await world.blocking(self.search_index.unread, READ)
        if not names:
            self._all_read = True
            return False
        seen = await self._seen(names)
        known = await world.blocking(self.search_index.descriptions, names)
        cards = await self._described(seen, await world.thinking(filed_all, seen, known))
        there = {card.name for card in cards}
        await world.blocking(
            self.search_index.put, cards, [name for name in names if name not in there]
        )
        if any(card.unread for card in cards):  # the storage is unavailable
            self._read_from = world.clock.seconds() + PAUSE
            return False
        return True

    async def _described(
        self, seen: Sequence[CardSource], cards: Sequence[Filed]
    ) -> Sequence[Filed]:
        """Return the cards with their unread metadata; unchanged where it cannot be read now."""
        files = [card.unread for card in cards if card.unread is not None]
        read: dict[ProjectName, bytes] = {}
        for number in range(0, len(files), AT_ONCE):
            some = files[number : number + AT_ONCE]
            found = await gatherResults(
                [start(self._metadata(file)) for file in some], consumeErrors=True
            )
            read.update(
                (file.project, data)
                for file, data in zip(some, found, strict=True)
                if data is not None
            )
        return (
            await self.index.context.world.thinking(with_metadata, seen, cards, read)
            if read
            else cards
        )

    async def _metadata(self, file: File) -> bytes | None:
        """Return the stored metadata; b"" if it is missing though listed; None if it is unavailable
        now.
        """
        try:
            return await self.index.reader.metadata(file, STORED)
        except (StorageDown, Busy):
            return None
        except PypidError as error:
            _log.debug(
                "the metadata of {filename} cannot be read: {error}",
                filename=file.filename,
                error=error,
            )
            return b""


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

        `place`: the network of the client (`core.accounts.sessions`); "" is everywhere.
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
        clock = self.index.context.world.clock
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
            return await self.index.context.world.blocking(read)
        except IndexOutdated:
            return nothing

    async def _count(self, names: Summaries, eyes: SearchViewer) -> int:
        if eyes.see_all:
            return len(names)
        return await self.index.context.world.thinking(
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
