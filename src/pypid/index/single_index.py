"""One package index over one storage, or over a part of one: what is stored, seen through the
policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.catalog.signed_urls import SAME_SIGNER, Links
from pypid.core.errors import (
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    PypidError,
)
from pypid.core.indexes import DEFAULT
from pypid.core.lru import Recent
from pypid.core.memory_budget import MemoryBudget
from pypid.core.model import Presence, Project, SignedUrl, Status, Upload
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import (
    HiddenVersion,
    Policy,
    Silence,
    UnknownOwner,
    UpstreamState,
    asks_upstream,
    exists,
    may_show_upstream,
    silence,
)
from pypid.core.summaries import in_runs
from pypid.flow import World
from pypid.flow.signals import Signal
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.context import (
    IndexContext,
    NamesElsewhere,
    Own,
    UnderWay,
    always_open,
    never_closed,
    without_lease,
)
from pypid.index.file_reader import FileReader
from pypid.index.local.archive_restore import ArchiveRestores
from pypid.index.local.manage import Manager, files_of_release
from pypid.index.local.publish import Publisher, PublishOutcome
from pypid.index.local.sidecars import BodyFactory
from pypid.index.maintenance import Maintenance
from pypid.index.progress import Tell
from pypid.index.project_lists import Names
from pypid.index.store.reconcile import Reconciled
from pypid.index.store.record_store import UnfinishedPromotions
from pypid.index.trust import PublisherTrust
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.file_cache import FileCache
from pypid.index.upstream.file_hosts import FileHostBreakers
from pypid.index.upstream.gate import UpstreamGate
from pypid.index.upstream.listings import UpstreamListings
from pypid.index.views import ALL_FILES, Lookup, UpstreamPermission, Views, ViewSources
from pypid.ports import Blobs, Bucket, Catalog, Describing, Provisional, Upstream

if TYPE_CHECKING:  # imported where they are needed, which is rare: they look into archives
    from pypid.index.local.adoption import Adopted
    from pypid.index.local.storage_check import CheckReport

_log = Logger()


@define
class SingleIndex:
    """What an index stores and shows by itself, without the layers below it (`Index`).

    Permissions are not checked here (see `web.app.guard`). Everything raises `StorageDown` if the
    storage is needed and unavailable.
    """

    blobs: Blobs
    catalog: Catalog
    upstream: Upstream
    policy: Policy
    world: World
    shared: bool = False
    """Whether other processes share the catalog, and write to the same storage."""
    ttl: timedelta = timedelta(minutes=10)
    """How long an upstream listing is fresh."""
    timeout: timedelta = timedelta(seconds=10)
    """How long a client waits for a new upstream listing if an older one is known."""
    spool: Path = Path()
    """The folder for files that are being fetched from upstream."""
    links: Links | None = None
    """Signed URLs, if clients are redirected to stored files."""
    bucket: Callable[[], Awaitable[Bucket]] | None = None
    """Operations specific to an S3 bucket, if the storage is one."""
    adopts: bool = False
    """Whether files without a record are adopted at the start, as a pypicloud left them."""
    describing: Describing | None = None
    """The storage's descriptions of blobs, if it supports them."""
    provisional: Provisional | None = None
    """The storage's marks of blobs that are not committed yet, if it has them."""
    under_way: UnderWay | None = None
    """Announces publishes under way to other nodes, if there are any."""
    identity: str = "pypid"
    """The name of this process in the chain of pypids that a request passes through
    (`core.simple_api.via.identity`).
    """
    is_sole: Callable[[], bool] | None = None
    """Whether this process holds the lease by which no other one may write to the storage; None for
    a storage without leases.
    """
    memory: MemoryBudget = field(factory=MemoryBudget, repr=False)
    """What bounds cached views and pages."""
    restrictions_read: Callable[[], Awaitable[object]] | None = field(default=None, repr=False)
    """Waits until it is known what blocks and approvals hide, for some seconds at most."""
    promotions: UnfinishedPromotions | None = field(default=None, repr=False)
    file_cached: Signal[[int]] = field(factory=Signal, repr=False)
    """Emitted after an upstream file was stored, with its size in bytes."""
    trust: PublisherTrust | None = field(default=None, repr=False)
    """Checks the publishers of upstream files."""
    name: str = ""
    """The name of the index or upstream; empty for the default index."""
    prefix: str = ""
    """The prefix of its keys in the whole storage. Files in its views have keys with this prefix.
    """
    names_elsewhere: NamesElsewhere | None = field(default=None, repr=False)
    """The other indexes, whose local names go to no upstream."""
    released: Callable[[ProjectName], Awaitable[object]] | None = field(default=None, repr=False)
    """Called when a local name is released, while the project's lock is held."""
    refuse_if_closed: Callable[[], object] = field(default=always_open, repr=False)
    """Raises an error while the index takes no files."""
    refuse_if_closed_elsewhere: Callable[[ProjectName], Awaitable[object]] = field(
        default=never_closed, repr=False
    )
    """Raises the same if another process has closed the index a moment ago."""
    context: IndexContext = field(init=False, repr=False)
    gate: UpstreamGate = field(init=False, repr=False)
    listings: UpstreamListings = field(init=False, repr=False)
    file_cache: FileCache = field(init=False, repr=False)
    reader: FileReader = field(init=False, repr=False)
    maintenance: Maintenance = field(init=False, repr=False)
    _views: Views = field(init=False, repr=False)
    _hidden_reported: Recent[ProjectName, datetime] = field(
        factory=lambda: Recent(1000, 1000), init=False, repr=False
    )
    """When it was logged for which projects that their newest version is hidden."""
    own_lists: Names = field(init=False, repr=False)
    """The lists without what is inherited."""

    def __attrs_post_init__(self) -> None:
        others_write = self.shared or self.is_sole is not None
        self.context = IndexContext(
            self.blobs,
            self.catalog,
            self.policy,
            self.world,
            others_write,
            self.adopts,
            self.describing,
            self.under_way,
            catalog_is_shared=self.shared,
            is_sole=self.is_sole or without_lease,
            provisional=self.provisional,
            names_elsewhere=self.names_elsewhere,
            released=self.released,
            promotions=self.promotions,
            index=self.name or DEFAULT,
            refuse_if_closed=self.refuse_if_closed,
            refuse_if_closed_elsewhere=self.refuse_if_closed_elsewhere,
        )
        server = f"[upstream:{self.name}]" if self.name else "the upstream index"
        breakers = CircuitBreaker(self.world, server), FileHostBreakers(self.world)
        ours_now, is_away = self.context.ours_now, self.catalog.is_away
        self.gate = UpstreamGate(
            self.upstream, self.policy, self.identity, ours_now, *breakers, is_away
        )
        kept = CacheStore(
            self.blobs,
            self.catalog,
            self.world.blocking,
            self.file_cached,
            self.shared,
            others_write,
        )
        self.file_cache = FileCache(kept, self.gate, self.world, self.spool)
        self.listings = UpstreamListings(
            self.gate, kept, self.catalog, self.world, self.ttl, self.timeout
        )
        self.maintenance = Maintenance(
            self.context,
            kept,
            self.gate,
            self.bucket,
            None if self.prefix else self._named_parts,
            tuple if self.prefix else self._parts_made,
            prefix=self.prefix,
        )
        self.reader = FileReader(
            self.blobs,
            self.context,
            self.gate,
            self.file_cache,
            self.links,
            ArchiveRestores(self.bucket, self.world.clock.seconds),
            self.trust,
            self.prefix,
        )
        if self.trust is not None:
            self.trust.follow(self.file_cache)
        self._views = Views(self.policy, self.world, self.memory, self.prefix)
        self.own_lists = Names(self.catalog, self.policy, self.world, self.names_elsewhere)

    async def _named_parts(self, *, former: bool = False) -> Sequence[Maintenance]:
        """Return the maintenance of all named indexes and upstreams, for the default index
        (`NamedParts`).
        """
        return ()

    def _parts_made(self) -> Sequence[Maintenance]:
        """Return the maintenance of the named indexes and upstreams that were used."""
        return ()

    # --- reading ----------------------------------------------------------------------------------

    async def quarantined(self, names: Iterable[ProjectName]) -> frozenset[ProjectName]:
        """Return those of `names` that are local projects in quarantine according to the
        catalog.
        """
        known = in_runs(await self.catalog.local.summaries())
        return frozenset(
            name
            for name in names
            if (found := known.find(name)) and found.status is Status.QUARANTINED
        )

    async def own_view(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project in this index alone, without other indexes and further
        upstreams.
        """
        if self.restrictions_read is not None and not self.policy.restrictions.current.is_known:
            await self.restrictions_read()
        # first: the data read later may be newer than the generation it is cached under, not older
        generation = self.catalog.generation
        ours = await self.context.local_project(name)
        upstream_state = None
        if lookup.upstream:
            try:
                upstream_state = await self._upstream_state(name, ours, permission)
            except UnknownOwner:  # another process has just published it, so it is local now
                ours = await self.context.local_project(name)
        elif not isinstance(ours, Project):
            raise NotYetKnown(name) if ours is Presence.UNKNOWN else NoSuchProject(name)
        if not lookup.local and isinstance(ours, Project):
            ours = Presence.ELSEWHERE if upstream_state is None else Presence.ABSENT
        if not isinstance(ours, Project) and (upstream_state is None or not exists(upstream_state)):
            raise self._nothing(name, ours, permission)
        found = await self._views.of(name, ours, upstream_state, self.world.now(), generation)
        if (
            not isinstance(ours, Project)
            and upstream_state is not None
            and not upstream_state.reachable
            and not found.project.files
        ):
            raise upstream_state.failure or self._nothing(name, ours, permission)
        hidden = found.newest_hidden
        if hidden is not None:
            self._report_hidden(name, hidden)
        return ViewSources(found, ours, upstream_state, self.name, newest_hidden=hidden)

    def _report_hidden(self, name: ProjectName, hidden: HiddenVersion) -> None:
        """Log once an hour what a client may be looking for."""
        now, last = self.world.now(), self._hidden_reported.get(name)
        if last is None or not timedelta() <= now - last < timedelta(hours=1):
            self._hidden_reported.put(name, now)
            _log.info(
                "the newest version is hidden: {reason} project={project} version={version} "
                "until={until}",
                reason=hidden.because.value,
                project=name,
                version=hidden.version,
                until="never" if hidden.until is None else hidden.until.isoformat(),
            )

    async def edition(self) -> Hashable:
        """Return a value that changes whenever the view of any project may have changed. Raises
        `CatalogDown`.
        """
        return (
            self.catalog.generation,  # first: what is read later is not older
            await self.catalog.serial(),
            self.catalog.was_complete,
            self.policy.claims.names,
            self.policy.restrictions.current,
        )

    def seen_until(self, name: ProjectName, *, reachable: bool) -> tuple[datetime | None] | None:
        """Return when the view of an upstream project changes by itself; see `Views.until`."""
        return self._views.until(name, reachable=reachable)

    async def _upstream_state(
        self, name: ProjectName, ours: Project | Presence, permission: UpstreamPermission
    ) -> UpstreamState | None:
        """Return the known upstream state of the project; fetch it only if the name may be
        disclosed.
        """
        if permission.may_reach_out and asks_upstream(self.policy, name, ours):
            return await self.listings.state(name, permission.via, spend=permission.spend)
        if may_show_upstream(self.policy, name, ours):
            known = await self.listings.known(name)
            is_asked = permission.known and asks_upstream(self.policy, name, ours)
            return evolve(known, reachable=True) if is_asked else known
        return None

    def _nothing(
        self, name: ProjectName, ours: Project | Presence, permission: UpstreamPermission
    ) -> PypidError:
        """Return the error to raise if there is no project to show."""
        if ours is Presence.UNKNOWN or silence(self.policy, name, ours) is Silence.UNKNOWN:
            return NotYetKnown(name)
        if permission.refusal is not None and asks_upstream(self.policy, name, ours):
            return permission.refusal
        return NoSuchProject(name)

    async def no_file(
        self, name: ProjectName, filename: str, permission: UpstreamPermission
    ) -> PypidError:
        """Return the error for a file that cannot be shown: a rule may withhold it, and a file that
        is not stored here may be available to a user who may have it fetched from upstream.
        """
        await self.reader.check_named(name, filename)
        if permission.refusal is not None and asks_upstream(
            self.policy, name, await self.context.local_project(name)
        ):
            return permission.refusal
        return NoSuchFile(filename)

    def given_until(self, link: SignedUrl) -> datetime | None:
        """Return until when clients are redirected to this URL; None without signed URLs."""
        links, soon = self.links, self.world.now() + SAME_SIGNER
        return None if links is None else min(link.expires - links.buffer, soon)

    # --- changing ---------------------------------------------------------------------------------

    async def publish(
        self,
        upload: Upload,
        body: BodyFactory,
        by: str,
        *,
        overwrite: bool = False,
        uploaded: datetime | None = None,
        own: Own | None = None,
    ) -> PublishOutcome:
        """Store an upload and list it; see `Publisher`."""
        publisher = Publisher(self.context, uploaded, own)
        done = await publisher.publish(upload, body, by, overwrite=overwrite)
        if done is PublishOutcome.UNCHANGED:  # another process may be withdrawing that record
            await self.refuse_if_closed_elsewhere(upload.distribution.project)
        return done

    async def yank(self, name: ProjectName, filenames: Iterable[str], reason: str) -> Project:
        """Mark files yanked (PEP 592)."""
        return await Manager(self.context).yank(name, filenames, reason)

    async def unyank(self, name: ProjectName, filenames: Iterable[str]) -> Project:
        """Remove the yank from files."""
        return await Manager(self.context).unyank(name, filenames)

    async def set_status(self, name: ProjectName, status: Status, reason: str) -> Project:
        """Set the project status marker (PEP 792) of a local project."""
        return await Manager(self.context).set_status(name, status, reason)

    async def delete(self, name: ProjectName, filenames: Iterable[str], by: str) -> Project:
        """Delete files; their names stay reserved."""
        return await Manager(self.context).delete(name, filenames, by)

    async def delete_project(self, name: ProjectName, by: str) -> Project:
        """Delete all files of a project; the name stays local."""
        return await Manager(self.context).delete_project(name, by)

    async def release_name(self, name: ProjectName) -> None:
        """Release the name of an empty project."""
        await Manager(self.context).release_name(name)

    async def release(self, name: ProjectName, version: str) -> frozenset[str]:
        """Return the names of a release's files, hidden ones included. Raises `NoSuchProject`,
        `NoSuchFile`.
        """
        return files_of_release(await self.context.known(name), version)

    # --- maintenance ------------------------------------------------------------------------------

    async def reconcile(self) -> Reconciled:
        """Reconcile the catalog with the storage; see `Maintenance.reconcile`."""
        return await self.maintenance.reconcile()

    async def rebuild(
        self, by: str, project: ProjectName | None = None, *, tell: Tell | None = None
    ) -> tuple[Reconciled, Sequence[Adopted]]:
        """Reconcile, and adopt files without a record; see `Maintenance.rebuild`."""
        return await self.maintenance.rebuild(by, project, tell=tell)

    async def adopt(
        self,
        prefix: str,
        by: str,
        cached: AbstractSet[ProjectName] = frozenset(),
        *,
        tell: Tell | None = None,
    ) -> tuple[Reconciled, Sequence[Adopted]]:
        """Adopt the files without a record below `prefix`; see `Maintenance.adopt`."""
        return await self.maintenance.adopt(prefix, by, cached, tell=tell)

    async def check(
        self, *, sweep: bool = False, hashes: bool = False, tell: Tell | None = None
    ) -> CheckReport:
        """Check the storage for damage; see `Maintenance.check`."""
        return await self.maintenance.check(sweep=sweep, hashes=hashes, tell=tell)
