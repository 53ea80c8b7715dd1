"""Keeping the index in step with its storage: reconcile the catalog, adopt files without a record,
check for damage; and what changed since they were last compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.core.errors import (
    Archived,
    BadListing,
    Missing,
    UpstreamDown,
)
from pypid.core.model import Blob
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import (
    HELD,
    TRACES,
    UPSTREAMS,
    held_origin,
    place,
)
from pypid.index.context import IndexContext, is_stored
from pypid.index.progress import Progress, Tell
from pypid.index.store.reconcile import Reconciled, ReconcileProgress, Reconciler
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.listings import UpstreamGate
from pypid.ports import Bucket

if TYPE_CHECKING:
    from pypid.index.local.adoption import Adopted, TakeOver
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
    named_parts: Callable[[bool], Awaitable[Sequence[Maintenance]]] | None = None
    """Returns the maintenance of all named indexes and upstreams, for the default index; with True
    also that of deleted indexes of which the catalog still lists projects. Raises `StorageDown`.
    """
    parts_made: Callable[[], Sequence[Maintenance]] = tuple
    """Returns the maintenance of the named indexes and upstreams that were used."""
    prefix: str = ""
    """What the keys of a part begin with in the whole storage; empty for the default index."""
    comparing: ReconcileProgress | None = field(default=None, init=False)
    """Progress of a full reconciliation while one runs."""

    async def reconcile(self) -> Reconciled:
        """Reconcile the catalog with the storage, including cached files. Files left by a pypicloud
        are adopted first if the configuration says so.
        """
        found = await self._compared()
        if self.context.adopts:
            found = await self._taken_over(found)
        return found

    async def _return_held_bytes(self) -> None:
        """Put the bytes of blocked files back that an older version has moved below `layout.HELD`.
        Safe to repeat; what is in an archive stays there until it can be read.
        """
        async with aclosing(self.context.blobs.list(HELD)) as listing:
            held = [blob async for blob in listing]
        for blob in held:
            origin = held_origin(blob.key)
            if origin is None:
                continue
            try:
                await self._put_back(blob, origin)
            except Missing:
                continue  # another node has returned it
            except Archived as error:
                _log.error("{key} cannot go back yet: {error}", key=blob.key, error=error)

    async def _put_back(self, blob: Blob, origin: str) -> None:
        blobs = self.context.blobs
        if not await is_stored(blobs, origin):
            if self.bucket is not None:
                await (await self.bucket()).copy(blob.key, origin)
            else:
                await blobs.write(origin, await blobs.read(blob.key))
        if (await blobs.stat(origin)).size == blob.size:
            await blobs.delete(blob.key)
        else:
            _log.error("other bytes are at {origin}; {key} stays", origin=origin, key=blob.key)

    @property
    def pending_updates(self) -> int:
        """The number of projects with an update that a shared catalog is still missing."""
        own = len(self.context.records.pending_updates) + len(self.kept.records.pending_updates)
        return own + sum(part.pending_updates for part in self.parts_made())

    @property
    def is_up_to_date(self) -> bool:
        """Whether the catalog is as new as the storage."""
        return self.context.records.is_compared and not self.pending_updates

    async def flush_pending_updates(self) -> int:
        """Send pending updates to the shared catalog if it is available; return how many projects
        are left.

        For a job that runs every few seconds: it costs nothing if nothing is pending. Raises
        `StorageDown`.
        """
        await self.context.records.flush_pending_updates()
        await self.kept.records.flush_pending_updates()
        for part in self.parts_made():
            await part.flush_pending_updates()
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
        from pypid.index.local.adoption import TakeOver

        return TakeOver(self.context, tell)

    async def _compared(self, tell: Tell | None = None) -> Reconciled:
        counted = self.comparing = ReconcileProgress()
        self.context.catalog.begin_comparison()
        try:
            await self._return_held_bytes()
            # first: completeness covers these files, too
            named = await self._compare_named(tell)
            await self.kept.compare()
            own = await Reconciler(self.context, tell, counted).reconcile()
            if not self.context.adopts:  # else what was found has to be adopted first
                await self.context.catalog.complete()
                self.context.records.forget_verified()
            found = (own, *named.values())
            return evolve(
                own,
                projects=sum(each.projects for each in found),
                changed=sum(each.changed for each in found),
                read=sum(each.read for each in found),
                named_strays={at: each.strays for at, each in named.items() if each.strays},
            )
        finally:
            if self.comparing is counted:
                self.comparing = None

    async def _compare_named(self, tell: Tell | None) -> Mapping[str, Reconciled]:
        """Compare all named indexes and upstreams; return the results of the indexes by prefix."""
        compared = {}
        for part in () if self.named_parts is None else await self.named_parts(True):
            found = await part.compare_part(tell)
            if found is not None:
                compared[part.prefix] = found
        return compared

    async def compare_part(self, tell: Tell | None = None) -> Reconciled | None:
        """Bring a named index or upstream in line with the storage; None: it has no local projects.
        The catalog is not complete before all parts were compared.
        """
        await self._return_held_bytes()
        if not self.prefix.startswith(UPSTREAMS):  # named upstreams have no local projects
            return await Reconciler(self.context, tell).reconcile()
        await self.kept.compare()
        return None

    async def rebuild(
        self, by: str, project: ProjectName | None = None, *, tell: Tell | None = None
    ) -> tuple[Reconciled, Sequence[Adopted]]:
        """Reconcile everything, or one project, and adopt files without a record; `tell` is
        notified of the progress.
        """
        if project is None:
            found = await self._compared(tell)
            adopted = list(await self._take_in(found.strays, found.foreign, by, tell))
            for prefix, strays in found.named_strays.items():
                adopted += await self.take_in(strays, by, prefix)
            return found, adopted
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

    async def take_in(self, strays: Sequence[Blob], by: str, prefix: str = "") -> Sequence[Adopted]:
        """Adopt these distributions without a record, in place. `prefix`: that of the named index
        to which they belong; the keys of the result contain it.
        """
        if not prefix:
            return await self._take_in(strays, (), by, None)
        adopted: list[Adopted] = []
        for part in () if self.named_parts is None else await self.named_parts(False):
            if part.prefix == prefix:
                adopted += await part.take_in(strays, by)
        return [evolve(each, key=prefix + each.key) for each in adopted]

    async def _take_in(
        self, strays: Sequence[Blob], foreign: Sequence[Blob], by: str, tell: Tell | None
    ) -> Sequence[Adopted]:
        if self.context.adopts:
            return await self._takeover(tell).take(strays, foreign, by)
        from pypid.index.local.adoption import Adopter

        return await Adopter(self.context, tell).adopt(strays, by)

    async def has_files(self) -> bool:
        """Return whether the storage has files of the index, apart from the traces of deleted
        files. Raises `StorageDown`.
        """
        async with aclosing(self.context.blobs.list()) as listing:
            async for blob in listing:
                placed = place(blob.key)
                if placed is None or placed.kind not in TRACES:
                    return True
        return False

    async def remove_all(self) -> int:
        """Remove all objects of a named index, and its projects in the catalog; return the number
        of objects. Another call continues an interrupted one. Raises `StorageDown`, `CatalogDown`.
        """
        assert self.prefix  # the default index is never removed
        progress = Progress(self.context.world.clock)
        async with aclosing(self.context.blobs.list()) as listing:
            keys = [blob.key async for blob in listing]
        for removed, each in enumerate(keys):
            progress.at(partial("removing objects: {} of {}".format, removed, len(keys)))
            await self.context.blobs.delete(each)
        local = self.context.catalog.local
        for summary in await local.summaries():
            await local.edit(summary.name, lambda _: None)
        return len(keys)

    async def check(
        self, *, sweep: bool = False, hashes: bool = False, tell: Tell | None = None
    ) -> CheckReport:
        """Check the storage for damage; see `Checker.check`, and `CacheChecker.check` for cached
        files.
        """
        from pypid.index.local.storage_check import CacheChecker, Checker, unused_parts

        local = await Checker(self.context, tell).check(sweep=sweep, hashes=hashes)
        cached = await CacheChecker(self.context, self.kept, tell).check(sweep=sweep, hashes=hashes)
        report = evolve(local, findings=(*local.findings, *cached.findings), kept=cached.kept)
        if self.named_parts is None:
            return report
        members = await self.named_parts(False)
        used = {part.prefix for part in members}
        unused = await unused_parts(self.context.blobs, used, sweep=sweep)
        report = evolve(report, findings=(*report.findings, *unused))
        for part in members:
            found = await part.check(sweep=sweep, hashes=hashes, tell=tell)
            named = (evolve(each, key=part.prefix + each.key) for each in found.findings)
            report = evolve(
                report,
                files=report.files + found.files,
                kept=report.kept + found.kept,
                findings=(*report.findings, *named),
            )
        return report
