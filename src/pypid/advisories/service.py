"""The advisories of this process: answered from memory, read from the database of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from pypid.core.configuration.choices import BlockedAdvisories
from pypid.core.errors import Busy
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import RestrictionsInForce
from pypid.flow import World
from pypid.flow.derived import Signal

if TYPE_CHECKING:  # not needed without `[advisories]`
    from pypid.advisories.database import AdvisoryDatabase, Stamp, StoredAdvisory
    from pypid.advisories.index import AdvisoryIndex, AdvisoryRestrictions
    from pypid.core.advisories import AdvisorySummary

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
    index: AdvisoryIndex | None = field(default=None, init=False, repr=False)
    """What is known of each project; None: nothing."""
    loaded: datetime | None = field(default=None, init=False)
    """When the source was last read without an error; None: never."""
    failure: str = field(default="", init=False)
    """Why the source could not be read the last time; "": it could."""
    _stamp: Stamp | None = field(default=None, init=False, repr=False)

    def of(self, name: ProjectName) -> tuple[AdvisorySummary, ...]:
        """Return all advisories of a project, also those withdrawn; nearly always ()."""
        return () if self.index is None else self.index.of(name)

    def hits(
        self, name: ProjectName, version: str, *, private: bool = True
    ) -> tuple[AdvisorySummary, ...]:
        """Return the advisories in force that affect a version: none withdrawn, and
        only with `private` those of the company.
        """
        return () if self.index is None else self.index.hits(name, version, private=private)

    def knows(self, name: ProjectName) -> bool:
        """Return whether there is any advisory of the project."""
        return self.index is not None and name in self.index.encoded

    async def record(self, id: str) -> StoredAdvisory | None:
        """Return the record with this id. The caller checks who may see a private one. Raises
        `Busy` if the database cannot be read.
        """
        if not self.count:
            return None
        from pypid.advisories.index import UNREADABLE

        try:
            found: StoredAdvisory | None = await self.world.blocking(self.database.record, id)
        except UNREADABLE as error:
            _log.warn("an advisory cannot be read: {error}", error=error)
            raise Busy("The database of advisories cannot be read now.", 30) from None
        return found

    @property
    def is_configured(self) -> bool:
        """Whether `[advisories]` names a source, or the company's own advisories."""
        return self.folder is not None

    @property
    def is_unread(self) -> bool:
        """Whether the sources that `[advisories]` names have never been read without an error: that
        a release has no advisory would say nothing.
        """
        return self.is_configured and self.loaded is None

    @property
    def count(self) -> int:
        """The number of records."""
        return 0 if self.index is None else self.index.count

    @property
    def age(self) -> float | None:
        """Seconds since the source was last read without an error; None: never."""
        loaded = self.loaded
        return None if loaded is None else max(0.0, (self.world.now() - loaded).total_seconds())

    @property
    def database(self) -> AdvisoryDatabase:
        """The database of this machine."""
        from pypid.advisories.database import FILE, AdvisoryDatabase

        assert self.folder is not None
        return AdvisoryDatabase(self.folder / FILE)

    def read_now(self) -> None:
        """Read the database, before anything is served. Blocks, for half a second with 60,000
        records. A damaged one counts as empty until it is loaded again.
        """
        if self.folder is not None:
            database = self.database
            stamp = database.stamp()
            content = self._read_all()
            if content is not None:
                self._use(database.meta(), content)
            self._stamp = stamp

    async def read(self) -> None:
        """Read the database if it has changed; if it is damaged, what is known stays."""
        if self.folder is None:
            return
        database = self.database
        stamp = database.stamp()
        if stamp is None or stamp == self._stamp:
            return
        facts: dict[str, str] = await self.world.blocking(database.meta)
        if not facts:  # damaged, or locked for long: the next look tells
            return
        content, generation = None, "" if self.index is None else self.index.generation
        if facts.get("generation", "") != generation:
            content = await self.world.thinking(self._read_all)
            if content is None:  # the age stays that of what is known
                self._stamp = stamp
                return
        self._stamp = stamp
        self._use(facts, content)

    def _read_all(self) -> tuple[AdvisoryIndex, AdvisoryRestrictions] | None:
        from pypid.advisories.index import UNREADABLE, read_index, restrictions_of

        try:
            index = read_index(self.database)
        except UNREADABLE as error:
            _log.warn("the advisories cannot be read: {error}", error=error)
            return None
        return index, restrictions_of(index, self.block)

    def _use(
        self, facts: Mapping[str, str], content: tuple[AdvisoryIndex, AdvisoryRestrictions] | None
    ) -> None:
        from pypid.advisories.database import time_of

        self.loaded, self.failure = time_of(facts.get("loaded")), facts.get("failure", "")
        if content is not None:
            self.index, rules = content
            self.restrictions.replace(SOURCE, rules.projects, rules.digests)
            self.changed.emit()
