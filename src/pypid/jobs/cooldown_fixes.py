"""Finds the versions that fix a vulnerability of a version in use here: they wait for `[upstream]
cooldown_fixes` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from pypid.advisories.index import AdvisoryIndex
from pypid.advisories.service import Advisories
from pypid.core.errors import PypidError
from pypid.core.model import StoredFile
from pypid.core.packaging.names import ProjectName, VersionKeys, version_key
from pypid.core.restrictions import ProjectRestrictions
from pypid.database.logs import SqlDownloads
from pypid.flow import start
from pypid.flow.conditions import PeriodicJobs
from pypid.flow.derived import Flights
from pypid.index import Index
from pypid.index.context import Pace
from pypid.index.upstream.public_names import entries_of

_log = Logger()

SOURCE = "fixes"
"""The name of these rules in `RestrictionsInForce`."""
IN_USE = timedelta(days=90)
"""A version counts as in use for so long after its last download."""
INTERVAL = 300.0
"""Seconds between two searches; changed advisories begin one at once."""


@define(slots=False, eq=False)
class CooldownFixes(PeriodicJobs):
    """The search. Its result replaces the last one in the policy; a failed search changes
    nothing.
    """

    index: Index
    advisories: Advisories
    downloads: SqlDownloads
    _known: Mapping[ProjectName, VersionKeys] = field(factory=dict, init=False, repr=False)
    _searches: Flights[None, None] = field(factory=Flights, init=False, repr=False)
    _is_wanted: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.index.context.world.clock)
        self.add_job(INTERVAL, self.refresh, "finding the versions that fix vulnerabilities")
        self.advisories.changed.connect(self._begin)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._begin()

    def _begin(self) -> None:
        start(self.refresh())

    async def refresh(self) -> None:
        """Search. A search that is under way is repeated: it began with older advisories."""
        self._is_wanted = True
        await self._searches.single(None, self._search_while_wanted)

    async def _search_while_wanted(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            await self._search()

    async def _search(self) -> None:
        try:
            found = await self._find()
        except PypidError as error:
            _log.warn("cannot find the versions that fix vulnerabilities: {error}", error=error)
            return
        if found == self._known:
            return
        for name in sorted(found.keys() - self._known.keys()):
            _log.info(
                "versions that fix a vulnerability have a shorter cooldown project={project} "
                "versions={versions}",
                project=name,
                versions=",".join(str(version) for _, version in sorted(found[name])),
            )
        self._known = found
        rules = {name: ProjectRestrictions(fixed=fixed) for name, fixed in found.items()}
        self.index.context.policy.restrictions.replace(SOURCE, rules)

    async def _find(self) -> Mapping[ProjectName, VersionKeys]:
        """Return the fixing versions of each project with cached files. Raises `CatalogDown`,
        `PeopleUnknown`.
        """
        index = self.index
        advisories = self.advisories.index or AdvisoryIndex()
        since = index.context.world.now() - IN_USE
        names = {
            each.name
            for cache in index.caches.values()
            for each in await cache.catalog.upstream.summaries()
            if each.name in advisories.encoded
        }
        found, pace = dict[ProjectName, VersionKeys](), Pace(index.context.world)
        for name in sorted(names):
            kept = [file async for entry in entries_of(index, name) for file in entry.kept]
            fixes = await index.context.world.thinking(fixes_by_digest, advisories, name, kept)
            used = await self.downloads.recent(fixes, since) if fixes else ()
            fixed = frozenset(key for digest in used for key in fixes[digest])
            if fixed:
                found[name] = fixed
            await pace.keep()
        return found


def fixes_by_digest(
    known: AdvisoryIndex, name: ProjectName, files: Iterable[StoredFile]
) -> Mapping[str, VersionKeys]:
    """Return the digests of the vulnerable files, each with the versions that fix them.

    A version that is vulnerable itself, or malware, is no fix.
    """
    digests: dict[str, list[str]] = {}
    for file in files:
        digests.setdefault(file.version, []).append(file.sha256)
    fixes: dict[str, VersionKeys] = {}
    for version, some in digests.items():
        fixed = {each for advisory in known.hits(name, version) for each in advisory.fixed}
        keys = frozenset(version_key(each) for each in fixed if not known.hits(name, each))
        if keys:
            fixes |= dict.fromkeys(some, keys)
    return fixes
