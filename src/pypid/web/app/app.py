"""The `App` of each index, and the settings and records that the Apps share.

The `App`: everything that the routes of an index share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import DeferredLock, DeferredSemaphore

from pypid.access.accounts import SqlAccounts
from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.core.accounts.rights import Account, Right, Token
from pypid.core.accounts.sessions import AccountSettings
from pypid.core.configuration.choices import Owners
from pypid.core.errors import NotAvailable, NotYetKnown, PypidError
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.indexes import is_index_name
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectGlob, ProjectName
from pypid.core.permissions import (
    EVERYONE,
    NOBODY,
    Action,
    Identity,
    Principals,
    Rules,
    Visibility,
    may,
)
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.flow import World
from pypid.flow.conditions import Condition
from pypid.flow.derived import Locks, ReloadOutcome, Signal
from pypid.index import Index
from pypid.index.decisions import Blocks, Decisions
from pypid.index.named_indexes import Indexes
from pypid.metrics.worker_metrics import WorkerMetrics, own_metrics
from pypid.ports import Access, Catalog
from pypid.prefork.messages import Siblings
from pypid.rendering.readmes import Readmes
from pypid.web.app.page_cache import NewsCache, ProjectPages
from pypid.web.app.rate_limit import (
    AuthGeneration,
    NameBudget,
    RateLimit,
    RefusalLimit,
    UnknownNames,
)
from pypid.web.app.route_table import RouteTable
from pypid.web.app.visibility import (
    IndexAccess,
    LayerVisibility,
    Lists,
    NoNamedIndexes,
    StoredProjects,
    VisibilityCache,
)
from pypid.web.http.request import Request
from pypid.web.http.request_body import BodyBudget
from pypid.web.http.site import RunningDownloads

if TYPE_CHECKING:
    from pypid.access.oidc import TrustedPublishing
    from pypid.core.configuration.in_force import SettingSection
    from pypid.index.file_contents import Contents
    from pypid.index.promotions import Promotions
    from pypid.index.upstream.approvals import Approvals, UpstreamDecisions
    from pypid.index.upstream.public_names import PublicNames
    from pypid.resolver.uv import Uv
    from pypid.search.search import IndexSearches, Search
    from pypid.web.app.advisory_view import HostedAdvisories
    from pypid.web.app.measures import Measures
    from pypid.web.app.project_page_cache import ProjectPageCache, ThenPages


# The part of the configuration that routes need, and the control of the log level.

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
class AppSettings:
    """The part of the configuration that routes need. `max_upload` is in bytes; `spool` is the
    folder of uploads in progress.
    """

    spool: Path
    max_upload: int
    public_url: str | None = None
    storage_folder: Path | None = None
    """The storage folder, if the storage is a folder; files that can be adopted are in it."""
    max_cache: int | None = None
    """Maximum size of the cache of upstream files, in bytes."""
    people: AccountSettings = AccountSettings()
    """Who may create an account, and how long a session lasts."""
    certificate: Path | None = None
    """The TLS certificate chain."""
    configuration_name: str = ""
    """The configuration file that was read at the start, or ``built-in defaults``."""
    address: str = ""
    """The configured URL, or the first address that pypid listens on."""
    place: str = "in memory"
    """Where the files are stored, for display: a folder or ``s3://bucket/prefix``; no secret."""
    unknown_names: NameBudget = NameBudget()
    """How many names that were never asked upstream an address may ask for without a login."""
    redirects_upstream: bool = True
    """Whether clients may be redirected to upstream URLs (`[upstream] mode = redirect`), unless a
    client runs on this machine.
    """
    indexes: tuple[str, ...] = ()
    """The URLs of the other indexes, without user names and passwords."""
    named_upstreams: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """The URLs of each `[upstream:NAME]`, likewise."""
    cdn: str | None = None
    """The domain of the content delivery network in front of the bucket."""


# The registry: accounts, audit log and download log, for the routes that manage users.


@frozen(kw_only=True)
class Registry:
    """Everything that the routes for users need in addition to `Access`."""

    accounts: SqlAccounts
    journal: SqlJournal
    downloads: SqlDownloads
    find: Callable[[str], Awaitable[Identity | None]]
    """Returns the identity of a user from any source. Raises `PeopleUnknown`."""
    hash_password: Callable[[str], Awaitable[str]]
    """Hashes a password off the reactor thread. Raises `BadRequest` for an invalid password,
    `Busy`.
    """
    new_token: Callable[..., tuple[str, Token]]
    """Makes a token without storing it (`access.tokens.new_token`): returns its secret, to be shown
    once, and the token to store.
    """
    configured: Callable[[], Configured]
    """Returns what the configuration currently says of users."""
    session_key: bytes = field(repr=False)
    """32 bytes, for digests of cookies, CSRF tokens and captchas."""
    turns: DeferredLock = field(factory=DeferredLock, eq=False, repr=False)
    """Held while a user may lose administrator rights: one change at a time, so that one
    administrator remains.
    """


@frozen(kw_only=True)
class AccessState:
    """The users and rules of the accounts and the configuration. Replaced as a whole."""

    rules: Rules
    account_settings: AccountSettings
    closed: PypidError | None
    registry: Registry | None
    publishers: TrustedPublishing | None


