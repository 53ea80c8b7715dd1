"""The `App`: everything that the routes of an index share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

from attrs import Factory, define, evolve, field
from twisted.internet.defer import DeferredSemaphore

from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.core.configuration.choices import Owners
from pypid.core.errors import NotAvailable, PypidError
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.model import Summary
from pypid.core.packaging.globs import ProjectGlob
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import EVERYONE, NOBODY, Action, Identity, Principals, Rules, may
from pypid.core.visibility import Visibility
from pypid.flow import World
from pypid.flow.conditions import Condition
from pypid.flow.signals import ReloadOutcome, Signal
from pypid.flow.single_flight import Locks
from pypid.index import Index
from pypid.index.blocks import Blocks
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import NamedIndexes
from pypid.metrics.worker_metrics import WorkerMetrics, own_metrics
from pypid.ports import Access, Accounts, Catalog, Downloads, Journal, Publishers, Resolver
from pypid.prefork.messages import Siblings
from pypid.rendering.readmes import Readmes
from pypid.web.app.app_settings import AppSettings, LogLevelControl
from pypid.web.app.auth_generation import AuthGeneration
from pypid.web.app.index_access import IndexAccess, NoNamedIndexes
from pypid.web.app.name_budget import UnknownNames
from pypid.web.app.news_cache import NewsCache
from pypid.web.app.page_cache import ProjectPages
from pypid.web.app.rate_limit import RateLimit, RefusalLimit
from pypid.web.app.registry import AccessState, Registry
from pypid.web.app.route_table import RouteTable
from pypid.web.app.stored_projects import StoredProjects
from pypid.web.app.visibility import LayerVisibility, Lists, VisibilityCache
from pypid.web.http.request import Request
from pypid.web.http.request_body import BodyBudget
from pypid.web.http.running_downloads import RunningDownloads

if TYPE_CHECKING:
    from pypid.core.configuration.in_force import SettingSection
    from pypid.index.file_contents import Contents
    from pypid.index.promotions import Promotions
    from pypid.index.upstream.approvals import Approvals
    from pypid.index.upstream.decided import UpstreamDecisions
    from pypid.index.upstream.public_names import PublicNames
    from pypid.search.search import IndexSearches, Search
    from pypid.web.app.as_of_pages import ThenPages
    from pypid.web.app.hosted_advisories import HostedAdvisories
    from pypid.web.app.measures import Measures
    from pypid.web.app.project_page_cache import ProjectPageCache

INSPECTIONS = 2
"""Maximum number of archives inspected at once: each may take a thread for minutes, and 256 MiB
(xz); other work needs threads, too.
"""

COLLECTIONS = 2
"""Maximum number of collections at once: each may run a resolver, and fetches four files at a
time.
"""

COLLECTION_BODIES = 24 << 20
"""Bytes of collection requests that are read at once: enough for four of the largest. As many for
checks of lock files.
"""


class Resolvers(Protocol):
    """Opens a resolver that sees the index of `app` as `who` does (`pypid.resolver`). Raises
    `NeedsExtra`.
    """

    def __call__(self, app: App, who: Identity) -> AbstractAsyncContextManager[Resolver]: ...


async def nobody_else() -> None:
    """Do nothing: the default of `App.catch_up`, for a process without others to catch up with."""


@define(slots=False, eq=False)
class App:
    """Everything that a route needs. The guard checks `access` and `rules` for every route."""

    index: Index
    access: Access
    rules: Rules
    world: World
    settings: AppSettings
    attesting: Attesting = field(factory=Attesting)
    promotions: Promotions | None = field(default=None, repr=False)
    """Promotions between indexes; None where the storage has none."""
    advisories: Advisories = field(
        default=Factory(lambda app: Advisories(app.world), takes_self=True)
    )
    """The security advisories of projects (`[advisories]`)."""
    decisions: Decisions = field(
        default=Factory(
            lambda app: Decisions(app.index.blobs, app.world, app.index.policy.restrictions),
            takes_self=True,
        ),
        repr=False,
    )
    """The decisions of administrators, in the storage."""
    blocks: Blocks = field(default=Factory(lambda app: Blocks(app.decisions), takes_self=True))
    """The blocks of projects, versions and files."""
    resolvers: Resolvers | None = None
    registry: Registry | None = None
    """The registry of accounts and tokens, with the audit log and the download log."""
    exports: Callable[[Export, Callable[[int, int], None]], Awaitable[ExportedIndex]] | None = None
    """Writes an export; calls back with the number of projects done and the total."""
    searching: Callable[[], Search] | None = None
    """Returns the search index; None: one in memory is created for the first search."""
    decided: UpstreamDecisions | None = None
    """What administrators decided about upstream projects; None: nothing can be decided."""
    public_names: PublicNames | None = None
    """The names that the upstreams have; None: only those that are known here."""
    publishers: Publishers | None = None
    """Trusted publishing; None is equivalent to publishers without an issuer."""
    closed: PypidError | None = None
    """Why only administrators are let in: the access rules are not known yet."""
    auth_generation: AuthGeneration = field(factory=AuthGeneration)
    """The generation that cached identities and views belong to."""
    condition: Condition = field(factory=Condition)
    """The readiness of the parts, for health checks and load balancers."""
    reload: Callable[[], Awaitable[ReloadOutcome]] | None = field(default=None, repr=False)
    """Reads the certificate, the users and the rules again, in all workers; None if only another
    process can.
    """
    configuration: Callable[[], Sequence[SettingSection]] = field(default=tuple, repr=False)
    """Returns the configuration in force, without secrets; takes 0.1 s if it is long."""
    log_level_control: LogLevelControl | None = None
    """The control of the log level; None if the log is not pypid's own (twistd's, with
    ``--syslog``).
    """
    siblings: Siblings = field(factory=Siblings)
    """The other workers, which are notified of what one worker learns from its client."""
    catch_up: Callable[[], Awaitable[None]] = field(default=nobody_else, repr=False)
    """Catches up with what other processes and machines have done until now, which they would
    report a little later anyway.
    """
    routes: RouteTable = field(factory=RouteTable)
    """The routes of the public site and of the control socket."""
    readmes: Readmes = field(factory=Readmes)
    """Renders READMEs; shows their source unless it is given a reactor to start its process
    with.
    """
    measured: Callable[[], Awaitable[tuple[str, Sequence[WorkerMetrics]]]] = field(
        default=Factory(lambda app: partial(own_metrics, app.world.counts), takes_self=True),
        repr=False,
    )
    """Returns the number of this worker and what all workers have counted. Raises `OSError`."""
    pages: ProjectPages = field(
        default=Factory(lambda app: ProjectPages(app.index, app.world), takes_self=True)
    )
    """The simple pages of projects."""
    indexes: NamedIndexes | NoNamedIndexes = field(factory=NoNamedIndexes)
    """The named indexes."""
    index_access: IndexAccess = field(
        default=Factory(lambda app: IndexAccess(app.indexes), takes_self=True), repr=False
    )
    """The access rules of the named indexes."""
    access_changed: Signal[[]] = field(factory=Signal, repr=False)
    """Emitted after `use_access`."""
    original: App | None = field(default=None, repr=False)
    """The App of the default index, if this is the App of a named index; otherwise None."""
    since: datetime = field(default=Factory(lambda app: app.world.now(), takes_self=True))
    """When this process was assembled."""
    visibility_cache: VisibilityCache = field(
        default=Factory(lambda app: VisibilityCache(app.world), takes_self=True), init=False
    )
    layer_visibility: LayerVisibility = field(
        default=Factory(
            lambda app: LayerVisibility(app.index, app.index_access, app.world), takes_self=True
        ),
        init=False,
        repr=False,
    )
    stored_projects: StoredProjects = field(
        default=Factory(lambda app: StoredProjects(app.index, app.world), takes_self=True),
        init=False,
    )
    news: NewsCache = field(
        default=Factory(lambda app: NewsCache(app.index), takes_self=True), init=False
    )
    unknown_names: UnknownNames = field(
        default=Factory(
            lambda app: UnknownNames(app.settings.unknown_names, app.world.clock), takes_self=True
        )
    )
    inspections: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(INSPECTIONS))
    """Held while an archive is inspected."""
    collection_bodies: BodyBudget = field(factory=lambda: BodyBudget(COLLECTION_BODIES))
    """Counts the bytes of the collection requests that are being read."""
    collections: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(COLLECTIONS))
    """Held while a collection runs."""
    check_bodies: BodyBudget = field(factory=lambda: BodyBudget(COLLECTION_BODIES))
    """Counts the bytes of the lock files that are being read for checks."""
    checks_by_address: Locks[str] = field(factory=Locks)
    """Held by client address while a lock file is checked."""
    registration_limit: RateLimit = field(factory=RateLimit)
    """Limits how often accounts are registered."""
    running: RunningDownloads = field(
        default=Factory(
            lambda app: RunningDownloads(app.index.policy.restrictions), takes_self=True
        ),
        repr=False,
    )
    """The downloads under way, which a block cuts."""
    refusal_limit: RefusalLimit = field(factory=RefusalLimit, repr=False)
    """Limits how often refused downloads are recorded."""
    _lists: Lists = field(factory=Lists, init=False, repr=False)

    def use_access(self, access: AccessState) -> None:
        """Apply the rules and the accounts that are in force from now on."""
        self.rules, self.closed = access.rules, access.closed
        self.registry, self.publishers = access.registry, access.publishers
        self.settings = evolve(self.settings, people=access.account_settings)
        self.access_changed.emit()

    def for_index(self, index: Index, pages: ProjectPages) -> App:
        """Return the App of a named index, with these pages. It shares all limits with this one,
        and no cache.
        """
        return evolve(
            self,
            index=index,
            original=self,
            pages=pages,
            searching=None,
            access_changed=Signal(),
        )

    def follow_index(self, original: App) -> None:
        """Apply the rules, accounts and settings that are in force in the App of the default index,
        to the App of a named index.
        """
        self.rules = self.index_access.rules(self.index.name, original.rules)
        self.closed, self.settings = original.closed, original.settings
        self.registry, self.publishers = original.registry, original.publishers

    def rules_in(self, index: str | None) -> Rules:
        """Return the rules in force in a named index; None: in this one. Those of the default index
        for all other names.
        """
        if index in (None, self.index.name):
            return self.rules
        return self.index_access.rules(index, (self.original or self).rules)

    def may(
        self, who: Identity, action: Action, project: ProjectName | None, index: str | None = None
    ) -> bool:
        """Return whether this client may do this with the project in an index (`rules_in`), whose
        own projects are meant, and not those of its bases; project None: with some project.
        """
        return may(self.rules_in(index), who, action, project)

    def may_somewhere(self, who: Identity, action: Action) -> bool:
        """Return whether this client may do this with some project in some index."""
        indexes = ("", *self.indexes.settings)
        return any(self.may(who, action, None, index) for index in indexes)

    def readable_indexes(self, who: Identity) -> tuple[str, ...]:
        """Return the names of the named indexes in which this client may read something, sorted."""
        names = sorted(self.indexes.settings)
        return tuple(name for name in names if self.may(who, Action.READ, None, name))

    def needs_login(self, index: str) -> bool:
        """Return whether projects without rights of their own are closed to anonymous clients."""
        return not self.rules_in(index).read.everyone

    @property
    def lacks_rights(self) -> bool:
        """Whether rights are not known yet, or may have changed where they cannot be read now."""
        return self.closed is not None or self.rules.is_stale

    def glob_of(self, project: ProjectName) -> ProjectGlob | None:
        """Return the most specific glob with rights that matches the project; None if none does."""
        return self.rules.projects.globs.glob(project)

    @property
    def has_owners(self) -> bool:
        """Whether owners have an effect in this index, and new projects get one."""
        return self.rules.ownership is Owners.UPLOADER

    def owner_of(self, project: ProjectName, index: str | None = None) -> str | None:
        """Return the account that owns the project in an index (`rules_in`); None if there is none,
        or owners have no effect.
        """
        return self.rules_in(index).owner_of(project)

    @property
    def defaults(self) -> Mapping[str, Principals]:
        """Who may do what in projects without rights of their own, by the key of `[access]`, and
        who may read the metrics: to be shown.
        """
        rules = self.rules
        return {
            "read": rules.read,
            "write": rules.write,
            "overwrite": rules.overwrite,
            "delete": rules.delete,
            "cache_update": rules.fetch,
            "collect": rules.collect,
            "metrics": rules.metrics,
        }

    def follow_rules(self, original: App) -> None:
        """Apply the rules that are in force in another app now."""
        self.rules, self.closed = original.rules, original.closed

    async def visibility(self, who: Identity) -> Visibility:
        """Return which projects the user sees on a list. A list that was read before is not newer
        than that.
        """
        by = await self.visibility_cache.of(self.rules, who)
        return await self.layer_visibility.of(by, who, (self.original or self).rules)

    async def names(self, who: Identity) -> Sequence[Summary]:
        """Return the project list, as far as the user sees it."""
        names, by = await self.index.names(), await self.visibility(who)
        layers = await self.index.layer_projects() if by.bases else ()
        return await self._lists.seen(names, by, self.world, layers)

    @cached_property
    def as_of_pages(self) -> ThenPages:
        """The pages of the as-of views."""
        from pypid.web.app.as_of_pages import ThenPages  # not needed at startup

        return ThenPages(self.index, self.world)

    @cached_property
    def contents(self) -> Contents:
        """The contents of files."""
        from pypid.index.file_contents import Contents  # not needed at startup

        return Contents(self.index, self.settings.spool, self.inspections)

    @cached_property
    def uncached_contents(self) -> Contents:
        """The contents of files that are not approved yet: a cached file would end the wait."""
        from pypid.index.file_contents import Contents  # not needed at startup

        return Contents(self.index, self.settings.spool, self.inspections, caches=False)

    @property
    def approvals(self) -> Approvals:
        """The approvals of upstream projects. Raises `NotAvailable`."""
        if self.decided is None:
            raise NotAvailable("the approval of projects without a storage")
        return self.decided.approvals

    @cached_property
    def measures(self) -> Measures:
        """The disk usage of projects and the free disk space."""
        from pypid.web.app.measures import Measures  # not needed at startup

        return Measures(
            self.index.catalog,
            self.world,
            {"state": self.settings.spool, "storage": self.settings.storage_folder},
            {name: each.catalog for name, each in self.index.upstreams.items()},
            self._catalogs_of_indexes,
        )

    def _catalogs_of_indexes(self) -> Mapping[str, Catalog]:
        found = {name: self.indexes.get(name) for name in self.indexes.settings}
        return {name: index.catalog for name, index in found.items() if index is not None}

    @cached_property
    def project_page_cache(self) -> ProjectPageCache:
        """The cache of the data of project pages."""
        from pypid.web.app.project_page_cache import ProjectPageCache  # not needed at startup

        return ProjectPageCache(self.index, self.world)

    @cached_property
    def hosted_advisories(self) -> HostedAdvisories:
        """The advisories that hit stored files."""
        from pypid.web.app.hosted_advisories import HostedAdvisories  # not needed at startup

        return HostedAdvisories(self.index, lambda: self.advisories, lambda: self.downloads)

    @property
    def search(self) -> Search:
        """The search service."""
        return (self.original or self).searches.of(self.index)

    @cached_property
    def searches(self) -> IndexSearches:
        """The search services of all indexes."""
        from pypid.search.search import IndexSearches  # not needed at startup

        return IndexSearches(self.searching)

    @property
    def known(self) -> Registry:
        """The registry of users. Raises `NotAvailable` if this pypid has none, and `closed` while a
        start has not read it yet.
        """
        if self.registry is None:
            raise self.closed or NotAvailable("accounts")
        return self.registry

    @property
    def accounts(self) -> Accounts:
        """Accounts, groups, rights, tokens and sessions."""
        return self.known.accounts

    @property
    def journal(self) -> Journal:
        """The audit log."""
        return self.known.journal

    @property
    def downloads(self) -> Downloads:
        """The download log."""
        return self.known.downloads

    @property
    def restricted(self) -> bool:
        """Whether responses depend on the viewer, or the access rules are not known yet: then
        shared caches must not store them.
        """
        known_to_all = self.rules.read == EVERYONE == self.rules.fetch and not self.rules.projects
        if self.original is not None and known_to_all:
            known_to_all = not self.original.restricted and self.index_access.may_all_read_bases(
                self.index.name
            )
        return self.closed is not None or not known_to_all

    @property
    def lasting(self) -> bool:
        """Whether a published file never changes, so that caches need not revalidate; false while
        any user may overwrite, and in a named index, where a project may hide one of its bases.
        """
        return self.rules.overwrite == NOBODY and self.original is None

    def base_url(self, request: Request) -> str | None:
        """Return the absolute base of generated URLs of the request's index, without a trailing
        slash; None if the Host is not trusted.
        """
        below = f"/{request.index}" if request.index else ""
        if self.settings.public_url is not None:
            return self.settings.public_url.rstrip("/") + below
        host = request.url_host
        return None if host is None else f"{request.scheme}://{host}{below}"


def user_of(who: Identity) -> str:
    """Return the name under which actions of this identity are recorded."""
    return who.user or "anonymous"
