"""The index of advisories in memory: the encoded summaries of each project."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from attrs import field, frozen

from pypid.advisories.database import AdvisoryDatabase, decoded_summaries, joined
from pypid.core.advisories.osv import AdvisorySummary, Candidate
from pypid.core.lru import Recent
from pypid.core.packaging.names import ProjectName

DECODED = 2000
"""Projects whose decoded advisories are cached."""
HEAVIEST = 4 << 20
"""Bytes of their encoded forms."""

UNREADABLE = (sqlite3.Error, ValueError)
"""What reading a damaged database raises."""


@frozen(eq=False)
class AdvisoryIndex:
    """What is known of each project, and when it was read."""

    encoded: Mapping[ProjectName, bytes] = field(factory=dict, repr=False)
    ranks: Mapping[ProjectName, int] = field(factory=dict, repr=False)
    """The highest rank (`database.rank_of`) of each project's advisories, where it is 1 or more."""
    count: int = 0
    """The number of records."""
    generation: str = ""
    """Changes with each change of the records."""
    _decoded: Recent[ProjectName, tuple[AdvisorySummary, ...]] = field(
        factory=lambda: Recent(DECODED, HEAVIEST), init=False, repr=False
    )

    def of(self, name: ProjectName) -> tuple[AdvisorySummary, ...]:
        """Return all advisories of a project, also those withdrawn; nearly always ()."""
        encoded = self.encoded.get(name)
        if encoded is None:
            return ()
        found = self._decoded.get(name)
        if found is None:
            found = decoded_summaries(encoded)
            self._decoded.put(name, found, len(encoded))
        return found

    def hits(
        self, name: ProjectName, version: str, *, private: bool = True
    ) -> tuple[AdvisorySummary, ...]:
        """Return the advisories in force that affect a version, as `Advisories.hits` does."""
        found = self.of(name)
        if not private:
            found = tuple(each for each in found if not each.private)
        return hitting(found, version) if found else ()


def hitting(advisories: tuple[AdvisorySummary, ...], version: str) -> tuple[AdvisorySummary, ...]:
    """Return those of a project's advisories that affect a version and are not withdrawn."""
    candidate = Candidate.of(version)
    return tuple(
        advisory
        for advisory in advisories
        if not advisory.withdrawn and advisory.affects_candidate(candidate)
    )


NOTHING = AdvisoryIndex()


def read_index(database: AdvisoryDatabase) -> AdvisoryIndex:
    """Return the index of a database. Blocks. Raises `sqlite3.Error`, and `ValueError` for a
    damaged one.
    """
    facts = database.meta()
    if not facts:
        return NOTHING
    encoded: dict[ProjectName, bytes] = {}
    ranks: dict[ProjectName, int] = {}
    name, of_name = ProjectName(""), list[bytes]()
    for batch in database.summaries():
        for project, rank, summary in batch:
            if project != name:
                if of_name:
                    encoded[name] = joined(of_name)
                name, of_name = ProjectName(project), []
            of_name.append(summary)
            if rank > 0:
                ranks[name] = max(rank, ranks.get(name, 0))
    if of_name:
        encoded[name] = joined(of_name)
    return AdvisoryIndex(encoded, ranks, database.count(), facts.get("generation", ""))


def time_of(text: str | None) -> datetime | None:
    """Return the time that the database states, or None."""
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