@frozen(kw_only=True)
class Configured:
    """Users whom the configuration names: they are changed there, and their names are reserved."""

    users: frozenset[str] = frozenset()
    """Of ``[users]``, and the first-run administrator."""
    first_admin: Account | None = None
    """The first-run administrator, as the accounts database gets it at the first change."""
    groups: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    rights: tuple[Right, ...] = ()
    mentioned: frozenset[str] = frozenset()
    """All user names that occur anywhere: in users, groups, admins, rules and rights."""
    members: Mapping[str, frozenset[str]] = field(factory=dict)
    """The members of each of the `groups`."""
    hashes: Mapping[str, str] = field(factory=dict, repr=False)
    """The password hashes of `users`."""
    accounts_log_in: bool = True
    """Whether ``sql`` is listed in ``[access] backend``: else the users of the accounts database
    cannot log in.
    """


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
            lambda app: Decisions(
                app.index.context.blobs, app.world, app.index.context.policy.restrictions
            ),
            takes_self=True,
        ),
        repr=False,
    )
    """The decisions of administrators, in the storage."""
    blocks: Blocks = field(default=Factory(lambda app: Blocks(app.decisions), takes_self=True))
    """The blocks of projects, versions and files."""
    resolvers: Callable[[App, Identity], AbstractAsyncContextManager[Uv]] | None = None
    """Opens a resolver that sees the index of an app as a user does (`pypid.resolver`). Raises
    `NotConfigured`.
    """
    registry: Registry | None = None
    """The registry of accounts and tokens, with the audit log and the download log."""
    exports: (
        Callable[[Export, Callable[[int, int], None]], Coroutine[Any, Any, ExportedIndex]] | None
    ) = None
    """Writes an export; calls back with the number of projects done and the total."""
    searching: Callable[[], Search] | None = None
    """Returns the search index; None: one in memory is created for the first search."""
    decided: UpstreamDecisions | None = None
    """What administrators decided about upstream projects; None: nothing can be decided."""
    public_names: PublicNames | None = None
    """The names that the upstreams have; None: only those that are known here."""
    publishers: TrustedPublishing | None = None
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
    indexes: Indexes | NoNamedIndexes = field(factory=NoNamedIndexes)
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
            lambda app: RunningDownloads(app.index.context.policy.restrictions), takes_self=True
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
        from pypid.web.app.project_page_cache import ThenPages  # not needed at startup

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
        from pypid.web.app.advisory_view import HostedAdvisories  # not needed at startup

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
    def accounts(self) -> SqlAccounts:
        """Accounts, groups, rights, tokens and sessions."""
        return self.known.accounts

    @property
    def journal(self) -> SqlJournal:
        """The audit log."""
        return self.known.journal

    @property
    def downloads(self) -> SqlDownloads:
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


# The App of each named index. It shares everything with the App of the default index, except what
# depends on the index itself.
#
# It is made when the index is requested for the first time, so that unused indexes take no memory.

MOST_APPS = 16
"""Maximum number of Apps that are kept: the caches of one may take 200 MB, and a client can request
pages of all indexes.
"""


@define(eq=False)
class IndexApps:
    """The Apps of the named indexes that were requested. `original` is the App of the default
    index, whose rules they follow.
    """

    original: App
    _made: dict[str, App] = field(factory=dict, init=False, repr=False)
    """Those that are kept, the one that was used last at the end."""
    _pages: dict[str, tuple[Index, ProjectPages]] = field(factory=dict, init=False, repr=False)
    """The simple pages of all indexes that were requested: they share one limit."""
    _released: WeakSet[App] = field(factory=WeakSet, init=False, repr=False)
    """Those that requests under way use still."""

    def __attrs_post_init__(self) -> None:
        self.original.access_changed.connect(self.follow)
        self.original.indexes.changed.connect(self.follow)

    async def wait(self, request: Request) -> None:
        """Wait until the named indexes are known, if the path may begin with the name of one.
        Raises `NotYetKnown`.
        """
        [first, *_] = request.postpath or [b""]
        name = first.decode()
        if not is_index_name(name) or name in self.original.indexes.settings:
            return
        decisions = self.original.decisions
        await decisions.ready()
        if not decisions.is_read:
            raise NotYetKnown(name)

    def enter(self, request: Request) -> App | None:
        """Return the App of the index whose name the path of the request begins with, and remove
        the name from the path; None, without effect, if it does not begin with such a name.
        """
        [first, *_] = request.postpath or [b""]
        name = first.decode()
        app = self.of(name)
        if app is not None:
            self._use(name)
            request.enter_index(name)
        return app

    def _use(self, name: str) -> None:
        """Release the App of the index that was not used for the longest time, with its caches, if
        there are too many.
        """
        self._made[name] = self._made.pop(name)
        if len(self._made) > MOST_APPS:
            self._release(next(iter(self._made)))

    def _release(self, name: str) -> None:
        app = self._made.pop(name, None)
        if app is not None:
            self._released.add(app)

    def of(self, name: str) -> App | None:
        """Return the App of the index, with the rules in force; None if there is none of this
        name.
        """
        original, made = self.original, self._made.get(name)
        indexes = original.indexes
        index = indexes.get(name) if name in indexes.settings else None
        if index is None:
            self._release(name)
            self._pages.pop(name, None)
            return None
        if made is None or made.index is not index:
            self._release(name)
            made = self._made[name] = original.for_index(index, self._pages_of(name, index))
        made.follow_index(original)
        return made

    def _pages_of(self, name: str, index: Index) -> ProjectPages:
        found = self._pages.get(name)
        if found is None or found[0] is not index:
            found = self._pages[name] = index, ProjectPages(index, self.original.world)
        return found[1]

    def follow(self) -> None:
        """Apply the rules and the settings that are in force now; they also apply to requests that
        have begun.
        """
        for name in [*self._made]:
            self.of(name)
        for app in [*self._released]:
            if app.index.name in self.original.indexes.settings:
                app.follow_index(self.original)
