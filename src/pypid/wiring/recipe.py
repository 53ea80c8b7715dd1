"""The start: how a daemon is put together, and the entry points that do so.

Only this package may import all others.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service

from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.packed_lines import ListingMemory
from pypid.core.claims import EVERY_NAME, Claims
from pypid.core.configuration.parse import Config
from pypid.core.memory_budget import MemoryBudget
from pypid.core.simple_api import via
from pypid.core.upstream_choice import UpstreamChoice
from pypid.daemon import listeners
from pypid.daemon.daemon import Daemon, use_one_arena
from pypid.daemon.shared_catalog import open_sharing
from pypid.daemon.state import where
from pypid.daemon.stores import open_stores
from pypid.flow.signals import Signals
from pypid.index import Index
from pypid.index.promotions import PromotionRecovery
from pypid.index.upstream.decided import UpstreamDecisions
from pypid.index.upstream.public_names import PublicNames
from pypid.jobs.leases import Leases, SoleNode
from pypid.wiring.advisories import advisory_services, open_advisories
from pypid.wiring.apps import (
    agreement_of,
    certificate_of,
    condition_of,
    make_apps,
    make_sites,
    responses_limit,
    search_of,
)
from pypid.wiring.bucket import leased, stateless_node
from pypid.wiring.configuration import load_config as load_config
from pypid.wiring.dumps import at_once, clean_stop_of, dumps_of, link_dumps, links_of, load
from pypid.wiring.greeting import greeter, log_start, opening_of, opens_late
from pypid.wiring.identities import make_identities
from pypid.wiring.indexes import (
    all_indexes_of,
    named_indexes_of,
    promotions_between,
    recovery_of,
)
from pypid.wiring.metrics import Measuring, metrics_folder
from pypid.wiring.platform import Platform
from pypid.wiring.prefork import listeners_of, scales_of, supervisor_of
from pypid.wiring.reload import reload
from pypid.wiring.storage import decisions_of, open_storage
from pypid.wiring.twistd import Options as Options
from pypid.wiring.twistd import application_of, process_of, run_in_foreground
from pypid.wiring.upstreams import (
    cooldown_fixes_of,
    exclusive_names,
    maintenance_of,
    open_named_upstreams,
    open_upstream,
    policy_of,
    trust_of,
)


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
        memory = ListingMemory(budget, state.spool, world.blocking)
        sharing = open_sharing(
            config,
            paths,
            storage.identity,
            serial,
            stores.accounts,
            world,
            reactor,
            signals,
            memory,
        )
        leases: Leases = SoleNode() if sharing is None else sharing.leases
        storage, lease = leased(config, paths, storage, sharing, world)
        catalog = (
            MemoryCatalog(serial=serial, thinking=world.thinking, memory=memory)
            if sharing is None
            else sharing.catalog
        )
        identity, claims = via.identity(world.random(16)), Claims(EVERY_NAME)
        upstream = open_upstream(config.upstream, paths, world, reactor, identity)
        dumps = dumps_of(config, catalog, paths, storage, world)
        is_filled = sharing is not None or load(dumps, storage)
        links = links_of(config, storage, sharing, world)
        policy = policy_of(config.upstream, claims, exclusive_names(config))
        decisions = decisions_of(config, policy, storage, sharing, platform, signals)
        decided = UpstreamDecisions.of(decisions, policy, world)
        recovery = PromotionRecovery()
        all_indexes = all_indexes_of(
            config, storage, catalog, others_write=sharing is not None or lease is not None
        )
        index = Index(
            storage.blobs,
            catalog,
            upstream.upstream,
            policy,
            world,
            shared=sharing is not None,
            ttl=config.upstream.ttl,
            timeout=config.upstream.timeout,
            spool=state.spool,
            links=links,
            bucket=storage.bucket,
            adopts=config.storage.adopt,
            describing=storage.describing,
            provisional=storage.provisional,
            under_way=None if sharing is None else sharing.leases,
            identity=identity,
            is_sole=None if lease is None else lambda: lease.is_sole,
            memory=budget,
            restrictions_read=decisions.ready,
            promotions=recovery,
            trust=trust_of(config, paths, policy, decisions, world),
            file_cached=signals.file_cached,
            names_elsewhere=all_indexes.names,
            all_indexes=all_indexes,
            upstreams=all_indexes.upstreams,
            choice=UpstreamChoice.of(config.upstream.upstreams or None, all_indexes.only),
        )
        named = open_named_upstreams(config, paths, world, reactor, identity, policy)
        indexes = named_indexes_of(config, all_indexes, index, named.settings, decisions)
        indexes.on_removed(stores.accounts.remove_owners)
        clean_stop = clean_stop_of(config, paths, storage, sharing, dumps, index)
        identities = make_identities(
            config, paths, stores, world, reactor, claims, signals, sharing,
            greet=greeter(config, paths, platform, is_late=is_late),
            is_first=storage.new, is_open=not is_late, blobs=storage.blobs,
        )  # fmt: skip
        node = None
        if lease is not None:
            node = stateless_node(
                config, paths, storage, index, leases, identities, lease, platform,
                fill=not is_filled, open_accounts=opening_of(identities),
            )  # fmt: skip
        agreement = agreement_of(storage, sharing, identities, world)
        condition = condition_of(config, storage, sharing, agreement, identities, world)
        search = search_of(index, state, storage)
        metrics = metrics_folder(config, state, platform)
        advisories = open_advisories(config, paths, world, index.policy.restrictions)
        promotions = promotions_between(indexes, storage.blobs, storage.duplicating, recovery)
        public_names = PublicNames(index, paths.state, world)
        apps = make_apps(
            config, paths, state, storage, index, identities, sharing, condition, search, metrics,
            platform, signals, decided, decisions, advisories,
            indexes, promotions, public_names,
        )  # fmt: skip
        if not is_late:
            at_once(identities.open())
        site, operator_site = make_sites(config, apps, catalog, platform)
        scales = scales_of(config, state, lambda: len(site.channels), platform)
        sockets = listeners_of(config, site, certificate, scales, platform)
        if platform.is_first:
            sockets.append(listeners.control(reactor, state, operator_site))
        services: list[Service] = [decisions, *condition.watches, apps.public.readmes, search]
        if agreement is not None:
            services.append(agreement.periodic())
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
            dumps=(*dumps, *link_dumps(config, links, paths, storage, world)),
            dump_interval=config.catalog.dump_interval.total_seconds(),
            maintenance=maintenance_of(
                config, index, (upstream.close, *named.closes), leases, all_indexes.is_asked
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


def makeService(options: Options) -> IService:
    """Return the service that twistd starts; exits with a line of advice where it cannot start."""
    return process_of(options, make_daemon)


def tac_application(file: Path) -> Any:
    """Return the `Application` of a .tac file, for a configuration file."""
    return application_of(file, make_daemon)


def serve(file: Path, worker_count: int | None = None) -> None:
    """Run in the foreground until a signal stops it. `worker_count`: that of the command line."""
    run_in_foreground(file, worker_count, make_daemon)
