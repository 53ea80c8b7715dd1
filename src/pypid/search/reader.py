"""Reading the cards as a viewer: what the viewer may not see is in no result, and in no number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import define, field, frozen

from pypid.core.packaging.names import ProjectName
from pypid.core.search.ranking import Card, FoundProject, SearchQuery, rank
from pypid.core.visibility import Visibility
from pypid.search.fts_query import both, filters, ranks, tiers, without

_SHOWN = "name, version, summary, ours, updated, keywords"
_MATCHING = ("words WHERE words MATCH ?", "words.rowid")
FEW = 200
"""Findings that are ranked one by one."""
_EVERYTHING = ("project WHERE ? IS NULL", "project.place")
"""The table and condition of a search, and the column of a project's place."""


@frozen(eq=False)
class SearchViewer:
    """A viewer: `gone` are removed projects that may still have a card."""

    by: Visibility
    gone: frozenset[ProjectName] = frozenset()

    @property
    def see_all(self) -> bool:
        """Whether the viewer sees everything."""
        return self.by.sees_all and not self.gone

    def sees(self, name: str) -> bool:
        """Return whether the viewer sees this project."""
        return name not in self.gone and self.by.sees(ProjectName(name))


@define(eq=False)
class Reader:
    """A connection, and what is prepared on it. `file`: the one that it has open; None: in
    memory.
    """

    db: sqlite3.Connection
    file: tuple[int, int] | None
    _prepared: tuple[Visibility, frozenset[ProjectName], int] | None = field(
        default=None, init=False, repr=False
    )

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def find(
        self, query: SearchQuery, eyes: SearchViewer, most: int, skip: int
    ) -> tuple[Sequence[FoundProject], int]:
        """Return at most `most` projects after the first `skip`, and how many there are in all."""
        if not query.words:
            return self._all(query, eyes, most, skip)
        let_through = filters(query)
        seen, anywhere = self._seen(eyes, *_MATCHING), both(tiers(query)[-1], let_through)
        few = self._places(*_MATCHING, seen, anywhere, FEW + 1)
        if len(few) <= FEW:
            return self._ranked(query, few)[skip : skip + most], len(few)
        found, before = list[int](), None
        for expression in ranks(query):
            if len(found) < skip + most:
                here = both(without(expression, before), let_through)
                found += self._places(*_MATCHING, seen, here, skip + most - len(found))
                before = expression
        return self._found(found[skip : skip + most]), self._count(*_MATCHING, seen, anywhere)

    def _ranked(self, query: SearchQuery, places: Sequence[int]) -> Sequence[FoundProject]:
        """Return these in order: ranking a few one by one is faster than a query for each tier."""
        found = self._found(places)
        cards = [
            Card(name=each.name, summary=each.summary, keywords=each.keywords, ours=each.ours)
            for each in found
        ]
        order = [rank(query, card) for card in cards]
        return [
            each for _, each in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])
        ]

    def _all(
        self, query: SearchQuery, eyes: SearchViewer, most: int, skip: int
    ) -> tuple[Sequence[FoundProject], int]:
        """Return what the filters let through, for a query without words."""
        let_through = filters(query)
        table, place = _EVERYTHING if let_through is None else _MATCHING
        seen = self._seen(eyes, table, place)
        total = self._count(table, place, seen, let_through)
        return self._found(self._places(table, place, seen, let_through, most, skip)), total

    def _count(self, table: str, place: str, seen: str, matches: str | None) -> int:
        query = f"SELECT count(*) FROM {table} {seen}"
        return self.db.execute(query, (matches,)).fetchone()[0]  # type: ignore[no-any-return]

    def _places(
        self, table: str, place: str, seen: str, matches: str | None, most: int, skip: int = 0
    ) -> Sequence[int]:
        """Return the places, fetched in one row: for each row Python needs its lock, which others
        hold.
        """
        limited = (
            f"SELECT {place} AS found FROM {table} {seen} ORDER BY {place} DESC LIMIT ? OFFSET ?"
        )
        row = self.db.execute(
            f"SELECT group_concat(found) FROM ({limited})", (matches, most, skip)
        ).fetchone()
        return sorted(map(int, row[0].split(",")), reverse=True) if row[0] else []

    def _found(self, places: Sequence[int]) -> Sequence[FoundProject]:
        query = (
            f"SELECT place, {_SHOWN} FROM project WHERE place IN (SELECT value FROM json_each(?))"
        )
        rows = {row[0]: row[1:] for row in self.db.execute(query, (json.dumps(places),))}
        return [_shown(*rows[place]) for place in places if place in rows]

    def newest(self, by: str, eyes: SearchViewer, most: int) -> Sequence[ProjectName]:
        """Return the local projects that were `created` or `updated` last, the newest first.

        A cached upstream file is not news of this index, and is dated by its upload elsewhere.
        """
        query = (
            f"SELECT name FROM project WHERE {by} IS NOT NULL AND ours {self._seen(eyes)} ORDER "
            f"BY {by} DESC LIMIT ?"
        )
        return [name for (name,) in self.db.execute(query, (most,))]

    def unread(self, eyes: SearchViewer) -> int:
        """Return how many projects have unread metadata."""
        query = f"SELECT count(*) FROM project WHERE unread {self._seen(eyes)}"
        return self.db.execute(query).fetchone()[0]  # type: ignore[no-any-return]

    def filed(self, eyes: SearchViewer) -> int | None:
        """Return how many have a card, while not all projects of the beginning have one; else
        None.
        """
        if self.db.execute("SELECT whole FROM meta").fetchone()[0]:
            return None
        count: int
        (count,) = self.db.execute(
            f"SELECT count(*) FROM project WHERE 1 {self._seen(eyes)}"
        ).fetchone()
        return count

    def _seen(
        self, eyes: SearchViewer, table: str = "project", place: str = "project.place"
    ) -> str:
        """Return the end of a WHERE clause that restricts the result to what the viewer sees."""
        if eyes.see_all:
            return ""
        # globs: few tokens have them
        if eyes.by.within is not None:
            self.db.create_function("sees", 1, eyes.sees, deterministic=True)
            return f"AND sees((SELECT its.name FROM project AS its WHERE its.place = {place}))"
        self._prepare(eyes)
        return f"AND {place} {'NOT IN' if eyes.by.usual else 'IN'} (SELECT place FROM temp.others)"

    def _prepare(self, eyes: SearchViewer) -> None:
        """Put the places of the exceptions into a table of this connection, until they change."""
        generation = self.db.execute("SELECT generation FROM meta").fetchone()[0]
        by, gone = eyes.by, eyes.gone
        if self._prepared is not None:
            known, without, then = self._prepared
            if then == generation and known is by and without == gone:
                return
        self._prepared = None
        others = (
            [*by.others, *gone] if by.usual else [name for name in by.others if name not in gone]
        )
        self.db.execute("CREATE TABLE IF NOT EXISTS temp.others(place INTEGER PRIMARY KEY)")
        self.db.execute("DELETE FROM temp.others")
        places = (
            "SELECT its.place FROM json_each(?) AS other CROSS JOIN project AS its ON its.name = "
            "other.value"
        )
        self.db.execute(f"INSERT OR IGNORE INTO temp.others {places}", (json.dumps(others),))
        self._prepared = by, gone, generation


def _shown(
    name: str, version: str, summary: str, ours: int, updated: float | None, keywords: str
) -> FoundProject:
    return FoundProject(
        name=ProjectName(name),
        version=version,
        summary=summary,
        ours=bool(ours),
        updated=None if updated is None else datetime.fromtimestamp(updated, UTC),
        keywords=tuple(keywords.split("\n")) if keywords else (),
    )
