"""The start: `make_daemon` puts a daemon together, top to bottom; the rest of this module makes its
parts, and runs it.

Only this package may import all others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from socket import gethostname
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import attrs
from attrs import evolve
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import ILogObserver, Logger
from twisted.python.usage import UsageError

from pypid import __version__, prefork
from pypid.access.accounts import GroupsOnly, SqlPeople
from pypid.access.cached_source import CountedPeople
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ClosedAccess, ConfigPeople, Operator, read_admin
from pypid.access.passwords import Verifier
from pypid.access.sessions import OutdatedSessions, session_key
from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.catalog.shared import EngineLinks, SharedCatalog
from pypid.compat import ROUTE_MODULES
from pypid.core.accounts.rights import AuditEntry
from pypid.core.caches import MemoryBudget
from pypid.core.configuration.choices import (
    AccessStore,
    Level,
    LogFormat,
    Mode,
    StorageBackend,
    UrlCache,
)
from pypid.core.configuration.in_force import indexes_wait
from pypid.core.configuration.keys import INDEX, UPSTREAM
from pypid.core.configuration.lookup import display_name
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadRequest, CannotStart, CatalogDown, PypidError, StorageDown
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.indexes import DEFAULT
from pypid.core.permissions import Identity
from pypid.core.policy import EVERY_NAME, Claims, UpstreamChoice
from pypid.core.records.layout import (
    ACCOUNTS_KNOWN,
    STORAGE_IDENTITY,
)
from pypid.core.simple_api import via
from pypid.daemon import listeners, logs
from pypid.daemon.daemon import Daemon, Process, use_one_arena
from pypid.daemon.identities import (
    Identities,
    KnownAccounts,
    OtherNodes,
    Stores,
    open_stores,
    people_of,
    read_changes,
    watch,
)
from pypid.daemon.listeners import Certificate, Listener, public
from pypid.daemon.shared_catalog import (
    TIDY,
    Sharing,
    begin_alone,
    is_sole,
    name_of_node,
    open_catalog,
    open_sharing,
)
from pypid.daemon.state import StateFolder, StatePaths, files_of, where
from pypid.flow import World, start
from pypid.flow.conditions import Condition, HealthWatch, Periodic, check_of_answer, check_of_blob
from pypid.flow.coroutines import import_late
from pypid.flow.derived import Provider, ReloadOutcome, Signals
from pypid.index import Index
from pypid.index.context import IndexContext
from pypid.index.decisions import Blocks, Decisions
from pypid.index.index import UpstreamSource
from pypid.index.named_indexes import Indexes
from pypid.index.promotions import IndexPart, PromotionLog, PromotionRecovery, Promotions
from pypid.index.upstream.approvals import UpstreamDecisions
from pypid.index.upstream.public_names import PublicNames
from pypid.jobs.cache_maintenance import CleanStop
from pypid.jobs.leases import Agreement, Leases
from pypid.ports import Blobs, Duplicating, People, SharedLinks
from pypid.prefork.messages import Message
from pypid.prefork.supervisor import Command, Scales, Supervisor, make_scales
from pypid.rendering.readmes import Readmes
from pypid.search.service import Searching
from pypid.web.app.app import LOG_LEVEL, App, AppSettings, nobody_else
from pypid.web.app.rate_limit import NameBudget
from pypid.web.app.route_table import MODULES, RouteTable
from pypid.web.fastpath.channel import open_fast_path
from pypid.web.fastpath.response_cache import LIMIT
from pypid.web.http.access_log import AccessLog, Ids
from pypid.web.http.channel_check import check_framing
from pypid.web.http.connections import ConnectionSettings, HostPolicy, TrustedProxies, machine_names
from pypid.web.http.site import Site
from pypid.web.installers import simple
from pypid.web.root import resource
from pypid.wiring.advisories import advisory_services, open_advisories
from pypid.wiring.greeting import greeter, log_start, opens_late
from pypid.wiring.metrics import Measuring, all_metrics, metrics_folder
from pypid.wiring.platform import Options as Options
from pypid.wiring.platform import (
    Platform,
    begin_logging,
    cannot_start,
    config_text,
    load_config,
)
from pypid.wiring.storage import (
    OpenedStorage,
    bucket_settings,
    decisions_of,
    open_storage,
    redis_links,
)
from pypid.wiring.upstreams import (
    cooldown_fixes_of,
    exclusive_names,
    indexes_of,
    maintenance_of,
    open_named_upstreams,
    open_upstream,
    policy_of,
    trust_of,
    urls_shown,
)

if TYPE_CHECKING:
    from pypid.blobs.signed_urls import Links, WrittenLinks
    from pypid.core.configuration.in_force import SettingSection
    from pypid.jobs.stateless_node import StatelessNode
    from pypid.jobs.storage_lease import StorageLease
    from pypid.metrics.worker_metrics import MetricsFolder
    from pypid.resolver.uv import Uv
    from pypid.search.search import Search
    from pypid.wiring.exports import Exports


# The wiring of named indexes and of promotions between them.


RECOVER = 30.0
"""Seconds between two checks for interrupted promotions."""


def promotions_between(
    indexes: Indexes,
    blobs: Blobs,
    duplicating: Duplicating,
    recovery: PromotionRecovery,
) -> Promotions:
    """Return the promotions between the indexes of `blobs`, which `recovery` follows."""
    default = indexes.default

    def part_of(name: str) -> IndexPart | None:
        if name == DEFAULT:
            return IndexPart(name, default.context)
        index = indexes.get(name)
        if index is None:
            return None
        mark = partial(indexes.names.mark, index=name)
        return IndexPart(name, index.context, index.context.prefix, make_private=mark)

    log = PromotionLog(blobs, default.context.world, part_of, default.context.others_write)
    recovery.follow(log, indexes.read)
    return Promotions(log, duplicating)


def recovery_of(promotions: Promotions) -> Periodic:
    """Return the service that finishes or undoes interrupted promotions."""
    log = promotions.log

    async def recover() -> None:
        with suppress(StorageDown):  # the log tells of the storage already
            await log.recover()

    return Periodic(log.world.clock, RECOVER, recover, "finishing interrupted promotions")


# The wiring of users: the sources that the configuration lists, tokens, sessions and rules.

BELIEVED = 60.0
"""Seconds for which a correct password is not checked with the directory again: a run of pip is
fifty requests.
"""


def make_identities(
    config: Config,
    paths: StatePaths,
    stores: Stores,
    world: World,
    reactor: Any,
    claims: Claims,
    signals: Signals,
    nodes: OtherNodes | None = None,
    *,
    blobs: Blobs,
    greet: Callable[[], object] | None = None,
    is_first: bool = True,
    is_open: bool = True,
) -> Identities:
    """Return the identities as configured; only certificates are read yet.

    `nodes`: other nodes that change the same accounts. `blobs`: the storage, which has a note on
    the accounts that belong to it. `greet`, `is_first`: see `Identities`.
    `is_open`: users are admitted at once. Raises `CannotStart`, `Unreadable`.
    """
    verifier = Verifier(world)
    people = ConfigPeople(people_of(config, paths), world, verifier, read_admin(paths.state))
    sql_people = SqlPeople(stores.accounts, verifier, world)
    sources = [
        Source(people, name="config"),
        *sources_of(config, paths, world, reactor, sql_people),
    ]
    if AccessStore.SQL not in config.access.backend:
        sources.append(Source(GroupsOnly(stores.accounts)))
    current = stores.accounts.current
    key = Provider(partial(session_key, paths.state, config.server.secret, world.random))
    chain = AccessChain(
        sources,
        stores.accounts,
        world,
        verifier,
        admins=config.access.admins,
        session_key=key,
        watch=None if nodes is None else partial(watch, current),
    )
    noted = f"{files_of(config, paths).rstrip('/')}/{ACCOUNTS_KNOWN}"
    others = OtherNodes() if nodes is None else nodes
    return Identities(
        config=config,
        paths=paths,
        world=world,
        stores=stores,
        chain=chain,
        people=people,
        sql_people=sql_people,
        reactor=reactor,
        outdated=OutdatedSessions(stores.accounts, paths.state, world),
        access=ClosedAccess(chain, is_open, partial(read_changes, current, others, world)),
        claims=claims,
        signals=signals,
        session_key=key,
        known_accounts=KnownAccounts(blobs, stores.accounts, stores.journal, noted, world),
        nodes=others,
        greet=greet,
        is_first=is_first,
    )


def sources_of(
    config: Config,
    paths: StatePaths,
    world: World,
    reactor: Any,
    sql_people: People,
) -> Iterable[Source]:
    """Yield the sources of ``[access] backend``, except the configuration itself: it is always
    asked first, so that its users are never locked out.
    """
    for backend in config.access.backend:
        match backend:
            case AccessStore.CONFIG:
                pass
            case AccessStore.SQL:
                yield Source(sql_people, name="sql")
            case AccessStore.LDAP:
                people = CountedPeople(directory_of(config, paths, world, reactor), "ldap", world)
                yield Source(people, local=False, believed=BELIEVED, name="ldap")


def directory_of(config: Config, paths: StatePaths, world: World, reactor: Any) -> People:
    """Return the LDAP directory, which is not contacted yet. Blocks. Raises `CannotStart`."""
    from pypid.access import ldap

    authorities = paths.beside_ini(config.ldap.ca_certificates)
    file = None if authorities is None else Path(authorities)
    return ldap.open(config.ldap, file, world, reactor)


# Several workers: how the first one starts the others, and what each of those is given.

BACKLOG = 1024
"""Connections that may wait to be accepted, for a listener without ``backlog=`` of its own."""
PROGRAM = "pypid.cli.worker"
"""The module that Python runs as a further worker, with its number."""
_OF_THE_SERVICE = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""Variables that are meant for the first worker alone."""


