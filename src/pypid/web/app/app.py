"""The HTTP face: what every route is given. The routes stand in the modules
that `web.app.all_routes` names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import Factory, define, field, frozen
from klein import Klein
from twisted.internet.defer import DeferredSemaphore

from pypid.attestations.verification import Attesting
from pypid.core.accounts.registration import AccountSettings
from pypid.core.errors import NotAvailable, PypidError
from pypid.core.export_request import Exported, ExportWanted
from pypid.core.model import Summary
from pypid.core.permissions import EVERYONE, NOBODY, Identity, Rules, Visibility
from pypid.flow import World
from pypid.flow.conditions import Condition
from pypid.index import Index
from pypid.metrics.together import WorkerMetrics, alone
from pypid.ports import Access, Accounts, Downloads, Journal, Publishers, Resolver
from pypid.prefork.messages import Siblings
from pypid.rendering.readmes import Readmes
from pypid.resolver.collection_parser.collections import CollectionParser
from pypid.web.api.news_cache import NewsCache
from pypid.web.app.auth_generation import AuthGeneration
from pypid.web.app.name_budget import NameBudget, UnknownNames
from pypid.web.app.rate_limit import RateLimit
from pypid.web.app.registry import Registry
from pypid.web.app.url_rules import without_builders
from pypid.web.app.visibility import Lists, VisibilityCache
from pypid.web.http.request import Request
from pypid.web.http.request_body import BodyBudget
from pypid.web.installers.page_cache import FEW_NAMES, ProjectPages
from pypid.web.installers.stored_projects import StoredProjects

if TYPE_CHECKING:
    from pypid.core.configuration.in_force import SettingSection
    from pypid.index.file_contents import Contents
    from pypid.search.search import Search
    from pypid.web.app.measures import Measures
    from pypid.web.installers.as_of_pages import ThenPages
    from pypid.web.ui.project_page_cache import ProjectPageCache

LOOKING = 2
"""Archives that are looked through at once: each may take a thread for minutes, and 256 MiB (xz);
others need threads, too.
"""

COLLECTIONS = 2
"""Collections at once: each may run a resolver, and fetches four files at a time."""

COLLECTION_BODIES = 64 << 20
"""Bytes of requests for collections that are read at once: room for three of the largest."""

app = Klein()
"""All routes. They are functions whose first argument is the `App`; see `web.app.guard.guarded`."""
app.url_map.strict_slashes = False  # each route says itself what it does without its slash
app.url_map.merge_slashes = False
without_builders(app.url_map)


@frozen(kw_only=True)
class FaceSettings:
    """What the routes know of the configuration. `max_upload` in bytes; `spool` is the folder of
    uploads under way.
    """

    spool: Path
    max_upload: int
    public_url: str | None = None
    storage_folder: Path | None = None
    """The folder that is the storage, if it is one: what may be adopted lies in it."""
    max_cache: int | None = None
    """Bytes of theirs that may be kept."""
    people: AccountSettings = AccountSettings()
    """Who may make an account, and how long a session lasts."""
    certificate: Path | None = None
    """The chain that TLS is spoken with."""
    place: str = "in memory"
    """Where the files lie, for people: a folder, ``s3://bucket/prefix``; no secret."""
    unknown_names: NameBudget = NameBudget()
    """How many names that were never asked upstream an address may ask for, without a login."""
    redirects_upstream: bool = True
    """Whether clients may be sent to upstream's URLs (`[upstream] mode = redirect`); not a client
    that runs on this machine.
    """
    indexes: tuple[str, ...] = ()
    """The URLs of the other indexes, without anybody's name and password."""


class Resolvers(Protocol):
    """Opens a resolver that sees the index of `face` as `who` does (`pypid.resolver`). Raises
    `NeedsExtra`.
    """

    def __call__(self, face: App, who: Identity) -> AbstractAsyncContextManager[Resolver]: ...


LOUDNESS = "log-level"
"""The kind of the message that tells all workers which level of the log is wanted: ``level``, None
for the one of the file.
"""


class LogLevelControl(Protocol):
    """From which level on lines of the log are written: the one that the file says, and the one
    `in_force`.
    """

    configured: str
    in_force: str

    def use(self, level: str | None) -> None:
        """Go on with this level; None: with the one of the file."""


async def nobody_else() -> None:
    """There is no other process that does anything."""


