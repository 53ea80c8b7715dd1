"""The assembly of everything, but not running and without sockets: index, access, dumps, jobs,
apps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import Layout, Mode, StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.core.policy import Policy
from pypid.core.records.layout import SNAPSHOT, THEIR_SNAPSHOT
from pypid.core.simple_api import via
from pypid.daemon.daemon import PeriodicDump
from pypid.daemon.identities import Identities
from pypid.daemon.shared_catalog import Sharing, name_of_node, sharing
from pypid.daemon.state import StateFolder, StatePaths
from pypid.flow import World
from pypid.flow.spool import sweep, sweep_collections
from pypid.index import Index
from pypid.jobs.backup.marker import is_new
from pypid.jobs.cache_maintenance import CacheMaintenance
from pypid.jobs.clean_stop import CleanStop
from pypid.jobs.leases import Alone, Leases
from pypid.ports import Catalog, Glance
from pypid.web.app.app import App
from pypid.wiring.app import facing, publishing_of
from pypid.wiring.dumps import at_once, links_of, load, snapshots_of, written_links
from pypid.wiring.people import identities
from pypid.wiring.storage import OpenedStorage, open_storage, plan_of
from pypid.wiring.upstreams import Reached, reach

if TYPE_CHECKING:  # for buckets only
    from pypid.catalog.signed_urls import Links
    from pypid.export.publish import Publishing
    from pypid.jobs.stateless_node import StatelessNode
    from pypid.jobs.storage_lease import StorageLease


@frozen
class Assembly:
    """A pypid that is assembled and not running yet. `apps`: the public app, and the
    operator's.
    """

    index: Index
    glance: Glance
    """What the catalog knows without waiting."""
    snapshots: tuple[PeriodicDump, ...]
    maintenance: CacheMaintenance
    people: Identities
    apps: tuple[App, ...]
    throwaway: StatelessNode | None = None
    sharing: Sharing | None = None
    """Set where several nodes share the catalog."""
    publishing: Publishing | None = None
    """Set where the index is also published as files (`[publish]`)."""
    clean_stop: CleanStop | None = None
    """Set where the storage is a folder that no other process shares."""


def assemble(
    config: Config,
    places: StatePaths,
    state: StateFolder,
    world: World,
    reactor: Any,
    greet: Callable[[], object] | None = None,
) -> Assembly:
    """Return everything but the sockets. `greet`: see `Identities`. Raises `CannotStart`,
    `Unreadable`.
    """
    _prepare_spool(state)
    storage = at_once(open_storage(config, places, world, reactor))
    # serials never repeat, even if the catalog is lost: mirrors (bandersnatch) remember the last
    # one that they saw
    serial = int(world.now().timestamp())
    shares = sharing(config, places, storage.identity, serial, world, reactor)
    catalog = (
        MemoryCatalog(serial=serial, thinking=world.thinking) if shares is None else shares.catalog
    )
    storage, lease = _leased(config, places, storage, shares, world)
    identity = via.identity(world.random(16))
    reached = reach(config, places, world, reactor, identity)
    snapshots = snapshots_of(config, catalog, places, storage, world)
    known = shares is not None or load(snapshots, storage)
    links = links_of(config, storage, shares, world)
    index = _index(config, state, storage, shares, catalog, reached, links, world, identity, lease)
    clean_stop = _clean_stop(config, places, storage, shares, world)
    if (
        clean_stop is not None
        and at_once(clean_stop.take())
        and all(snapshot.is_whole for snapshot in snapshots)
    ):
        index.trust_dump()
    people = identities(config, places, world, reactor, index.policy.claims)
    leases: Leases = Alone()
    if shares is not None:
        shares.serve(people, places.state)
        leases = shares.leases
    throwaway = None
    if lease is not None:
        people.access.is_open = not is_new(places.state)
        throwaway = _throwaway(
            config, places, storage, index, leases, people, lease, fill=not known
        )
    made = facing(config, places, state, index, people, shares, storage, reactor)
    people.greet, people.is_first = greet, storage.new
    people.serve(*made.apps)
    if people.access.is_open:
        at_once(people.open())
    written: tuple[PeriodicDump, ...] = (
        *snapshots,
        *written_links(config, links, places, storage, world),
    )
    maintenance = _upkeep(config, index, reached, leases)
    for service in made.services:
        service.setServiceParent(maintenance)  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
    publishing = publishing_of(config, places, index, made.apps, storage, leases, reactor)
    return Assembly(
        index,
        catalog,
        written,
        maintenance,
        people,
        made.apps,
        throwaway,
        shares,
        publishing,
        clean_stop,
    )


def _clean_stop(
    config: Config, places: StatePaths, storage: OpenedStorage, shares: Sharing | None, world: World
) -> CleanStop | None:
    """Return None where other processes may write to the storage while this one does not run:
    nodes, a bucket's users, a pypicloud.
    """
    is_own_folder = (
        config.storage.backend is StorageBackend.FILES and config.storage.layout is Layout.PYPID
    )
    if shares is not None or not is_own_folder:
        return None
    return CleanStop(storage.blobs, (places.snapshot, places.their_snapshot), world.blocking)


def _index(
    config: Config,
    state: StateFolder,
    storage: OpenedStorage,
    shares: Sharing | None,
    catalog: Catalog,
    reached: Reached,
    links: Links | None,
    world: World,
    identity: str,
    lease: StorageLease | None,
) -> Index:
    return Index(
        storage.blobs,
        catalog,
        reached.upstream,
        _policy(config),
        world,
        shared=shares is not None,
        ttl=config.upstream.ttl,
        timeout=config.upstream.timeout,
        spool=state.spool,
        identity=identity,
        links=links,
        bucket=storage.bucket,
        plan=plan_of(config.storage),
        describing=storage.describing,
        under_way=None if shares is None else shares.leases,
        is_sole=None if lease is None else lambda: lease.is_sole,
    )


def _throwaway(
    config: Config,
    places: StatePaths,
    storage: OpenedStorage,
    index: Index,
    leases: Leases,
    people: Identities,
    lease: StorageLease,
    *,
    fill: bool,
) -> StatelessNode:
    """Return the jobs of a pypid on a bucket: dumps there, and copies of the records."""
    from pypid.catalog.dump_file import what_is_kept
    from pypid.catalog.remote_dump import RemoteDump
    from pypid.jobs.backup.copies import Backup
    from pypid.jobs.stateless_node import StatelessNode

    world, spool = index.world, index.spool
    file_cache = Backup(storage.blobs, places.state, storage.identity, config.server.secret, world)
    catalog = index.catalog
    snapshots: tuple[RemoteDump, ...] = ()
    if isinstance(catalog, MemoryCatalog):  # a shared catalog outlives each of its nodes
        ours = RemoteDump(catalog, storage.blobs, SNAPSHOT, storage.identity, world, spool)
        snapshots = (
            ours,
            RemoteDump(
                catalog.upstream_lines,
                storage.blobs,
                THEIR_SNAPSHOT,
                storage.identity,
                world,
                spool,
                what_is_kept,
            ),
        )
    close, access = storage.close, people.access
    return StatelessNode(
        index,
        snapshots,
        fill=fill,
        access=access,
        close=close,
        file_cache=file_cache,
        leases=leases,
        lease=lease,
    )


def _leased(
    config: Config, places: StatePaths, storage: OpenedStorage, shares: Sharing | None, world: World
) -> tuple[OpenedStorage, StorageLease | None]:
    """Return the storage, which writes to a bucket under a lease only, and that lease. Raises
    `CannotStart`; blocks.
    """
    if config.storage.backend is not StorageBackend.S3:
        return storage, None
    from pypid.jobs.storage_lease import LeasedBlobs, LeasedDescriptions, StorageLease

    if shares is None:
        holder: Callable[[], str | None] = partial(
            str, f"state {name_of_node(places.state, world)}"
        )
    else:
        holder = shares.lease_holder
    name = f"host {gethostname()}, process {os.getpid()}"
    lease = StorageLease(
        storage.blobs, world, holder, name, is_shared=shares is not None, is_exact=storage.is_exact
    )
    describing = (
        None if storage.describing is None else LeasedDescriptions(storage.describing, lease)
    )
    return evolve(storage, blobs=LeasedBlobs(storage.blobs, lease), describing=describing), lease


def _upkeep(config: Config, index: Index, reached: Reached, leases: Leases) -> CacheMaintenance:
    upstream = config.upstream
    refresh = upstream.refresh if upstream.mode is Mode.MIRROR else None
    # a bucket is compared again and again anyway
    compares = index.shared and config.storage.backend is not StorageBackend.S3
    return CacheMaintenance(
        index,
        reached.close,
        leases=leases,
        refresh=refresh,
        max_cache=upstream.max_cache,
        compares=compares,
    )


def _prepare_spool(state: StateFolder) -> None:
    try:
        sweep(state.spool)
        sweep_collections(state.spool)
    except OSError as error:
        raise CannotStart(
            f"The folder {state.spool} cannot be used: {error.strerror}. It is in [server] state."
        ) from None


def _policy(config: Config) -> Policy:
    upstream = config.upstream
    return Policy(
        mode=upstream.mode,
        reserved=upstream.reserved,
        allow=upstream.allow,
        deny=upstream.deny,
        allow_mixed=upstream.allow_mixed,
        cooldown=upstream.cooldown,
        require_hashes=upstream.require_hashes,
        restored=upstream.restored,
    )
