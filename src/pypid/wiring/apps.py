"""The wiring of HTTP: the apps that the routes use, and the sites and the certificate for clients
and for the control socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from pypid.access.operator import Operator
from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.compat import ROUTE_MODULES
from pypid.core.configuration.choices import Mode, StorageBackend
from pypid.core.configuration.lookup import display_name
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadRequest, CatalogDown
from pypid.core.export_request import Export, ExportedIndex
from pypid.core.permissions import Identity
from pypid.core.records.layout import STORAGE_IDENTITY
from pypid.daemon import listeners
from pypid.daemon.identities import Identities
from pypid.daemon.shared_catalog import Sharing
from pypid.daemon.state import StateFolder, StatePaths, files_of
from pypid.flow import World
from pypid.flow.conditions import (
    Condition,
    HealthWatch,
    check_of_answer,
    check_of_blob,
)
from pypid.flow.imports import import_late
from pypid.flow.signals import Provider, ReloadOutcome, Signals
from pypid.index import Index
from pypid.index.blocks import Blocks
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import NamedIndexes
from pypid.index.promotions import Promotions
from pypid.index.upstream.decided import UpstreamDecisions
from pypid.index.upstream.public_names import PublicNames
from pypid.jobs.node_agreement import Agreement
from pypid.ports import Resolver
from pypid.rendering.readmes import Readmes
from pypid.search.service import Searching
from pypid.web.app.app import App, nobody_else
from pypid.web.app.app_settings import LOG_LEVEL, AppSettings
from pypid.web.app.name_budget import NameBudget
from pypid.web.app.route_table import MODULES, RouteTable
from pypid.web.installers import simple
from pypid.wiring.metrics import all_metrics
from pypid.wiring.platform import Platform
from pypid.wiring.storage import OpenedStorage, bucket_settings
from pypid.wiring.upstreams import indexes_of, urls_shown

if TYPE_CHECKING:  # not needed by a start
    from pypid.core.configuration.in_force import SettingSection
    from pypid.metrics.worker_metrics import MetricsFolder
    from pypid.search.search import Search
    from pypid.wiring.exports import Exports


from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

from pypid.daemon.tls import Certificate
from pypid.ports import Glance
from pypid.web.fastpath.cached_channel import open_fast_path
from pypid.web.fastpath.state import LIMIT
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel.start_check import check_framing
from pypid.web.http.connections import ConnectionSettings
from pypid.web.http.proxies import HostPolicy, TrustedProxies, machine_names
from pypid.web.http.request_ids import Ids
from pypid.web.http.site import Site
from pypid.web.root import resource


@frozen
class Apps:
    """The app for clients, and the one for the control socket."""

    public: App
    operator: App

    def __iter__(self) -> Iterator[App]:
        return iter((self.public, self.operator))


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
    indexes: NamedIndexes,
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


async def _request_reload(signals: Signals) -> ReloadOutcome:
    outcome: Deferred[ReloadOutcome] = Deferred()
    signals.reload_requested.emit(outcome)
    return await outcome


def _update(app: App, identities: Identities) -> None:
    app.use_access(identities.state)


def search_of(index: Index, state: StateFolder, storage: OpenedStorage) -> Searching:
    """Return the search service: the cards of all workers are in one file, which one of them
    writes.
    """

    def make() -> Search:
        from pypid.search.search import Search  # here, since it is not what a start waits for

        return Search(index, state.folder, storage.identity)

    prepare = partial(index.world.blocking, import_late, "pypid.search.search")
    return Searching(index.world.clock, make, prepare)


def _exports(
    config: Config,
    paths: StatePaths,
    index: Index,
    app: App,
    storage: OpenedStorage,
    reactor: Any,
) -> Callable[[Export, Callable[[int, int], None]], Awaitable[ExportedIndex]]:
    """Return the writer of exports. `app` has the rules that they go by."""

    def make() -> Exports:
        from pypid.wiring.exports import Exports  # here, since it is rarely needed

        settings = partial(bucket_settings, config.storage, paths)
        return Exports(config, paths, index, app, storage.identity, reactor, settings)

    provider = Provider(make)

    async def export(wanted: Export, progress: Callable[[int, int], None]) -> ExportedIndex:
        await index.world.blocking(import_late, "pypid.wiring.exports", "pypid.export.one_pass")
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


def _resolver(reactor: Any, app: App, who: Identity) -> AbstractAsyncContextManager[Resolver]:
    from pypid.daemon.loopback import Loopback  # here, since only a collection needs it

    return Loopback(reactor)(app, who)


def agreement_of(
    storage: OpenedStorage, sharing: Sharing | None, identities: Identities, world: World
) -> Agreement | None:
    """Return the comparison of this node's settings with those of the others, if there are any."""
    if sharing is None:
        return None
    return Agreement(sharing.engine, world, lambda: identities.config, storage.identity)


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


def make_sites(
    config: Config, apps: Apps, catalog: Glance, platform: Platform
) -> tuple[Site, Site]:
    """Return the public site, and the one behind the control socket. `catalog`: the catalog's state
    in memory.
    """
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
            catalog,
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