@define(slots=False, eq=False)
class App:
    """Everything that a route needs. `rules` and `access` are looked at by the guard, for every
    route.
    """

    index: Index
    access: Access
    rules: Rules
    world: World
    settings: FaceSettings
    attesting: Attesting = field(factory=Attesting)
    resolvers: Resolvers | None = None
    registry: Registry | None = None
    """Where people, tokens and what they did are written down."""
    exports: Callable[[ExportWanted, Callable[[int, int], None]], Awaitable[Exported]] | None = None
    """Writes an export; hears meanwhile how many projects are done, of how many."""
    searching: Callable[[], Search] | None = None
    """Gives the search index; None: one in memory is made where somebody searches."""
    publishers: Publishers | None = None
    """Trusted publishing; None, and one that knows no issuer, are the same."""
    closed: PypidError | None = None
    """Why nobody but administrators can be let in: it is not known yet who may do what."""
    epoch: AuthGeneration = field(factory=AuthGeneration)
    """For whoever keeps what somebody may see."""
    condition: Condition = field(factory=Condition)
    """For whoever sends clients here, or somewhere else."""
    configuration: Callable[[], Sequence[SettingSection]] = field(default=tuple, repr=False)
    """The configuration in force, without secrets; takes a tenth of a second where it is long."""
    loudness: LogLevelControl | None = None
    """None where the log is somebody else's (twistd's, with ``--syslog``)."""
    siblings: Siblings = field(factory=Siblings)
    """The other workers: what one of them is told by its client, all may have to know."""
    catch_up: Callable[[], Awaitable[None]] = field(default=nobody_else, repr=False)
    """Hears of what other processes and machines have done until now, which they tell a moment
    later anyway.
    """
    readmes: Readmes = field(factory=Readmes)
    """Shows READMEs; as they were written, unless it is given a reactor to start its process with.
    """
    since: datetime = field(init=False)
    """When this process was put together."""
    pages: ProjectPages = field(init=False)
    sights: VisibilityCache = field(init=False)
    stock: StoredProjects = field(init=False)
    newest: NewsCache = field(init=False)
    looking: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(LOOKING), init=False)
    """Held while an archive is looked through."""
    parser: CollectionParser = field(factory=CollectionParser)
    """Parses what is to be collected; in this process, unless it is given a reactor to start its
    own with.
    """
    collecting_bodies: BodyBudget = field(factory=lambda: BodyBudget(COLLECTION_BODIES), init=False)
    """Counts the requests for collections that are being read."""
    collecting: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(COLLECTIONS), init=False
    )
    """Held while something is collected."""
    measured: Callable[[], Awaitable[tuple[str, Sequence[WorkerMetrics]]]] = field(
        default=Factory(lambda face: partial(alone, face.world.counts), takes_self=True), repr=False
    )
    """The number of this worker, and what all workers have counted; raises `OSError`."""
    _lists: Lists = field(factory=Lists, init=False, repr=False)
    _then: ThenPages | None = field(default=None, init=False, repr=False)
    _search: Search | None = field(default=None, init=False, repr=False)
    _exhibits: ProjectPageCache | None = field(default=None, init=False, repr=False)
    _measures: Measures | None = field(default=None, init=False, repr=False)
    _contents: Contents | None = field(default=None, init=False, repr=False)
    turnstile: RateLimit = field(factory=RateLimit, init=False)
    """Whoever registers comes through it."""
    unknown_names: UnknownNames = field(init=False)
    app = app

    def __attrs_post_init__(self) -> None:
        self.since = self.world.now()
        self.pages = ProjectPages(self.index, self.world)
        self.sights = VisibilityCache(self.world)
        self.stock = StoredProjects(self.index, self.world)
        self.newest = NewsCache(self.index)
        self.unknown_names = UnknownNames(self.settings.unknown_names, self.world.clock)

    async def sight(self, who: Identity) -> Visibility:
        """Which projects they see on a list."""
        return await self.sights.of(self.rules, who)

    async def names(self, who: Identity) -> Sequence[Summary]:
        """The projects of the list, as far as they see them."""
        names, by = await self.index.names(), await self.sight(who)
        if by.sees_all:
            return names
        through = self._lists.sieve(by, names)
        # a token of many globs has each of them tried on each name
        at_once = by.within is None and len(names) <= FEW_NAMES
        return through(names) if at_once else await self.world.thinking(through, names)

    @property
    def then(self) -> ThenPages:
        """The pages of the index as of a moment."""
        if self._then is None:
            from pypid.web.installers.as_of_pages import ThenPages  # here: no start needs it

            self._then = ThenPages(self.index, self.world)
        return self._then

    @property
    def contents(self) -> Contents:
        """What is inside files."""
        if self._contents is None:
            from pypid.index.file_contents import Contents  # here: no start needs it

            self._contents = Contents(self.index, self.settings.spool, self.looking)
        return self._contents

    @property
    def measures(self) -> Measures:
        """What projects take, and what room is left."""
        if self._measures is None:
            from pypid.web.app.measures import Measures  # here: no start needs it

            folders = {"state": self.settings.spool, "storage": self.settings.storage_folder}
            self._measures = Measures(self.index.catalog, self.world, folders)
        return self._measures

    @property
    def exhibits(self) -> ProjectPageCache:
        """What the pages of projects are made of."""
        if self._exhibits is None:
            from pypid.web.ui.project_page_cache import ProjectPageCache  # here: no start needs it

            self._exhibits = ProjectPageCache(self.index, self.world)
        return self._exhibits

    @property
    def search(self) -> Search:
        """What answers whoever searches."""
        if self.searching is not None:
            return self.searching()
        if self._search is None:
            from pypid.search.search import Search  # here: no start needs it

            self._search = Search(self.index, promptly=True)
        return self._search

    @property
    def known(self) -> Registry:
        """Where people are written down. Raises `NotAvailable` where this pypid keeps no such
        thing.
        """
        if self.registry is None:
            raise NotAvailable("accounts")
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
        """Who was given which file."""
        return self.known.downloads

    @property
    def restricted(self) -> bool:
        """Whether not everyone sees the same, or nobody knows yet who does: then answers are for
        nobody else's cache.
        """
        known_to_all = self.rules.read == EVERYONE == self.rules.fetch and not self.rules.projects
        return self.closed is not None or not known_to_all

    @property
    def lasting(self) -> bool:
        """Whether a published file never changes: then caches need not ask again. Not while
        somebody may overwrite.
        """
        return self.rules.overwrite == NOBODY

    def base_url(self, request: Request) -> str | None:
        """The absolute base of generated URLs, without its last slash; None where the Host may not
        be believed.
        """
        if self.settings.public_url is not None:
            return self.settings.public_url.rstrip("/")
        host = request.url_host
        return None if host is None else f"{request.scheme}://{host}"


def user_of(who: Identity) -> str:
    """The name that is written down for what somebody did."""
    return who.user or "anonymous"
