"""The advisories of this process: answered from memory, read from the database of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from attrs import define, field, frozen

from pypid.advisories.database import (
    FILE,
    AdvisoryDatabase,
    Stamp,
    StoredAdvisory,
    decoded_summaries,
    joined,
    stamp_of,
)
from pypid.core.advisories.osv import AdvisorySummary, Candidate
from pypid.core.advisories.vex import Mute
from pypid.core.lru import Recent
from pypid.core.packaging.names import ProjectName
from pypid.flow import World
from pypid.flow.signals import Signal

DECODED = 2000
"""Projects whose decoded advisories are cached."""
HEAVIEST = 4 << 20
"""Bytes of their encoded forms."""


@frozen(eq=False)
class AdvisoryIndex:
    """What is known of each project, in memory: the encoded summaries by name."""

    encoded: Mapping[ProjectName, bytes] = field(factory=dict, repr=False)
    mutes: Mapping[ProjectName, tuple[Mute, ...]] = field(factory=dict, repr=False)
    count: int = 0
    """The number of records."""
    loaded: datetime | None = None
    """When the source was last read without an error; None: never."""
    _decoded: Recent[ProjectName, tuple[AdvisorySummary, ...]] = field(
        factory=lambda: Recent(DECODED, HEAVIEST), init=False, repr=False
    )

    def of(self, name: ProjectName) -> tuple[AdvisorySummary, ...]:
        """Return all advisories of a project, also those withdrawn or muted; nearly always ()."""
        encoded = self.encoded.get(name)
        if encoded is None:
            return ()
        found = self._decoded.get(name)
        if found is None:
            found = decoded_summaries(encoded)
            self._decoded.put(name, found, len(encoded))
        return found

    def hits(self, name: ProjectName, version: str) -> tuple[AdvisorySummary, ...]:
        """Return the advisories in force that affect a version: none withdrawn, none muted."""
        found = self.of(name)
        if not found:
            return ()
        candidate, mutes = Candidate.of(version), self.mutes.get(name, ())
        return tuple(
            advisory
            for advisory in found
            if not advisory.withdrawn
            and advisory.affects_candidate(candidate)
            and not any(mute.mutes(advisory, candidate) for mute in mutes)
        )


NOTHING = AdvisoryIndex()


@define(eq=False)
class Advisories:
    """The advisories that this process knows. Without `[advisories]` there are none.

    `of` and `hits` answer from memory; `record` reads the database in a thread.
    """

    world: World = field(repr=False)
    folder: Path | None = None
    """The state folder; None: `[advisories]` names no source, so nothing is read."""
    source: str = ""
    """Where the advisories come from, for display."""
    changed: Signal[[]] = field(factory=Signal)
    """The index has been replaced."""
    index: AdvisoryIndex = field(default=NOTHING, init=False, repr=False)
    _stamp: Stamp | None = field(default=None, init=False, repr=False)

    def of(self, name: ProjectName) -> tuple[AdvisorySummary, ...]:
        """Return all advisories of a project, also those withdrawn or muted; nearly always ()."""
        return self.index.of(name)

    def hits(self, name: ProjectName, version: str) -> tuple[AdvisorySummary, ...]:
        """Return the advisories in force that affect a version: none withdrawn, none muted."""
        return self.index.hits(name, version)

    def knows(self, name: ProjectName) -> bool:
        """Return whether there is any advisory of the project."""
        return name in self.index.encoded

    async def record(self, id: str) -> StoredAdvisory | None:
        """Return the record with this id. The caller checks who may see a private one."""
        if self.folder is None:
            return None
        found: StoredAdvisory | None = await self.world.blocking(self._database.record, id)
        return found

    @property
    def is_configured(self) -> bool:
        """Whether `[advisories]` names a source, or the company's own advisories."""
        return self.folder is not None

    @property
    def count(self) -> int:
        """The number of records."""
        return self.index.count

    @property
    def age(self) -> float | None:
        """Seconds since the source was last read without an error; None: never."""
        loaded = self.index.loaded
        return None if loaded is None else max(0.0, (self.world.now() - loaded).total_seconds())

    @property
    def _database(self) -> AdvisoryDatabase:
        assert self.folder is not None
        return AdvisoryDatabase(self.folder / FILE)

    async def read(self) -> bool:
        """Read the database if it has changed. Returns whether the index was replaced."""
        if self.folder is None:
            return False
        stamp = stamp_of(self.folder / FILE)
        if stamp is None or stamp == self._stamp:
            return False
        index: AdvisoryIndex = await self.world.thinking(read_index, self._database)
        self._stamp, self.index = stamp, index
        self.changed.emit()
        return True


def read_index(database: AdvisoryDatabase) -> AdvisoryIndex:
    """Return the index of a database; blocks."""
    encoded: dict[ProjectName, bytes] = {}
    name, of_name = "", list[bytes]()
    for batch in database.summaries():
        for project, summary in batch:
            if project != name:
                if of_name:
                    encoded[ProjectName(name)] = joined(of_name)
                name, of_name = project, []
            of_name.append(summary)
    if of_name:
        encoded[ProjectName(name)] = joined(of_name)
    mutes: dict[ProjectName, tuple[Mute, ...]] = {}
    for project, statement in database.statements():
        mute = msgspec.msgpack.decode(statement, type=Mute)
        mutes[ProjectName(project)] = (*mutes.get(ProjectName(project), ()), mute)
    return AdvisoryIndex(encoded, mutes, database.count(), _time(database.meta().get("loaded")))


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
