"""The `App`: everything that the routes of an index share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import DeferredSemaphore

from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.core.accounts.registration import AccountSettings
from pypid.core.errors import NotAvailable, PypidError
from pypid.core.export_request import Exported, ExportWanted
from pypid.core.model import Summary
from pypid.core.permissions import EVERYONE, NOBODY, Identity, Rules, Visibility
from pypid.flow import World
from pypid.flow.conditions import Condition
from pypid.flow.signals import ReloadOutcome
from pypid.index import Index
from pypid.index.blocks import Blocks
from pypid.index.decisions import Decisions
from pypid.metrics.worker_metrics import WorkerMetrics, own_metrics
from pypid.ports import Access, Accounts, Downloads, Journal, Publishers, Resolver
from pypid.prefork.messages import Siblings
from pypid.rendering.readmes import Readmes
from pypid.resolver.collection_parser.collections import CollectionParser
from pypid.web.app.app_settings import AppSettings
from pypid.web.app.auth_generation import AuthGeneration
from pypid.web.app.name_budget import UnknownNames
from pypid.web.app.news_cache import NewsCache
from pypid.web.app.page_cache import FEW_NAMES, ProjectPages
from pypid.web.app.rate_limit import RateLimit, RefusalLimit
from pypid.web.app.registry import Registry
from pypid.web.app.route_table import RouteTable
from pypid.web.app.stored_projects import StoredProjects
from pypid.web.app.visibility import Lists, VisibilityCache
from pypid.web.http.request import Request
from pypid.web.http.request_body import BodyBudget
from pypid.web.http.running_downloads import RunningDownloads

if TYPE_CHECKING:
    from pypid.core.configuration.in_force import SettingSection
    from pypid.index.file_contents import Contents
    from pypid.index.upstream.approval_evidence import EvidenceReader
    from pypid.index.upstream.approvals import Approvals
    from pypid.index.upstream.decided import UpstreamDecisions
    from pypid.search.search import Search
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

COLLECTION_BODIES = 64 << 20
"""Bytes of collection requests that are read at once: enough for three of the largest."""


class Resolvers(Protocol):
    """Opens a resolver that sees the index of `app` as `who` does (`pypid.resolver`). Raises
    `NeedsExtra`.
    """

    def __call__(self, app: App, who: Identity) -> AbstractAsyncContextManager[Resolver]: ...


LOG_LEVEL = "log-level"
"""The kind of the message that tells all workers the log level: ``level``, None for the configured
one.
"""


class LogLevelControl(Protocol):
    """The log level: the `configured` one and the one `in_force`."""

    configured: str
    in_force: str

    def use(self, level: str | None) -> None:
        """Set the log level; None restores the configured one."""


@frozen(kw_only=True)
class AccessState:
    """What the accounts and the configuration say of users now. It is replaced as a whole."""

    rules: Rules
    account_settings: AccountSettings
    closed: PypidError | None
    registry: Registry | None
    publishers: Publishers | None


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
    blocks: Blocks = field(
        default=Factory(
            lambda app: Blocks(app.decisions, app.index.maintenance.held_files), takes_self=True
        )
    )
    """The blocks of projects, versions and files."""
    resolvers: Resolvers | None = None
    registry: Registry | None = None
    """The registry of accounts and tokens, with the audit log and the download log."""
    exports: Callable[[ExportWanted, Callable[[int, int], None]], Awaitable[Exported]] | None = None
    """Writes an export; calls back with the number of projects done and the total."""
    searching: Callable[[], Search] | None = None
    """Returns the search index; None: one in memory is created for the first search."""
    decided: UpstreamDecisions | None = None
    """What administrators decided about upstream projects; None: nothing can be decided."""
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
    parser: CollectionParser = field(factory=CollectionParser)
    """Parses collection requests; in this process, unless it is given a reactor to start its own
    process with.
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
    since: datetime = field(
        default=Factory(lambda app: app.world.now(), takes_self=True), init=False
    )
    """When this process was assembled."""
    visibility_cache: VisibilityCache = field(
        default=Factory(lambda app: VisibilityCache(app.world), takes_self=True), init=False
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
        ),
        init=False,
    )
    inspections: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(INSPECTIONS), init=False
    )
    """Held while an archive is inspected."""
    collection_bodies: BodyBudget = field(factory=lambda: BodyBudget(COLLECTION_BODIES), init=False)
    """Counts the bytes of the collection requests that are being read."""
    collections: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(COLLECTIONS), init=False
    )
    """Held while a collection runs."""
    registration_limit: RateLimit = field(factory=RateLimit, init=False)
    """Limits how often accounts are registered."""
    running: RunningDownloads = field(
        default=Factory(
            lambda app: RunningDownloads(app.index.policy.restrictions), takes_self=True
        ),
        init=False,
        repr=False,
    )
    """The downloads under way, which a block cuts."""
    refusal_limit: RefusalLimit = field(factory=RefusalLimit, init=False, repr=False)
    """Limits how often refused downloads are recorded."""
    _lists: Lists = field(factory=Lists, init=False, repr=False)

    def use_access(self, access: AccessState) -> None:
        """Apply the rules and the accounts that are in force from now on."""
        self.rules, self.closed = access.rules, access.closed
        self.registry, self.publishers = access.registry, access.publishers
        self.settings = evolve(self.settings, people=access.account_settings)

    def follow_rules(self, original: App) -> None:
        """Apply the rules that are in force in another app now."""
        self.rules, self.closed = original.rules, original.closed

    async def visibility(self, who: Identity) -> Visibility:
        """Return which projects the user sees on a list."""
        return await self.visibility_cache.of(self.rules, who)

    async def names(self, who: Identity) -> Sequence[Summary]:
        """Return the project list, as far as the user sees it."""
        names, by = await self.index.names(), await self.visibility(who)
        if by.sees_all:
            return names
        through = self._lists.sieve(by, names)
        # a token of many globs has each of them tried on each name
        at_once = by.within is None and len(names) <= FEW_NAMES
        return through(names) if at_once else await self.world.thinking(through, names)

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
    def approval_evidence(self) -> EvidenceReader:
        """What helps to decide about projects that wait for approval. Raises `NotAvailable`."""
        from pypid.index.file_contents import Contents  # not needed at startup
        from pypid.index.upstream.approval_evidence import EvidenceReader

        contents = Contents(self.index, self.settings.spool, self.inspections, caches=False)
        return EvidenceReader(self.index, self.approvals, contents)

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

        folders = {"state": self.settings.spool, "storage": self.settings.storage_folder}
        return Measures(self.index.catalog, self.world, folders)

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
        return self._own_search if self.searching is None else self.searching()

    @cached_property
    def _own_search(self) -> Search:
        from pypid.search.search import Search  # not needed at startup

        return Search(self.index, promptly=True)

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
        return self.closed is not None or not known_to_all

    @property
    def lasting(self) -> bool:
        """Whether a published file never changes, so that caches need not revalidate; false while
        any user may overwrite.
        """
        return self.rules.overwrite == NOBODY

    def base_url(self, request: Request) -> str | None:
        """Return the absolute base of generated URLs, without a trailing slash; None if the Host is
        not trusted.
        """
        if self.settings.public_url is not None:
            return self.settings.public_url.rstrip("/")
        host = request.url_host
        return None if host is None else f"{request.scheme}://{host}"


def user_of(who: Identity) -> str:
    """Return the name under which actions of this identity are recorded."""
    return who.user or "anonymous"