def scales_of(
    config: Config, state: StateFolder, connections: Callable[[], int], platform: Platform
) -> Scales | None:
    """Return the scales, if there are several workers. `connections` returns how many this one
    has.
    """
    if platform.joining is not None:
        return Scales(platform.joining.scales, platform.joining.worker, connections)
    is_one = config.server.workers == 1 or not platform.serves_clients
    return None if is_one else make_scales(state.folder, connections)


def listeners_of(
    config: Config,
    site: IProtocolFactory,
    certificate: Certificate | None,
    scales: Scales | None,
    platform: Platform,
) -> list[Listener]:
    """Return the listeners for clients: as configured, or on the first worker's sockets. Raises
    `CannotStart`.
    """
    listener = partial(
        public,
        platform.reactor,
        site=site,
        certificate=certificate,
        scales=scales,
        backlog=BACKLOG,
    )
    if not platform.serves_clients:
        return []
    if platform.joining is None:
        return [listener(text) for text in config.server.listen]
    return [listener(socket.text, of=socket) for socket in platform.joining.sockets]


def supervisor_of(
    config: Config, paths: StatePaths, scales: Scales | None, platform: Platform
) -> Supervisor | None:
    """Return the supervisor of the other workers, which are not started yet; None if there are
    none, or the first worker has it.

    A worker that starts gets the text that the configuration file had here: all have the same, even
    if the file is edited meanwhile.
    """
    if scales is None or not platform.is_first:
        return None
    control = platform.log_level_control

    def orders() -> Message:
        is_changed = control is not None and control.in_force != control.configured
        return {
            "config": str(paths.ini),
            "state": str(paths.state),
            "workers": platform.worker_count,
            "level": control.in_force if control is not None and is_changed else None,
            "path": platform.environ.get("PYTHONPATH"),
        }

    command = Command(
        arguments=(sys.executable, "-P", "-m", PROGRAM),
        environ=_environ(platform.environ),
        folder=str(Path.cwd()),  # relative paths of a pypicloud's config.ini begin here
        orders=orders,
        text=_nameless(paths),
    )
    return Supervisor(
        config.server.workers,
        command,
        platform.siblings,
        scales,
        platform.reactor,
        logs.written,
    )


