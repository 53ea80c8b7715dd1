"""The advisories of this process: answered from memory, read from the database of the machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from pypid.advisories.database import FILE, AdvisoryDatabase, Stamp, StoredAdvisory, stamp_of
from pypid.advisories.index import NOTHING, AdvisoryIndex, read_index, time_of
from pypid.advisories.rules import AdvisoryRestrictions, restrictions_of
from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.configuration.choices import BlockedAdvisories
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import RestrictionsInForce
from pypid.flow import World
from pypid.flow.signals import Signal

_log = Logger()

SOURCE = "malware"
"""The name of the advisories among the sources of restrictions."""


@define(eq=False)
class Advisories:
    """The advisories that this process knows. Without a folder there are none.

    `of` and `hits` answer from memory; `record` reads the database in a thread.
    """

    world: World = field(repr=False)
    folder: Path | None = None
    """The state folder; None: `[advisories]` names no source, so nothing is read."""
    source: str = ""
    """Where the advisories come from, for display; without a password."""
    block: tuple[BlockedAdvisories, ...] = ()
    restrictions: RestrictionsInForce = field(factory=RestrictionsInForce, repr=False)
    """Receives the rules by which advisories hide upstream files."""
    changed: Signal[[]] = field(factory=Signal)
    """The advisories have changed."""
    refresh_requested: Signal[[]] = field(factory=Signal)
    """The sources are to be read soon."""
    index: AdvisoryIndex = field(default=NOTHING, init=False, repr=False)
    loaded: datetime | None = field(default=None, init=False)
    """When the source was last read without an error; None: never."""
    failure: str = field(default="", init=False)
    """Why the source could not be read the last time; "": it could."""
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
        found: StoredAdvisory | None = await self.world.blocking(self.database.record, id)
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
        loaded = self.loaded
        return None if loaded is None else max(0.0, (self.world.now() - loaded).total_seconds())

    @property
    def database(self) -> AdvisoryDatabase:
        """The database of this machine."""
        assert self.folder is not None
        return AdvisoryDatabase(self.folder / FILE)

    def read_now(self) -> None:
        """Read the database, before anything is served. Blocks, for half a second with 60,000
        records. A damaged one counts as empty until it is loaded again.
        """
        if self.folder is not None:
            stamp = stamp_of(self.database.path)
            with suppress(sqlite3.Error, ValueError):
                self._use(self.database.meta(), self._read_all())
            self._stamp = stamp

    async def read(self) -> None:
        """Read the database if it has changed; if it is damaged, what is known stays."""
        if self.folder is None:
            return
        stamp = stamp_of(self.database.path)
        if stamp is None or stamp == self._stamp:
            return
        facts: dict[str, str] = await self.world.blocking(self.database.meta)
        content = None
        try:
            if facts and facts.get("generation", "") != self.index.generation:
                content = await self.world.thinking(self._read_all)
        except (sqlite3.Error, ValueError) as error:
            _log.warn("the advisories cannot be read: {error}", error=error)
        self._stamp = stamp
        self._use(facts, content)

    def _read_all(self) -> tuple[AdvisoryIndex, AdvisoryRestrictions]:
        index = read_index(self.database)
        return index, restrictions_of(index, self.block)

    def _use(
        self, facts: Mapping[str, str], content: tuple[AdvisoryIndex, AdvisoryRestrictions] | None
    ) -> None:
        self.loaded, self.failure = time_of(facts.get("loaded")), facts.get("failure", "")
        if content is not None:
            self.index, rules = content
            self.restrictions.replace(SOURCE, rules.projects, rules.digests)
            self.changed.emit()
