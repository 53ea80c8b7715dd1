"""Keeping the index in step with its storage: reconcile the catalog, adopt files without a record,
check for damage.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import BadListing, PypidError, UpstreamDown
from pypid.core.model import Blob
from pypid.core.packaging.names import ProjectName
from pypid.flow import start
from pypid.index.context import IndexContext
from pypid.index.held_files import PAUSE, HeldFiles
from pypid.index.progress import Tell
from pypid.index.store.reconcile import Reconciled, ReconcileProgress, Reconciler
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.gate import UpstreamGate
from pypid.ports import Bucket

if TYPE_CHECKING:  # imported where they are needed, which is rare: they look into archives
    from pypid.index.local.adoption import Adopted
    from pypid.index.local.pypicloud_takeover import TakeOver
    from pypid.index.local.storage_check import CheckReport
    from pypid.index.upstream.imported_files import UpstreamImport, UpstreamMatch


_log = Logger()

_NO_SURVEY = (
    "So it is not known which of these projects also exist there, and nothing was imported. Try "
    "again, or import all as local projects: pypid storage import --local all"
)


@define(eq=False)
class Maintenance:
    """Maintenance of one index. Everything raises `StorageDown`."""

    context: IndexContext
    kept: CacheStore
    gate: UpstreamGate
    bucket: Callable[[], Awaitable[Bucket]] | None
    """Operations specific to an S3 bucket, if the storage is one."""
    held_files: HeldFiles = field(init=False, repr=False)
    comparing: ReconcileProgress | None = field(default=None, init=False)
    """Progress of a full reconciliation while one runs."""

    def __attrs_post_init__(self) -> None:
        self.held_files = HeldFiles(self.context, self.kept, self.bucket)

    async def reconcile(self) -> Reconciled:
        """Reconcile the catalog with the storage, including cached files. Files left by a pypicloud
        are adopted first if the storage has its layout.
        """
        found = await self._compared()
        if self.context.plan.pypicloud:
            found = await self._taken_over(found)
        await self._settle_held_files()
        return found

    async def _settle_held_files(self) -> None:
        """Finish what broke off of moving the bytes of blocked files; a failure is logged, and
        tried again.
        """
        try:
            await self.held_files.settle()
        except PypidError as error:
            again = (
                "the bytes of blocked files were not all moved: {error} Next attempt in {pause} s"
            )
            _log.error(again, error=error, pause=PAUSE)
            clock = self.context.world.clock
            deferLater(clock, PAUSE, self._settle_held_files).addCallback(start)

    @property
    def pending_updates(self) -> int:
        """The number of projects with an update that a shared catalog is still missing."""
        return len(self.context.records.pending_updates) + len(self.kept.records.pending_updates)

    @property
    def may_trust_dump(self) -> bool:
        """Whether a dump written now, after the last change, is as new as the storage."""
        return self.context.records.knows_all and not self.pending_updates

    def trust_dump(self) -> None:
        """Trust the catalog dump, which was written after the last change
        (`pypid.jobs.clean_stop`): its entries need no comparison with the storage.
        """
        self.context.records.trust_dump()
        self.kept.records.trust_dump()

    async def flush_pending_updates(self) -> int:
        """Send pending updates to the shared catalog if it is available; return how many projects
        are left.

        For a job that runs every few seconds: it costs nothing if nothing is pending. Raises
        `StorageDown`.
        """
        await self.context.records.flush_pending_updates()
        await self.kept.records.flush_pending_updates()
        return self.pending_updates

    async def _taken_over(self, found: Reconciled) -> Reconciled:
        """Adopt pypicloud's files; return what is left to adopt later. Absences are proven from
        then on.
        """
        takeover = self._takeover(None)
        if await self.context.catalog.is_complete():
            return evolve(found, strays=await takeover.fresh(found.strays))
        found = await takeover.at_start(found)
        await self.context.catalog.complete()
        return found

    def _takeover(self, tell: Tell | None) -> TakeOver:
        from pypid.index.local.pypicloud_takeover import TakeOver

        return TakeOver(self.context, tell)

    async def _compared(self, tell: Tell | None = None) -> Reconciled:
        counted = self.comparing = ReconcileProgress()
        self.context.catalog.begin_comparison()
        try:
            await self.kept.compare()  # first: completeness covers these files, too
            return await Reconciler(self.context, tell, counted).reconcile()
        finally:
            if self.comparing is counted:
                self.comparing = None

    async def rebuild(
        self, by: str, project: ProjectName | None = None, *, tell: Tell | None = None
    ) -> tuple[Reconciled, Sequence[Adopted]]:
        """Reconcile everything, or one project, and adopt files without a record; `tell` is
        notified of the progress.
        """
        if project is None:
            found = await self._compared(tell)
            await self._settle_held_files()
        else:
            found = await Reconciler(self.context, tell).reconcile_project(project)
        return found, await self._take_in(found.strays, found.foreign, by, tell)

    async def adopt(
        self,
        prefix: str,
        by: str,
        cached: AbstractSet[ProjectName] = frozenset(),
        *,
        tell: Tell | None = None,
    ) -> tuple[Reconciled, Sequence[Adopted]]:
        """Adopt the distributions without a record below `prefix` (empty, or ending in a slash), in
        place. Those of the projects `cached` become cached files instead. Raises `UpstreamDown`,
        `BadListing` if there are such projects.
        """
        found = await self._compared(tell)
        strays = [blob for blob in found.strays if blob.key.startswith(prefix)]
        foreign = [blob for blob in found.foreign if blob.key.startswith(prefix)]
        if not cached:
            return found, await self._take_in(strays, foreign, by, tell)
        from pypid.index.local.adoption import project_of

        moved: list[Blob] = []
        local: list[Blob] = []
        for blob in strays:
            is_cached = project_of(blob.key.rpartition("/")[2]) in cached
            (moved if is_cached else local).append(blob)
        stored = await self._import(tell).store(moved)
        return found, (*stored, *await self._take_in(local, foreign, by, tell))

    async def survey(self, prefix: str, *, tell: Tell | None = None) -> Sequence[UpstreamMatch]:
        """Return the projects of distributions without a record below `prefix` that exist upstream.
        Raises `UpstreamDown` if it cannot be asked.
        """
        found = await self._compared(tell)
        strays = [blob for blob in found.strays if blob.key.startswith(prefix)]
        try:
            return await self._import(tell).survey(strays)
        except (UpstreamDown, BadListing) as error:
            raise UpstreamDown(f"{error.reason} {_NO_SURVEY}") from None

    async def also_upstream(self, adopted: Iterable[Adopted]) -> frozenset[ProjectName]:
        """Return the projects of adopted files that also exist upstream, where their releases are
        hidden from now on; none if upstream does not answer.
        """
        from pypid.index.local.adoption import Result

        names = {name for one in adopted if one.outcome is Result.ADOPTED for name in one.names}
        try:
            return await self._import(None).without_releases(names)
        except (UpstreamDown, BadListing):
            return frozenset()

    def _import(self, tell: Tell | None) -> UpstreamImport:
        from pypid.index.upstream.imported_files import UpstreamImport

        return UpstreamImport(self.context, self.gate, self.kept, tell)

    async def take_in(self, strays: Sequence[Blob], by: str) -> Sequence[Adopted]:
        """Adopt these distributions without a record, in place."""
        return await self._take_in(strays, (), by, None)

    async def _take_in(
        self, strays: Sequence[Blob], foreign: Sequence[Blob], by: str, tell: Tell | None
    ) -> Sequence[Adopted]:
        if self.context.plan.pypicloud:
            return await self._takeover(tell).take(strays, foreign, by)
        from pypid.index.local.adoption import Adopter

        return await Adopter(self.context, tell).adopt(strays, by)

    async def abort_uploads(self, age: timedelta) -> int:
        """Abort the multipart uploads of that age that were not ended; return how many. An upload
        that a client is still sending is written again once it was received.
        """
        from pypid.index.local.unfinished_uploads import UnfinishedUploads

        if self.bucket is None:
            return 0
        uploads = UnfinishedUploads(self.context, await self.bucket(), age)
        return sum(finding.swept for finding in await uploads.check(sweep=True))

    async def check(
        self, *, sweep: bool = False, hashes: bool = False, tell: Tell | None = None
    ) -> CheckReport:
        """Check the storage for damage; see `Checker.check`, and `CacheChecker.check` for cached
        files.
        """
        from pypid.index.local.storage_check import Checker
        from pypid.index.local.unfinished_uploads import UnfinishedUploads
        from pypid.index.upstream.cache_check import CacheChecker

        local = await Checker(self.context, tell).check(sweep=sweep, hashes=hashes)
        cached = await CacheChecker(self.context, self.kept, tell).check(sweep=sweep, hashes=hashes)
        remnants = (
            ()
            if self.bucket is None
            else await UnfinishedUploads(self.context, await self.bucket()).check(sweep=sweep)
        )
        return evolve(
            local, findings=(*local.findings, *cached.findings, *remnants), kept=cached.kept
        )