def _nameless(paths: StatePaths) -> int:
    """Return the descriptor of an unnamed file, which no other process can open, with the text of
    the configuration (which may hold secrets).
    """
    with TemporaryFile(dir=paths.state) as file:
        file.write(config_text(paths.ini))
        file.flush()
        return os.dup(file.fileno())


def _environ(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, with the import path of this Python, also where it was
    given explicitly (a zip file, ``-m``, a folder).
    """
    import_path = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    return {
        **{name: text for name, text in own.items() if name not in _OF_THE_SERVICE},
        "PYTHONPATH": import_path,
    }


# Reloading: what takes effect at once, and what of the configuration waits for a restart.

_log = Logger()

_RESTART = (
    "pypicloud's people are in its database now (pypi.auth = sql), and a start takes them over: "
    "the rules of projects stand no longer in the file, and the defaults would hold till then. "
    "Restart pypid."
)
_UNCHANGED = "The users and rules that were in force stay in force."
_RELOADED = ("users", "groups", "projects", "access", "issuers", "log", "indexes", "upstreams")


async def reload(
    config: Config,
    paths: StatePaths,
    identities: Identities,
    advisories: Advisories,
    indexes: Indexes,
    platform: Platform,
) -> ReloadOutcome:
    """Apply the users, the rules, the named indexes and the log level of the current file, and read
    the sources of advisories again. All other keys need a restart.

    `config` was in force at the start. A file that cannot be used changes nothing.
    """
    world, control = platform.world, platform.log_level_control
    advisories.refresh_requested.emit()
    try:
        fresh = await world.blocking(load_config, paths.ini, platform.worker_count)
        if fresh.inherits is not None and config.inherits is None:
            raise CannotStart(_RESTART)
        changed = _differing(identities.config, fresh)
        named = indexes.configured if indexes_wait(config, fresh) else fresh.indexes
        await indexes.compare_new(named)
        await identities.use(fresh)
    except PypidError as error:
        _log.error("{error}\n" + _UNCHANGED, error=error)
        return ReloadOutcome((f"{error}\n{_UNCHANGED}",))
    indexes.configure(named)
    if control is not None and control.configured != fresh.log.level.value:
        control.configure(fresh.log.level.value)
        changed.append("log-level")
    waiting = _waiting(config, fresh, applies_level=control is not None)
    waiting += _sections(INDEX, indexes.configured, fresh.indexes)
    later = f"; what changed in {', '.join(waiting)} takes effect at a restart" if waiting else ""
    _log.info(
        "[users], [groups], [projects], [access], [issuer:*] and [index:*] were read again{later}",
        later=later,
    )
    if prefork.number() == 1:  # the first worker writes the audit entry
        entry = AuditEntry(
            when=world.now(),
            who="operator",
            what="reload",
            subject=str(paths.ini),
            details={"changed": " ".join(changed)},
        )
        await identities.stores.journal.note(entry)
    return ReloadOutcome(waiting=tuple(waiting))


def _waiting(started: Config, fresh: Config, *, applies_level: bool) -> list[str]:
    """Return the sections that take effect at a restart only, spelled as in the file."""
    waiting = [f"[{name}]" for name in _differing(started, fresh) if name not in _RELOADED]
    waiting += _sections(UPSTREAM, started.upstreams, fresh.upstreams)
    log = attrs.evolve(fresh.log, level=started.log.level) if applies_level else fresh.log
    if log != started.log:
        waiting.append("[log]")
    if fresh.access.backend != started.access.backend:
        waiting.append("[access] backend")
    return waiting


def _sections(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the sections of a kind that differ, spelled as in the file."""
    return [f"[{kind}{name}]" for name in {**old, **new} if old.get(name) != new.get(name)]


def _differing(old: Config, new: Config) -> list[str]:
    """Return the sections that differ."""
    before, after = (attrs.asdict(each, recurse=False) for each in (old, new))
    return [
        name
        for name in before
        if name not in ("source", "origins", "notes") and before[name] != after[name]
    ]


# The wiring of a storage that is a bucket: its lease, and copies of the records.


def leased(
    config: Config,
    paths: StatePaths,
    storage: OpenedStorage,
    sharing: Sharing | None,
    world: World,
) -> tuple[OpenedStorage, StorageLease | None]:
    """Return the storage, which writes to a bucket under a lease only, and that lease. Raises
    `CannotStart`; blocks.
    """
    if config.storage.backend is not StorageBackend.S3:
        return storage, None
    from pypid.jobs.storage_lease import StorageLease

    node = None if sharing is not None else name_of_node(paths.state, world)
    holder = partial(str, f"state {node}") if sharing is None else sharing.lease_holder
    name = f"host {gethostname()}, process {os.getpid()}"
    lease = StorageLease(
        storage.blobs, world, holder, name, is_shared=sharing is not None, is_exact=storage.is_exact
    )
    blobs = evolve(storage.blobs, permit=lease.permit_write)
    return evolve(storage, blobs=blobs), lease


def stateless_node(
    config: Config,
    paths: StatePaths,
    storage: OpenedStorage,
    index: Index,
    leases: Leases,
    identities: Identities,
    lease: StorageLease,
    platform: Platform,
    *,
    open_accounts: Callable[[], Awaitable[object]],
) -> StatelessNode:
    """Return the jobs of a pypid on a bucket, with copies of the records there. A process
    that is not the first, or that runs one command, leaves records and lease alone.
    """
    from pypid.jobs.backup.copies import Backup
    from pypid.jobs.stateless_node import StatelessNode

    backup = Backup(
        storage.blobs, paths.state, storage.identity, config.server.secret, index.context.world
    )
    return StatelessNode(
        index,
        access=identities.access,
        close=storage.close,
        backup=backup if platform.greets else None,
        leases=leases,
        lease=lease,
        open_accounts=open_accounts,
        takes_lease=platform.greets,
    )


# State restored from the previous run: the catalog, and signed URLs that are still valid.

T = TypeVar("T")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that has nothing to wait for, since the reactor does not run
    yet.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    start(coroutine).addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return results[0]


def clean_stop_of(config: Config, storage: OpenedStorage) -> CleanStop | None:
    """Return the note of clean stops, with which the next start trusts the catalog.

    None where other processes may write to the storage while this one does not run: nodes, a
    bucket's users, a folder whose files are adopted.
    """
    is_own_folder = config.storage.backend is StorageBackend.FILES and not config.storage.adopt
    return CleanStop(storage.blobs) if is_sole(config) and is_own_folder else None


def links_of(
    config: Config, storage: OpenedStorage, catalog: SharedCatalog, world: World, reactor: Any
) -> Links | None:
    """Return the signed URLs, if clients are redirected to them; all nodes give the same. Raises
    `CannotStart`.
    """
    wanted = config.storage
    if wanted.backend is not StorageBackend.S3 or not wanted.redirect:
        return None
    from pypid.blobs.signed_urls import RESTRICTED_BUFFER, RESTRICTED_LIFETIME, Links

    cache = config.signed_urls.cache
    shared: SharedLinks | None = None
    if cache is UrlCache.REDIS:
        shared = redis_links(config.signed_urls.url or "", world, reactor)
    elif cache is UrlCache.DATABASE or (cache is None and not is_sole(config)):
        shared = EngineLinks(catalog.following)

    def made(lifetime: timedelta, buffer: timedelta, restricted: Links | None = None) -> Links:
        return Links(
            storage.blobs,
            world,
            lifetime,
            buffer,
            shared=shared,
            identity=_signer(config, storage, str(lifetime)),
            signer=storage.signer,
            restricted=restricted,
        )

    short = made(
        min(wanted.expire_after, RESTRICTED_LIFETIME), min(wanted.buffer_time, RESTRICTED_BUFFER)
    )
    return made(wanted.expire_after, wanted.buffer_time, short)


def _signer(config: Config, storage: OpenedStorage, *more: str) -> str:
    """Return the identity of the signer of this storage's URLs: another signer makes other URLs."""
    wanted = config.storage
    by = (
        storage.identity,
        wanted.access_key or "",
        wanted.cloudfront_domain or "",
        wanted.cloudfront_key_id or "",
        *more,
    )
    return sha256("\n".join(by).encode()).hexdigest()


def link_dumps(
    config: Config, links: Links | None, paths: StatePaths, storage: OpenedStorage, world: World
) -> tuple[WrittenLinks, ...]:
    """Return the snapshot of signed URLs, after loading those that are still valid."""
    if links is None:
        return ()
    from pypid.blobs.signed_urls import WrittenLinks

    written = WrittenLinks(links, paths.snapshot, _signer(config, storage), world)
    at_once(written.load())
    return (written,)


# The wiring of HTTP: the apps that the routes use, and the sites and the certificate for clients
# and for the control socket.


class Apps(NamedTuple):
    """The app for clients, and the one for the control socket."""

    public: App
    operator: App


def make_apps(
    config: Config,
    paths: StatePaths,
    state: StateFolder,
    storage: OpenedStorage,
    index: Index,
    identities: Identities,
    sharing: Sharing | None,
    condition: Condition,
    searching: Searching,
    metrics_folder: MetricsFolder | None,
    platform: Platform,
    signals: Signals,
    decided: UpstreamDecisions,
    decisions: Decisions,
    advisories: Advisories,
    indexes: Indexes,
    promotions: Promotions | None,
    public_names: PublicNames,
) -> Apps:
    """Return the apps of this index. They follow the rules in force."""
    routes = RouteTable((*MODULES, *ROUTE_MODULES))
    routes.add(simple)  # for the first page; the daemon loads the others
    make = partial(
        App,
        index=index,
        indexes=indexes,
        promotions=promotions,
        public_names=public_names,
        rules=identities.state.rules,
        world=platform.world,
        settings=_app_settings(config, paths, state),
        decisions=decisions,
        blocks=Blocks(decisions),
        attesting=Attesting(paths.trust_root),
        closed=identities.state.closed,
        auth_generation=identities.generation,
        resolvers=partial(_resolver, platform.reactor),
        condition=condition,
        advisories=advisories,
        routes=routes,
        configuration=partial(_configuration, config, identities),
        decided=decided,
        catch_up=nobody_else if sharing is None else sharing.catch_up,
        searching=lambda: searching.search,
        readmes=Readmes(platform.reactor),
        log_level_control=platform.log_level_control,
        siblings=platform.siblings,
        measured=partial(all_metrics, platform.world, metrics_folder),
    )
    public = make(access=identities.access, exports=_refuse_export)
    exports = _exports(config, paths, index, public, storage, platform.reactor)
    request_reload = partial(_request_reload, signals)
    apps = Apps(public, make(access=Operator(), exports=exports, reload=request_reload))
    for app in apps:
        signals.rights_changed.connect(partial(_update, app, identities))
    control = platform.log_level_control
    if control is not None:
        platform.siblings.on(LOG_LEVEL, lambda message: control.use(message["level"]))
    return apps


def _update(app: App, identities: Identities) -> None:
    app.use_access(identities.state)


async def _request_reload(signals: Signals) -> ReloadOutcome:
    outcome: Deferred[ReloadOutcome] = Deferred()
    signals.reload_requested.emit(outcome)
    return await outcome


def search_of(index: Index, state: StateFolder, storage: OpenedStorage) -> Searching:
    """Return the search service: the cards of all workers are in one file, which one of them
    writes.
    """

    def make() -> Search:
        from pypid.search.search import Search  # here, since it is not what a start waits for

        return Search(index, state.folder, storage.identity)

    prepare = partial(index.context.world.blocking, import_late, "pypid.search.search")
    return Searching(index.context.world.clock, make, prepare)


def _exports(
    config: Config,
    paths: StatePaths,
    index: Index,
    app: App,
    storage: OpenedStorage,
    reactor: Any,
) -> Callable[[Export, Callable[[int, int], None]], Coroutine[Any, Any, ExportedIndex]]:
    """Return the writer of exports. `app` has the rules that they go by."""

    def make() -> Exports:
        from pypid.wiring.exports import Exports  # here, since it is rarely needed

        settings = partial(bucket_settings, config.storage, paths)
        return Exports(config, paths, index, app, storage.identity, reactor, settings)

    provider = Provider(make)

    async def export(wanted: Export, progress: Callable[[int, int], None]) -> ExportedIndex:
        await index.context.world.blocking(
            import_late, "pypid.wiring.exports", "pypid.export.exporter"
        )
        return await provider()(wanted, progress)

    return export


async def _refuse_export(wanted: Export, progress: Callable[[int, int], None]) -> ExportedIndex:
    raise BadRequest(
        "An export is written wherever pypid itself may write, so it cannot be requested over the "
        "network. Run `pypid export` on pypid's machine."
    )


def _configuration(config: Config, identities: Identities) -> Sequence[SettingSection]:
    # here, since only an administrator requests it
    from pypid.core.configuration.in_force import in_force

    return in_force(config, identities.config)


def _resolver(reactor: Any, app: App, who: Identity) -> AbstractAsyncContextManager[Uv]:
    from pypid.daemon.loopback import Loopback  # here, since only a collection needs it

    return Loopback(reactor)(app, who)


def condition_of(
    config: Config,
    storage: OpenedStorage,
    sharing: Sharing | None,
    agreement: Agreement | None,
    identities: Identities,
    world: World,
) -> Condition:
    """Return the condition of the parts. A bucket was not reached yet, and of a shared catalog
    nothing was read.
    """
    is_bucket = config.storage.backend is StorageBackend.S3
    is_lasting = config.storage.backend is StorageBackend.FILES
    check = check_of_blob(storage.blobs, STORAGE_IDENTITY, never_empty=is_lasting)
    if storage.answers is not None:  # a bucket has no such object: asking for it takes two requests
        check = check_of_answer(storage.answers)
    files = HealthWatch(world.clock, "storage", check, is_well=not is_bucket)
    condition = Condition(
        access=lambda: identities.can_be_asked, storage=lambda: files.is_well, watches=(files,)
    )
    if sharing is None:
        return condition
    following = sharing.catalog.following
    return evolve(
        condition,
        cache=lambda: following.away is None and following.may_be_shown,
        shows=lambda: following.may_be_shown,
        differs=lambda: frozenset() if agreement is None else agreement.differs,
        watches=(
            files,
            HealthWatch(
                world.clock, "shared catalog", check_of_answer(following.current, CatalogDown)
            ),
        ),
    )


def _app_settings(config: Config, paths: StatePaths, state: StateFolder) -> AppSettings:
    return AppSettings(
        spool=state.spool,
        max_upload=config.server.max_upload,
        public_url=config.server.public_url,
        storage_folder=paths.storage,
        max_cache=config.upstream.max_cache,
        unknown_names=NameBudget(config.upstream.unknown_names),
        certificate=paths.certificate,
        configuration_name=display_name(paths.ini),
        address=listeners.base_url(config),
        place=files_of(config, paths),
        indexes=() if config.upstream.mode is Mode.OFFLINE else indexes_of(config),
        named_upstreams=urls_shown(config),
        cdn=config.storage.cloudfront_domain,
    )


def make_sites(config: Config, apps: Apps, platform: Platform) -> tuple[Site, Site]:
    """Return the public site, and the one behind the control socket."""
    server, world = config.server, platform.world
    ids = Ids.drawn(world.random)
    access_log = (
        AccessLog(world.now, platform.reactor.seconds, ids=ids) if config.log.access else None
    )
    check_framing()
    # without the fast path all requests go through the routes
    fast_path = (
        open_fast_path(
            apps.public,
            access_log,
            platform.reactor,
            wanted=server.fast_path,
            limit=responses_limit(config),
        )
        if platform.serves_clients
        else None
    )
    public = Site(
        resource(apps.public),
        reactor=platform.reactor,
        trusted_proxies=TrustedProxies(server.trusted_proxies),
        access_log=access_log,
        fast_path=fast_path,
        ids=ids,
        public_url=server.public_url,
        limits=_limits(config),
        hosts=_hosts(config),
        cors=server.cors,
        hsts=server.hsts,
        counts=world.counts if platform.serves_clients else None,
    )
    return public, Site(resource(apps.operator), reactor=platform.reactor, ids=ids)


def responses_limit(config: Config) -> int:
    """Return how many bytes of `[upstream] memory` are for the responses of the fast path."""
    return min(LIMIT, config.upstream.memory // 4)


def _limits(config: Config) -> ConnectionSettings:
    server, descriptors = config.server, getrlimit(RLIMIT_NOFILE)[0]
    return ConnectionSettings(
        header_timeout=server.header_timeout.total_seconds(),
        per_client=server.max_connections_per_client,
        descriptors=0 if descriptors == RLIM_INFINITY else descriptors,
    )


def _hosts(config: Config) -> HostPolicy:
    server = config.server
    return HostPolicy(
        allowed=server.allowed_hosts,
        public_url=server.public_url,
        machine_names=machine_names(),
    )


def certificate_of(config: Config, paths: StatePaths) -> Certificate | None:
    """Return the certificate for clients, if one is configured. Raises `CannotStart`."""
    if paths.certificate is None or paths.key is None:
        return None
    return Certificate(paths.certificate, paths.key, config.server.tls_minimum.value)


def make_daemon(config: Config, platform: Platform) -> Daemon:
    """Return the daemon. Nothing listens, no job runs, and no first run is greeted until
    `Daemon.startService`.

    Raises `CannotStart`, `Unreadable`, with advice, if the configuration cannot be put into effect.
    """
    use_one_arena()
    world, reactor, signals = platform.world, platform.reactor, Signals()
    paths = where(config, platform.environ)
    certificate = certificate_of(config, paths) if platform.serves_clients else None
    state = platform.open_state(paths.state)
    with state.released_on_error():
        is_late = opens_late(config, paths, platform)
        # serials never repeat, even if the catalog is lost: mirrors (bandersnatch) remember the
        # last one that they saw
        serial = int(world.now().timestamp())
        storage = at_once(open_storage(config, paths, world, reactor))
        stores = open_stores(config, paths, world, reactor)
        # the rest is for the fast path, which has copies of pages
        budget = MemoryBudget(config.upstream.memory - responses_limit(config))
        catalog = open_catalog(
            config, paths, storage.identity, serial, world, reactor, signals, budget
        )
        sharing = open_sharing(config, paths, catalog, stores.accounts, world, signals)
        clean_stop = clean_stop_of(config, storage)
        leases: Leases = Leases() if sharing is None else sharing.leases
        storage, lease = leased(config, paths, storage, sharing, world)
        if sharing is None:
            at_once(begin_alone(catalog, paths, clean_stop))
        identity, claims = via.identity(world.random(16)), Claims(EVERY_NAME)
        upstream = open_upstream(config.upstream, paths, world, reactor, identity)
        links = links_of(config, storage, catalog, world, reactor)
        policy = policy_of(config.upstream, claims, exclusive_names(config))
        decisions = decisions_of(config, policy, storage, sharing, platform, signals)
        decided = UpstreamDecisions.of(decisions, policy, world)
        recovery = PromotionRecovery()
        indexes = Indexes(
            catalog,
            decisions,
            config.indexes,
            {name: each.only for name, each in config.upstreams.items()},
            others_write=sharing is not None or lease is not None,
            clean=stores.accounts.remove_owners,
        )
        index = Index(
            IndexContext(
                storage.blobs,
                catalog,
                policy,
                world,
                shared=sharing is not None,
                lease=None if lease is None else lambda: lease.is_sole,
                adopts=config.storage.adopt,
                describing=storage.describing,
                provisional=storage.provisional,
                announced=None if sharing is None else sharing.leases.announced,
                promotions=recovery,
                names_elsewhere=indexes.names,
            ),
            UpstreamSource(
                upstream.upstream,
                config.upstream.ttl,
                config.upstream.timeout,
                state.spool,
                identity,
                trust_of(config, paths, policy, decisions, world),
                signals.file_cached,
            ),
            indexes,
            links,
            storage.bucket,
            budget,
            decisions.ready,
            UpstreamChoice.of(config.upstream.upstreams or None, indexes.only),
        )
        named = open_named_upstreams(config, paths, world, reactor, identity, policy)
        indexes.join(index, named.settings)
        identities = make_identities(
            config, paths, stores, world, reactor, claims, signals, sharing,
            greet=greeter(config, paths, platform, is_late=is_late),
            is_first=storage.new, is_open=not is_late, blobs=storage.blobs,
        )  # fmt: skip
        node = None
        if lease is not None:
            node = stateless_node(
                config, paths, storage, index, leases, identities, lease, platform,
                open_accounts=identities.begin,
            )  # fmt: skip
        agreement = None
        if sharing is not None:
            agreement = Agreement(
                sharing.engine, world, lambda: identities.config, storage.identity
            )
        condition = condition_of(config, storage, sharing, agreement, identities, world)
        search = search_of(index, state, storage)
        metrics = metrics_folder(config, state, platform)
        advisories = open_advisories(config, paths, world, index.context.policy.restrictions)
        promotions = promotions_between(indexes, storage.blobs, storage.blobs, recovery)
        public_names = PublicNames(index, paths.state, world)
        apps = make_apps(
            config, paths, state, storage, index, identities, sharing, condition, search, metrics,
            platform, signals, decided, decisions, advisories,
            indexes, promotions, public_names,
        )  # fmt: skip
        if not is_late:
            at_once(identities.open())
        site, operator_site = make_sites(config, apps, platform)
        scales = scales_of(config, state, lambda: len(site.channels), platform)
        sockets = listeners_of(config, site, certificate, scales, platform)
        if platform.is_first:
            sockets.append(listeners.control(reactor, state, operator_site))
        services: list[Service] = [decisions, *condition.watches, apps.public.readmes, search]
        if agreement is not None:
            services.append(agreement.periodic())
        if sharing is None and config.signed_urls.cache is UrlCache.DATABASE:
            tidy = partial(catalog.following.engine.tidy, 0)
            services.append(Periodic(world.clock, TIDY, tidy, "removing expired signed URLs"))
        if platform.serves_clients:
            services += advisory_services(config, paths, advisories, platform)
            services += cooldown_fixes_of(config, index, advisories, stores.downloads)
            services.append(
                Measuring(
                    world, index, site, condition, metrics, platform.siblings, paths.state,
                    advisories, indexes,
                )
            )  # fmt: skip
            services.append(recovery_of(promotions))
            services += [public_names.periodic()] if platform.is_first else []
        if platform.greets:
            log_start(config, paths)
        return Daemon(
            index=index,
            signals=signals,
            catalog=catalog,
            signed_urls=link_dumps(config, links, paths, storage, world),
            maintenance=maintenance_of(
                config, index, (upstream.close, *named.closes), leases, indexes.is_asked
            ),
            sites=(site, operator_site),
            routes=apps.public.routes,
            listening=tuple(sockets),
            certificate=certificate,
            state=state,
            world=world,
            reactor=reactor,
            notify=platform.notify,
            reload_people=partial(reload, config, paths, identities, advisories, indexes, platform),
            people=identities,
            condition=condition,
            watchdog=platform.watchdog,
            stateless_node=node,
            sharing=sharing,
            supervisor=supervisor_of(config, paths, scales, platform),
            clean_stop=clean_stop,
            welcome=None if is_late else lambda: at_once(identities.welcome()),
            further_services=tuple(services),
            prepare_upstream=upstream.prepare,
        )


# Running pypid as a process: by twistd, by a .tac file, and in the foreground.


def makeService(options: Options) -> IService:
    """Return the service that twistd starts; exits with a line of advice where it cannot start."""
    return _process(options.loaded, options.log_level_control, options["workers"])


def tac_application(file: Path) -> Any:
    """Return the `Application` of a .tac file, for a configuration file. It logs as the
    configuration and twistd's command line say.

    twistd reads a .tac file without its own options, and takes the log observer from the
    application: so the options are read again.
    """
    from twisted.application.service import Application

    # documented, and not exported
    from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

    class Twistd(ServerOptions):
        """twistd's options, without their effects."""

        def opt_reactor(self, name: str) -> None:
            """Install no reactor: there is one."""

        opt_r = opt_reactor

    twistd, options = Twistd(), Options()  # type: ignore[no-untyped-call]
    with suppress(UsageError):  # not run by twistd
        twistd.parseOptions(sys.argv[1:])  # type: ignore[no-untyped-call]
        options = Options(twistd)
    options.parseOptions(["--config", str(file)])  # type: ignore[no-untyped-call]
    application: Any = Application("pypid")  # type: ignore[no-untyped-call]
    if options.log_level_control is not None:
        application.setComponent(ILogObserver, logs.configured())
    makeService(options).setServiceParent(application)  # type: ignore[no-untyped-call]
    return application


def serve(file: Path, worker_count: int | None = None) -> None:
    """Run in the foreground until a signal stops it: what ``twistd -n pypid`` does, without its
    plugins. `worker_count`: that of the command line.
    """
    from twisted.internet import reactor

    config = load_config(file, worker_count)
    if config.log.format is LogFormat.TEXT and config.log.level in (Level.DEBUG, Level.INFO):
        folder = where(config, os.environ).state
        with suppress(OSError):
            begin = f"pypid {__version__}: configuration {display_name(file)}, data in {folder}"
            print(begin, flush=True)
    log_level_control = logs.Threshold(config.log.level.value)
    process = _process(config, log_level_control, worker_count)
    begin_logging(log_level_control, config.log.format.value, sys.stdout, redirect=True)
    process.startService()
    reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
    reactor.run()


def _process(
    config: Config, log_level_control: logs.Threshold | None, worker_count: int | None
) -> Process:
    from twisted.internet import reactor

    try:
        platform = Platform(
            reactor,
            dict(os.environ),
            log_level_control=log_level_control,
            worker_count=worker_count,
        )
        return Process(make_daemon(config, platform), reactor, logs.rotate)
    except PypidError as error:
        cannot_start(error)
