"""An index: what is stored, seen through the policy, with its layers; and the bytes of its files.

The entry point of the core: the operations that the web app and the commands use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pypid.blobs.signed_urls import SAME_SIGNER, Links
from pypid.core.caches import MemoryBudget, Recent
from pypid.core.configuration.choices import NewProjects
from pypid.core.errors import (
    Archived,
    Busy,
    ListIncomplete,
    Missing,
    NameUsedUpstream,
    NoSuchFile,
    NoSuchProject,
    NotYetKnown,
    PypidError,
    RestrictionsUnknown,
    StorageDown,
    Unreadable,
    Withheld,
    WrongBytes,
)
from pypid.core.indexes import IndexSettings, absolute_file, mixes, origin_of, relative
from pypid.core.model import (
    File,
    Presence,
    Project,
    SignedUrl,
    Span,
    Status,
    StoredFile,
    Upload,
    file_named,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import (
    PUBLIC,
    HiddenVersion,
    PassOn,
    Silence,
    UnknownOwner,
    UpstreamChoice,
    UpstreamState,
    asks_upstream,
    delivery,
    exists,
    may_show_upstream,
    silence,
    waits,
)
from pypid.core.records.layout import ObjectKind, sidecar_key
from pypid.core.restrictions import WAITING, HoldKind
from pypid.core.summaries import Summaries, in_runs
from pypid.flow.derived import SameObjects, Signal
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.context import (
    IndexContext,
    Own,
)
from pypid.index.layers import IndexesByName, Layer, LayeredLists, LayerProjects, Layers
from pypid.index.local.archive_restore import ArchiveRestores
from pypid.index.local.manage import Manager
from pypid.index.local.publish import BodyFactory, Publisher, PublishOutcome
from pypid.index.maintenance import Maintenance
from pypid.index.store import records
from pypid.index.trust import PublisherTrust
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.file_cache import FileCache
from pypid.index.upstream.file_metadata import metadata_url
from pypid.index.upstream.listings import FileHostBreakers, UpstreamGate, UpstreamListings
from pypid.index.views import (
    ALL_FILES,
    DIRECT,
    Lookup,
    Names,
    UpstreamPermission,
    View,
    Views,
    ViewSources,
)
from pypid.ports import Blobs, Body, Bucket, Catalog, Upstream

if TYPE_CHECKING:
    from pypid.index.as_of import AsOfViews


# Reads visible files and their sidecar documents: local ones from the storage, upstream ones from
# the cache or from upstream.


@frozen
class FileReader:
    """Reads files that the caller has looked up, and that are visible to the client
    (`Index.file`).
    """

    blobs: Blobs
    context: IndexContext
    gate: UpstreamGate
    file_cache: FileCache
    links: Links | None
    restores: ArchiveRestores
    trust: PublisherTrust | None = None
    prefix: str = ""
    """What keys begin with in the whole storage, for signed URLs."""

    def check(self, file: File) -> None:
        """Check that no rule withholds the file now: it may have been looked up before the rule
        came into force. Raises `Withheld`, `RestrictionsUnknown`.
        """
        restrictions = self.context.policy.restrictions.current
        if not restrictions.is_known:
            raise RestrictionsUnknown()
        restrictions.check(file)

    async def check_named(self, name: ProjectName, filename: str) -> None:
        """Check that no rule withholds the file of this name, as far as it is known; upstream is
        not asked. Raises `Withheld`, `RestrictionsUnknown`.
        """
        policy = self.context.policy
        may_wait = policy.new_projects is NewProjects.ASK
        if not may_wait and not policy.restrictions.current.hides_any(name):
            return
        for file in await self._known_files(name, filename):
            self.check(file)
            if file.source is None:
                continue
            state = UpstreamState(kept=(await self.file_cache.kept.entry(name)).kept)
            if waits(policy, Presence.ABSENT, state, name):
                raise Withheld(filename, WAITING.kind.value, WAITING.reason, project=name)

    async def _known_files(self, name: ProjectName, filename: str) -> list[File]:
        """Return the local file of this name, or the listed and the cached one."""
        ours = await self.context.local_project(name)
        local = ours.file(filename) if isinstance(ours, Project) else None
        if isinstance(ours, Project) and not ours.status.offers_files:
            return []
        if local is not None or not may_show_upstream(self.context.policy, name, ours):
            return [] if local is None else [local]
        entry = await self.file_cache.kept.entry(name)
        listing = entry.listing
        if listing is not None and not listing.status.offers_files:
            return []
        found = (
            entry.kept_file(filename),
            file_named(listing.files or () if listing else (), filename),
        )
        return [file for file in found if file is not None]

    async def elsewhere(
        self, file: File, permission: UpstreamPermission = DIRECT, *, metadata: bool = False
    ) -> str | None:
        """Return the upstream URL to which a client is redirected for a visible file, or for its
        metadata (`[upstream] mode = redirect`); None if this index serves it.

        A redirect discloses the name as well: raises `NoSuchFile` if the gate would not ask for
        this name, and what the gate raises.
        """
        if not metadata:
            await self.judge(file, permission)
        match delivery(self.context.policy, file):
            case PassOn(url):
                try:
                    await self.gate.check(file.project, permission.via)
                except UnknownOwner:
                    raise NoSuchFile(file.filename) from None
                return metadata_url(url) if metadata else url
            case _:
                return None

    async def link(self, file: File, *, restricted: bool) -> SignedUrl | None:
        """Return the signed URL to which a client is redirected for a visible, stored file; None if
        this index serves it.

        An archived file is never redirected: the client would get a 403 until it is restored.
        `restricted`: not every client may download it. Raises `StorageDown`.
        """
        await self.judge(file)
        if self.links is None or not isinstance(file, StoredFile) or file.archived:
            return None
        if file.source is not None:
            self.file_cache.touched(file)
        links = (
            self.links.restricted
            if restricted and self.links.restricted is not None
            else self.links
        )
        return await links.link(absolute_file(file, self.prefix) if self.prefix else file)

    async def open(
        self, file: File, span: Span | None = None, permission: UpstreamPermission = DIRECT
    ) -> Body:
        """Return the bytes of a visible file: from the storage, or from upstream while they are
        stored (`FileCache.open`).

        Raises `Archived` if they are archived, and requests a restore; `StorageDown` if the storage
        has lost them, `NoSuchFile` if the file was deleted since it was looked up, `Busy` if it was
        overwritten, and for upstream files what `FileCache.open` raises.
        """
        await self.judge(file, permission)
        try:
            return await (
                self._open_ours(file, span)
                if isinstance(file, StoredFile) and file.source is None
                else self._open_theirs(file, span, permission)
            )
        except Archived:
            # an upstream listing names no key of the cached copy
            found = file if isinstance(file, StoredFile) else await self.file_cache.kept.find(file)
            if found is not None:
                await self.restores.request(found.key)
            raise

    async def _open_ours(self, file: StoredFile, span: Span | None) -> Body:
        try:
            return await self.blobs.read(file.key, span)
        except Missing:
            raise await self._gone(file) from None

    async def _open_theirs(
        self, file: File, span: Span | None, permission: UpstreamPermission
    ) -> Body:
        if not permission.may_reach_out:
            stored = await self.file_cache.stored(file, span)
            if stored is None:
                raise permission.refusal or NoSuchFile(file.filename)
            return stored
        try:
            return await self.file_cache.open(file, span, permission.via)
        except UnknownOwner:
            raise NoSuchFile(file.filename) from None

    async def _gone(self, file: StoredFile) -> PypidError:
        """Return why the bytes of a file that was visible a moment ago are missing. Refreshes the
        project's catalog entry.
        """
        await self.context.resync(file.project)
        try:
            recorded = await records.read_record(self.blobs, file.project, file.filename)
        except Unreadable:
            recorded = file
        if recorded is None:
            return NoSuchFile(file.filename)
        if recorded.key != file.key:
            return Busy(f"{file.filename!r} was just replaced.", 1)
        return StorageDown(f"the bytes of {file.filename!r} are missing.")

    async def metadata(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the core metadata of a visible file (PEP 658). Raises `NoSuchFile` if it has none,
        and for upstream files what `FileCache.metadata` raises.
        """
        self.check(file)
        if file.source is not None:
            return await self._metadata_of_theirs(file, permission)
        return await self._sidecar(
            file, ObjectKind.METADATA, ".metadata", is_promised=file.metadata_sha256 is not None
        )

    async def _metadata_of_theirs(self, file: File, permission: UpstreamPermission) -> bytes:
        if permission.may_reach_out:
            try:
                return await self.file_cache.metadata(file, permission.via)
            except UnknownOwner:
                raise NoSuchFile(file.filename) from None
        data = await self.file_cache.kept.metadata(file)
        if data is None:
            raise permission.refusal or NoSuchFile(f"{file.filename}.metadata")
        return data

    async def provenance(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the provenance object of a visible file (PEP 740). Raises `NoSuchFile` if it has
        none, and for upstream files what `ProvenanceCache.provenance` raises.
        """
        if file.source is not None:
            return await self._provenance_of_upstream(file, permission)
        return await self._sidecar(
            file, ObjectKind.PROVENANCE, ".provenance", is_promised=file.attested
        )

    async def judge(self, file: File, permission: UpstreamPermission = DIRECT) -> None:
        """Check that no rule withholds the file now (`check`), after its publisher was verified."""
        await self._verify(file, permission)
        self.check(file)

    async def _verify(self, file: File, permission: UpstreamPermission) -> None:
        """Verify the provenance of an upstream file if a rule needs its publisher, before its bytes
        are sent. Raises what `ProvenanceCache.provenance` raises, and `Withheld` if this request
        may not fetch it.
        """
        if self.trust is None or not self.trust.needs_provenance(file):
            return
        try:
            data = await self._provenance_of_upstream(file, permission)
        except NoSuchFile:
            if not permission.may_reach_out:  # a request with that right finds out
                held = HoldKind.TRUST.value
                raise Withheld(
                    file.filename, held, "its provenance is not stored here", project=file.project
                ) from None
            self.trust.refuse(file, "its provenance is not available")
        except WrongBytes as error:
            self.trust.refuse(file, error.reason)
        else:
            await self.trust.verdict(file, data)

    async def _provenance_of_upstream(self, file: File, permission: UpstreamPermission) -> bytes:
        self.check(file)
        if permission.may_reach_out:
            try:
                return await self.file_cache.provenance.provenance(file, permission.via)
            except UnknownOwner:
                raise NoSuchFile(f"{file.filename}.provenance") from None
        data = await self.file_cache.kept.provenance(file)
        if data is None:
            raise permission.refusal or NoSuchFile(f"{file.filename}.provenance")
        return data

    async def _sidecar(
        self, file: File, kind: ObjectKind, what: str, *, is_promised: bool
    ) -> bytes:
        self.check(file)
        data = None
        if is_promised and isinstance(file, StoredFile):
            data = await records.read_bytes(self.blobs, sidecar_key(file, kind))
        if data is None:
            raise NoSuchFile(file.filename + what)
        return data


_log = Logger()


class OtherIndexes(IndexesByName["Index"], Protocol):
    """All indexes of one pypid, as each of them uses them."""

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        """Return all named indexes and upstreams, once they are known; with `former` also deleted
        indexes of which the catalog still lists projects. Raises `StorageDown`.
        """

    @property
    def made(self) -> Sequence[Index]:
        """The named indexes and upstreams that were used."""

    @property
    def upstreams(self) -> Mapping[str, Index]:
        """The indexes of all `[upstream:NAME]`, by name."""


@frozen
class UpstreamSource:
    """The upstream of an index, and how it is used. `ttl`: how long a listing is fresh; `timeout`:
    how long a client waits for a new one if an older one is known.
    """

    upstream: Upstream
    ttl: timedelta = timedelta(minutes=10)
    timeout: timedelta = timedelta(seconds=10)
    spool: Path = Path()
    """The folder for files that are being fetched."""
    identity: str = "pypid"
    """The name of this process in the chain of pypids that a request passes through
    (`core.simple_api.via.identity`).
    """
    trust: PublisherTrust | None = field(default=None, repr=False)
    """Checks the publishers of the files."""
    file_cached: Signal[[int]] = field(factory=Signal, repr=False)
    """Emitted after a file was stored, with its size in bytes."""


@define
class Index:
    """One package index over one storage, or over a part of one: what it stores, seen through the
    policy, and what it inherits from other indexes and upstreams.

    Permissions are not checked here (see `web.app.guard`). Everything raises `StorageDown` if the
    storage is needed and unavailable.
    """

    context: IndexContext
    source: UpstreamSource
    _indexes: OtherIndexes = field(repr=False)
    links: Links | None = None
    """Signed URLs, if clients are redirected to stored files."""
    bucket: Callable[[], Awaitable[Bucket]] | None = None
    """Operations specific to an S3 bucket, if the storage is one."""
    memory: MemoryBudget = field(factory=MemoryBudget, repr=False)
    """What bounds cached views and pages."""
    restrictions_read: Callable[[], Awaitable[object]] | None = field(default=None, repr=False)
    """Waits until it is known what blocks and approvals hide, for some seconds at most."""
    choice: UpstreamChoice = UpstreamChoice()
    """Which of `upstreams`, and of `source`, are asked for a name."""
    gate: UpstreamGate = field(
        default=Factory(lambda self: _gate_of(self), takes_self=True), init=False, repr=False
    )
    file_cache: FileCache = field(
        default=Factory(
            lambda self: FileCache(
                CacheStore(
                    self.context.blobs,
                    self.catalog,
                    self.context.world.blocking,
                    self.source.file_cached,
                    self.context.shared,
                    self.context.others_write,
                ),
                self.gate,
                self.context.world,
                self.source.spool,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    listings: UpstreamListings = field(
        default=Factory(
            lambda self: UpstreamListings(
                self.gate,
                self.file_cache.kept,
                self.catalog,
                self.context.world,
                self.source.ttl,
                self.source.timeout,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    maintenance: Maintenance = field(
        default=Factory(
            lambda self: Maintenance(
                self.context,
                self.file_cache.kept,
                self.gate,
                self.bucket,
                None if self.name else self._named_parts,
                tuple if self.name else self._parts_made,
                prefix=self.context.prefix,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    manager: Manager = field(
        default=Factory(lambda self: Manager(self.context), takes_self=True),
        init=False,
        repr=False,
    )
    reader: FileReader = field(
        default=Factory(
            lambda self: FileReader(
                self.context.blobs,
                self.context,
                self.gate,
                self.file_cache,
                self.links,
                ArchiveRestores(self.bucket, self.context.world.clock.seconds),
                self.source.trust,
                self.context.prefix,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    views: Views = field(
        default=Factory(
            lambda self: Views(
                self.context.policy, self.context.world, self.memory, self.context.prefix
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    _hidden_reported: Recent[ProjectName, datetime] = field(
        factory=lambda: Recent(1000, 1000), init=False, repr=False
    )
    """When it was logged for which projects that their newest version is hidden."""
    own_lists: Names = field(
        default=Factory(
            lambda self: Names(
                self.catalog, self.context.policy, self.context.world, self.context.names_elsewhere
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    """The lists without what is inherited."""
    _layers: Layers = field(
        default=Factory(lambda self: Layers(self, self._indexes), takes_self=True),
        init=False,
        repr=False,
    )
    lists: LayeredLists = field(
        default=Factory(lambda self: LayeredLists(self, self._indexes), takes_self=True),
        init=False,
        repr=False,
    )
    _history: AsOfViews | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.source.trust is not None:
            self.source.trust.follow(self.file_cache)

    @property
    def name(self) -> str:
        """The name of the index or upstream; empty for the default index."""
        return self.context.name

    @property
    def catalog(self) -> Catalog:
        """The catalog of the index."""
        return self.context.catalog

    @property
    def upstreams(self) -> Mapping[str, Index]:
        """The indexes of all `[upstream:NAME]` by name, for the default index: they have no local
        projects.
        """
        return {} if self.name else self._indexes.upstreams

    async def _named_parts(self, former: bool) -> Sequence[Maintenance]:
        return [part.maintenance for part in await self._indexes.named_parts(former=former)]

    def _parts_made(self) -> Sequence[Maintenance]:
        return [part.maintenance for part in self._indexes.made]

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
        if (
            self.restrictions_read is not None
            and not self.context.policy.restrictions.current.is_known
        ):
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
        found = await self.views.of(
            name, ours, upstream_state, self.context.world.now(), generation
        )
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
        now, last = self.context.world.now(), self._hidden_reported.get(name)
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
        settings = SameObjects((self.all_settings,))  # first: what is read later is not older
        return (
            settings,
            self.catalog.generation,
            await self.catalog.serial(),
            self.catalog.was_complete,
            self.context.policy.claims.names,
            self.context.policy.restrictions.current,
        )

    async def _upstream_state(
        self, name: ProjectName, ours: Project | Presence, permission: UpstreamPermission
    ) -> UpstreamState | None:
        """Return the known upstream state of the project; fetch it only if the name may be
        disclosed.
        """
        if permission.may_reach_out and asks_upstream(self.context.policy, name, ours):
            return await self.listings.state(name, permission.via, spend=permission.spend)
        if may_show_upstream(self.context.policy, name, ours):
            known = await self.listings.known(name)
            is_asked = permission.known and asks_upstream(self.context.policy, name, ours)
            return evolve(known, reachable=True) if is_asked else known
        return None

    def _nothing(
        self, name: ProjectName, ours: Project | Presence, permission: UpstreamPermission
    ) -> PypidError:
        """Return the error to raise if there is no project to show."""
        if ours is Presence.UNKNOWN or silence(self.context.policy, name, ours) is Silence.UNKNOWN:
            return NotYetKnown(name)
        if permission.refusal is not None and asks_upstream(self.context.policy, name, ours):
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
            self.context.policy, name, await self.context.local_project(name)
        ):
            return permission.refusal
        return NoSuchFile(filename)

    def given_until(self, link: SignedUrl) -> datetime | None:
        """Return until when clients are redirected to this URL; None without signed URLs."""
        links, soon = self.links, self.context.world.now() + SAME_SIGNER
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
            await self.context.refuse_if_closed_elsewhere(upload.distribution.project)
        return done

    # --- with its layers --------------------------------------------------------------------------

    async def names(self) -> Summaries:
        """Return the projects of the project list, by name: the local ones, and those of the bases.
        Raises `ListIncomplete` until every project is known.
        """
        self._refuse_parts_of_lists()
        return await (self.lists.local() if self.is_layered else self.own_lists.listed())

    async def stored_names(self) -> Summaries:
        """Return the projects with stored files, by name: those of `names`, and upstream projects
        with cached files that no rule hides (``/local/``).

        Raises `ListIncomplete` until every project is known.
        """
        self._refuse_parts_of_lists()
        return await (self.lists.stored() if self.is_layered else self.own_lists.stored())

    async def held_names(self) -> Summaries:
        """Return the projects of `stored_names`, including unlisted ones in a named index. Raises
        what `stored_names` raises.
        """
        names = await self.stored_names()
        return (await self.lists.held()).stored if self.name else names

    async def own_stored_names(self) -> Summaries:
        """Return the projects of `stored_names` that are not inherited. Raises `ListIncomplete`."""
        if not self.context.records.is_compared:
            raise ListIncomplete()
        return await self.own_lists.stored()

    @property
    def settings(self) -> IndexSettings | None:
        """The settings of a named index; None for the default index, and for an upstream."""
        return self._indexes.settings.get(self.name)

    @property
    def all_settings(self) -> Mapping[str, IndexSettings]:
        """The settings of all named indexes; replaced as a whole."""
        return self._indexes.settings

    async def list_serial(self) -> int | None:
        """Return the serial of lists from which nothing is hidden: the catalog's. None if there are
        other indexes, whose changes it counts, too: a list then has the highest serial of its
        projects.
        """
        return None if self.all_settings else await self.catalog.serial()

    async def layer_projects(self) -> Sequence[LayerProjects]:
        """Return the projects of a named index and its layers, including unlisted ones. Each part
        names the index whose rights apply in addition to those of this one. Raises `ListIncomplete`
        if a base is not there.
        """
        return (await self.lists.held()).layers if self.name else ()

    def has_member(self, name: str) -> bool:
        """Return whether there is an index, or an upstream, of this name."""
        return self._indexes.find(name) is not None

    @property
    def lists_are_complete(self) -> bool:
        """Whether every project with stored files is known."""
        if not self.is_layered:
            return self.context.records.is_compared
        try:
            return all(each.context.records.is_compared for each in self.lists.providers())
        except ListIncomplete:
            return False

    def _refuse_parts_of_lists(self) -> None:
        if not self.lists_are_complete:
            raise ListIncomplete()

    async def view(self, name: ProjectName, permission: UpstreamPermission = DIRECT) -> View:
        """Return what a client may see of the project.

        Raises `NoSuchProject`, `NotYetKnown`, the refusal in `permission`; and, if upstream has to
        be asked and no cached state can be served, `UpstreamDown`, `BadListing`, `Loop`.
        """
        return (await self.seen(name, permission)).view

    async def seen(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project in the index and its layers, together with its sources.
        Raises what `view` raises.
        """
        if not self.is_layered:
            return await self.own_view(name, permission, lookup)
        return await self._layers.seen(name, permission, lookup)

    def layers(self, name: ProjectName) -> Sequence[Layer]:
        """Return where the project is looked up after the index itself, in order. Raises
        `NotYetKnown`.
        """
        return tuple(self._layers.of(name))

    async def project(self, name: ProjectName, permission: UpstreamPermission = DIRECT) -> Project:
        """Return the project as a client may see it. Raises what `view` raises."""
        return (await self.view(name, permission)).project

    @property
    def history(self) -> AsOfViews:
        """The as-of views of the index."""
        if self._history is None:
            from pypid.index.as_of import AsOfViews  # imported here: not needed at start-up

            default = self._indexes.find("")
            whole = None if default is None or default is self else default.history
            self._history = AsOfViews(self, whole)
        return self._history

    async def file(
        self, name: ProjectName, filename: str, permission: UpstreamPermission = DIRECT
    ) -> File:
        """Return the file if it is visible in the same view as the page. Raises `NoSuchFile`,
        `Withheld`, the refusal in `permission`, and what `view` raises.
        """
        origin = self.name
        try:
            if permission.before is None:
                sources = await self.seen(name, permission)
                file, origin = sources.view.project.file(filename), sources.origin
            else:
                file = (await self.history.project(name, permission)).state.project.file(filename)
        except NoSuchProject:
            file = None
        if file is None:
            raise await self.member(origin).no_file(name, filename, permission)
        return file

    async def home(self, file: File, permission: UpstreamPermission = DIRECT) -> tuple[Index, File]:
        """Return the index that stores or fetches the file, and the file with its key there."""
        if not self.is_layered:
            return self, file
        if not isinstance(file, StoredFile):
            return self.member((await self.seen(file.project, permission)).origin), file
        home = self.member(origin_of(file.key))
        return home, relative(file, home.context.prefix)

    @property
    def caches(self) -> Mapping[str, Index]:
        """The indexes with caches by the names of their upstreams; "" is `[upstream]`."""
        return {"": self, **self.upstreams}

    def upstreams_of(self, name: ProjectName) -> Sequence[Index]:
        """Return the indexes whose upstreams are asked for the project, in order: this one, or
        those of `[upstream:NAME]`. Bases are not included.
        """
        chosen = self.choice.upstreams_of(name)
        found = [self if each == PUBLIC else self.upstreams.get(each) for each in chosen]
        return [each for each in found if each is not None]

    def asked_upstreams(
        self, name: ProjectName, choice: UpstreamChoice | None = None
    ) -> Sequence[Index]:
        """Return the indexes whose upstreams are asked for a project that no index has, in order,
        also those of the bases. `choice`: see `Lookup`. Raises `NotYetKnown`.
        """
        found = [each.context.name for each in self._layers.upstreams_of(name, choice)]
        return [self.member(each) for each in found]

    def member(self, name: str) -> Index:
        """Return the index, or the upstream, of this name."""
        return self._indexes.find(name) or self

    async def refuse_used_upstream(
        self,
        name: ProjectName,
        user: str = "",
        is_public: Callable[[ProjectName], Awaitable[bool]] | None = None,
    ) -> None:
        """Raise `NameUsedUpstream` if a new local project of this name would take the name from
        users who have it from upstream: files of it are cached, or upstream lists it. A name that
        is local in any index is not new; one that is reserved or claimed is never upstream's.
        `user`: the account of the client. `is_public`: returns whether an upstream has the project.
        """
        default = self._indexes.find("") or self
        if isinstance(await self.context.local_project(name), Project):
            return
        if await default.context.local_project(name) is not Presence.ABSENT:
            return
        why = silence(default.context.policy, name, Presence.ABSENT)
        if why in (Silence.RESERVED, Silence.CLAIMED):
            return
        for index in (default, *default.upstreams.values()):
            if exists(await index.listings.known(name)):
                raise NameUsedUpstream(name, user)
        may_be_asked = why in (None, Silence.ELSEWHERE, Silence.UNKNOWN)
        if is_public is not None and may_be_asked and await is_public(name):
            raise NameUsedUpstream(name, user)

    def is_alone(self, name: ProjectName) -> bool:
        """Return whether the view of the project is made of this index alone, and of what the heads
        of the catalog say of it (`Catalog.heads`).
        """
        if any(mixes(each, name) for each in self.all_settings.values()):
            return False  # upstream files are shown although the name is local in some index
        return not self.is_layered or (
            not self.name and self.choice.upstreams_of(name) == (PUBLIC,)
        )

    @property
    def is_layered(self) -> bool:
        """Whether the index shows files of other indexes or of named upstreams."""
        return bool(self.name or self.upstreams)

    async def elsewhere(
        self, file: File, permission: UpstreamPermission = DIRECT, *, metadata: bool = False
    ) -> str | None:
        """Return the upstream URL to which a client is redirected; see `FileReader.elsewhere`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.elsewhere(its_file, permission, metadata=metadata)

    async def link(self, file: File, is_public: Callable[[str], bool]) -> SignedUrl | None:
        """Return the signed URL to which a client is redirected; see `FileReader.link`.
        `is_public`: returns whether every client may read the project in the index of this name.
        """
        home, its_file = await self.home(file, DIRECT)
        return await home.reader.link(its_file, restricted=not is_public(home.name))

    async def open(
        self, file: File, span: Span | None = None, permission: UpstreamPermission = DIRECT
    ) -> Body:
        """Return the bytes of a visible file; see `FileReader.open`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.open(its_file, span, permission)

    async def metadata(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the core metadata of a visible file (PEP 658); see `FileReader.metadata`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.metadata(its_file, permission)

    async def provenance(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the provenance object of a visible file (PEP 740); see
        `FileReader.provenance`.
        """
        home, its_file = await self.home(file, permission)
        return await home.reader.provenance(its_file, permission)


def _gate_of(index: Index) -> UpstreamGate:
    server = f"[upstream:{index.name}]" if index.name else "the upstream index"
    return UpstreamGate(
        index.source.upstream,
        index.context.policy,
        index.source.identity,
        index.context.ours_now,
        CircuitBreaker(index.context.world, server),
        FileHostBreakers(index.context.world),
        index.context.catalog.is_away,
    )
