"""Keeps the cards as the index is: what has changed first, then all that is not filed yet, then
metadata that was not read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import islice

from attrs import define, field, frozen
from twisted.internet.defer import gatherResults
from twisted.logger import Logger

from pypid.core.errors import Busy, PypidError, StorageDown
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import changes_at, may_show_theirs, view
from pypid.core.search.ranking import ProjectDescription
from pypid.core.summaries import Summaries, differing, in_runs
from pypid.flow import start
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.request_context import RequestContext
from pypid.search.cards import NOTHING, CardSource, Filed, describe, filed
from pypid.search.fts_index import IndexOutdated, SearchIndex
from pypid.search.sqlite_files import hash_of

_log = Logger()

STORED = RequestContext(local=True)
"""Nobody else is asked for anything."""
BATCH, READ = 256, 32
"""Projects that are filed, or of which the metadata is read, in one step."""
AT_ONCE = 4
"""Files of metadata that are read at the same time."""
LONG, SHORT = 0.5, 0.15
"""Seconds after which a look ends: while something is not filed, and while only metadata is read,
for which nobody waits.
"""
ELSEWHERE = 2.0
"""Seconds between two tries to become the process that writes."""
PAUSE = 15.0
"""Seconds between two tries while the storage, or the disk with the cards, fails."""


@frozen(eq=False)
class CatalogView:
    """The lists at one moment; runs that did not change are the same objects as before."""

    names: Summaries = Summaries()
    ours: Summaries = Summaries()
    theirs: Summaries = Summaries()


@define(eq=False)
class SearchFollower:
    """Of one index and one cabinet. `look` is to be called a few times a second, never twice at
    once.
    """

    index: Index
    cabinet: SearchIndex
    known: CatalogView = field(factory=CatalogView, init=False, repr=False)
    """What was seen last. Whatever is filed and not in it is among `_todo`, or is taken out with
    the next step.
    """
    _edition: Hashable = field(default=None, init=False, repr=False)
    _epoch: str = field(default="", init=False)
    _rules: str = field(default="", init=False)
    """By which something is seen: others, and all is to be filed anew."""
    _begun: bool = field(default=False, init=False)
    _urgent: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    _todo: dict[ProjectName, None] = field(factory=dict, init=False, repr=False)
    _gone: set[ProjectName] = field(factory=set, init=False, repr=False)
    _is_whole: bool = field(default=False, init=False)
    _all_read: bool = field(default=False, init=False)
    _not_before: float = field(default=0.0, init=False)
    """When it is worth while to try again what failed, or to become the one that writes."""
    _read_from: float = field(default=0.0, init=False)
    """When it is worth while to read metadata again."""
    _failing: bool = field(default=False, init=False)

    @property
    def going(self) -> frozenset[ProjectName]:
        """What has gone, and may still be filed."""
        return frozenset(self._gone)

    async def look(self) -> bool:
        """Do what there is to be done, for `LONG` at most; whether something is left. Fails only
        with what nobody expects.
        """
        clock = self.index.world.clock
        begun = clock.seconds()
        if begun < self._not_before or not self.index.lists_are_complete:
            return False
        try:
            if not await self._may_write():
                self._not_before = begun + ELSEWHERE
                return False
            await self._see_what_is_due()
            while await self._step():
                if clock.seconds() - begun > (LONG if self._urgent or self._todo else SHORT):
                    return True
        except (PypidError, OSError, sqlite3.Error, IndexOutdated) as error:
            await self._failed(error)
        else:
            self._failing = False
        return False

    async def _failed(self, error: Exception) -> None:
        """Said once. Cards that are damaged go; the next look makes new ones."""
        if not self._failing:
            _log.warn(
                "the search index cannot be kept in step now: {error}. It is tried again.",
                error=error,
            )
        self._failing, self._begun = True, False
        self._not_before = self.index.world.clock.seconds() + PAUSE
        if isinstance(error, sqlite3.DatabaseError):
            await self.index.world.blocking(self.cabinet.discard)

    async def _may_write(self) -> bool:
        was = self.cabinet.opened
        if not await self.index.world.blocking(self.cabinet.claim):
            return False
        if not self._begun or was is not self.cabinet.opened:
            await self._begin()
        return True

    async def _begin(self) -> None:
        """Find out what is filed, and what of it is not so any more."""
        world, policy = self.index.world, self.index.policy
        self._urgent.clear()
        self._edition, self._epoch = await self.index.edition(), self.index.catalog.epoch
        self._rules = hash_of((self._epoch, repr(policy)))
        look = await self._look()
        held = await world.blocking(self.cabinet.held)
        self._todo, self._gone = await world.thinking(_differing, held, look, self._rules)
        self.known, self._begun, self._is_whole, self._all_read = look, True, False, False

    async def _look(self) -> CatalogView:
        catalog = self.index.catalog
        ours, theirs = in_runs(await catalog.names()), in_runs(await catalog.their_summaries())
        return CatalogView(await self.index.stored_names(), ours, theirs)

    async def _step(self) -> bool:
        """The next thing; whether there may be another one."""
        await self._compare()
        if self._gone or self._urgent:
            await self._file(_some(self._urgent, BATCH), at_once=True)
        elif self._todo:
            await self._file(_some(self._todo, BATCH))
        elif not self._is_whole:
            await self.index.world.blocking(self.cabinet.is_whole)
            self._is_whole = True
        else:
            return await self._read()
        return True

    async def _compare(self) -> None:
        """See what has changed since the last look."""
        edition = await self.index.edition()
        if self.index.catalog.epoch != self._epoch:
            await self._begin()
        elif edition != self._edition:
            look = await self._look()
            changed, gone = self._changes(look)
            self._edition, self.known = edition, look
            self._urgent.update(dict.fromkeys(changed))
            self._gone |= gone
            for name in gone:
                self._urgent.pop(name, None)
                self._todo.pop(name, None)
            self._gone -= changed

    async def _see_what_is_due(self) -> None:
        """What time has changed."""
        now = self.index.world.now().timestamp()
        self._urgent.update(dict.fromkeys(await self.index.world.blocking(self.cabinet.due, now)))

    def _changes(self, look: CatalogView) -> tuple[set[ProjectName], set[ProjectName]]:
        known = self.known
        changed, gone = differing(known.names, look.names)
        # of what is ours and theirs at once the list shows one half only
        beside = differing(known.ours, look.ours)[0] | differing(known.theirs, look.theirs)[0]
        return changed | {name for name in beside if look.names.has(name)}, gone

    # --- filing ---

    async def _file(self, names: Sequence[ProjectName], *, at_once: bool = False) -> None:
        """File these anew, and take out what is gone; `at_once`: with what their metadata says,
        where it is quickly read.
        """
        world, gone = self.index.world, sorted(self._gone)
        seen = await self._seen(names)
        known = await world.blocking(self.cabinet.descriptions, names)
        cards: Sequence[Filed] = await world.thinking(_filed, seen, known)
        if at_once and len(cards) <= READ:
            cards = await self._described(seen, cards)
        there = {each.project.name for each in seen}
        await world.blocking(
            self.cabinet.put, cards, [*gone, *(name for name in names if name not in there)]
        )
        self._gone.difference_update(gone)
        for name in names:
            self._urgent.pop(name, None)
            self._todo.pop(name, None)
        self._all_read = self._all_read and not any(card.unread for card in cards)

    async def _seen(self, names: Iterable[ProjectName]) -> list[CardSource]:
        """What is seen of these, as far as they are there."""
        pace, found = Pace(self.index.world), []
        for name in names:
            seen = await self._seen_of(name) if self.known.names.has(name) else None
            if seen is not None:
                found.append(seen)
            await pace.keep()
        return found

    async def _seen_of(self, name: ProjectName) -> CardSource | None:
        index, policy = self.index, self.index.policy
        ours = await index.catalog.ours(name)
        theirs = (
            await index.correspondent.known(name) if may_show_theirs(policy, name, ours) else None
        )
        if not isinstance(ours, Project) and theirs is None:
            return None
        now = index.world.now()
        until = None if theirs is None else changes_at(policy, theirs, name, now)
        is_ours = isinstance(ours, Project)
        mark = _mark(
            self._rules,
            ours.serial if isinstance(ours, Project) else 0,
            0 if theirs is None else theirs.serial,
        )
        return CardSource(view(policy, ours, theirs, now, name), is_ours, mark, until)

    # --- reading metadata ---

    async def _read(self) -> bool:
        """Some of the metadata that was not read yet; whether there may be more."""
        world = self.index.world
        if self._all_read or world.clock.seconds() < self._read_from:
            return False
        names = await world.blocking(self.cabinet.unread, READ)
        if not names:
            self._all_read = True
            return False
        seen = await self._seen(names)
        known = await world.blocking(self.cabinet.descriptions, names)
        cards = await self._described(seen, await world.thinking(_filed, seen, known))
        there = {card.name for card in cards}
        await world.blocking(self.cabinet.put, cards, [name for name in names if name not in there])
        if any(card.unread for card in cards):  # the storage is away
            self._read_from = world.clock.seconds() + PAUSE
            return False
        return True

    async def _described(
        self, seen: Sequence[CardSource], cards: Sequence[Filed]
    ) -> Sequence[Filed]:
        """The cards with what metadata says that was not read yet; where it cannot be read now, as
        they are.
        """
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
        return await self.index.world.thinking(_with_metadata, seen, cards, read) if read else cards

    async def _metadata(self, file: File) -> bytes | None:
        """What is stored; b"" where there is nothing, though it is listed; None where nobody knows
        now.
        """
        try:
            return await self.index.metadata(file, STORED)
        except (StorageDown, Busy):
            return None
        except PypidError as error:
            _log.debug(
                "the metadata of {filename} cannot be read: {error}",
                filename=file.filename,
                error=error,
            )
            return b""


def _some(names: Collection[ProjectName], most: int) -> list[ProjectName]:
    return list(islice(names, most))


def _mark(rules: str, ours: int, theirs: int) -> str:
    """Another one, and the project is to be filed anew. `rules`: by which it is seen, and what
    serials mean.
    """
    return f"{rules} {ours} {theirs}"


def _filed(
    seen: Sequence[CardSource], known: Mapping[ProjectName, tuple[str | None, ProjectDescription]]
) -> list[Filed]:
    return [filed(each, *known.get(each.project.name, (None, NOTHING))) for each in seen]


def _with_metadata(
    seen: Sequence[CardSource], cards: Sequence[Filed], read: Mapping[ProjectName, bytes]
) -> list[Filed]:
    """The cards; those made anew of which the metadata was read."""
    made = []
    for each, card in zip(seen, cards, strict=True):
        if card.unread is not None and card.name in read:
            card = filed(each, card.unread.metadata_sha256, describe(read[card.name]))
        made.append(card)
    return made


def _differing(
    held: Mapping[ProjectName, str], look: CatalogView, rules: str
) -> tuple[dict[ProjectName, None], set[ProjectName]]:
    """What is to be filed, and what is to be taken out."""
    ours = {summary.name: summary.serial for summary in look.ours}
    theirs = {summary.name: summary.serial for summary in look.theirs}
    todo: dict[ProjectName, None] = {}
    for name in (summary.name for summary in look.names):
        own, other = ours.get(name, 0), theirs.get(name, 0)
        # beside what is ours nothing of theirs is seen, unless both are blended
        if held.get(name) not in (_mark(rules, own, other), _mark(rules, own, 0)):
            todo[name] = None
    return todo, set(held.keys() - {summary.name for summary in look.names})
