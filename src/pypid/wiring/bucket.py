"""The wiring of a storage that is a bucket: its lease, the dumps in it, copies of the records."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING

from attrs import evolve

from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.records.layout import (
    NAMED_SNAPSHOT,
    NAMED_THEIR_SNAPSHOT,
    SNAPSHOT,
    THEIR_SNAPSHOT,
)
from pypid.daemon.identities import Identities
from pypid.daemon.shared_catalog import Sharing, name_of_node
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.index import Index
from pypid.jobs.leases import Leases
from pypid.wiring.platform import Platform
from pypid.wiring.storage import OpenedStorage

if TYPE_CHECKING:  # imported where the storage is a bucket
    from pypid.catalog.remote_dump import RemoteDump
    from pypid.jobs.stateless_node import StatelessNode
    from pypid.jobs.storage_lease import StorageLease


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
    return evolve(storage, blobs=blobs, duplicating=blobs), lease


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
    fill: bool,
    open_accounts: Callable[[], Awaitable[object]],
) -> StatelessNode:
    """Return the jobs of a pypid on a bucket: dumps there, and copies of the records. A process
    that is not the first, or that runs one command, leaves records and lease alone.
    """
    from pypid.jobs.backup.copies import Backup
    from pypid.jobs.stateless_node import StatelessNode

    backup = Backup(storage.blobs, paths.state, storage.identity, config.server.secret, index.world)
    return StatelessNode(
        index,
        _dumps_in_bucket(index, storage),
        fill=fill,
        access=identities.access,
        close=storage.close,
        backup=backup if platform.greets else None,
        leases=leases,
        lease=lease,
        open_accounts=open_accounts,
        takes_lease=platform.greets,
    )


def _dumps_in_bucket(index: Index, storage: OpenedStorage) -> tuple[RemoteDump, ...]:
    from pypid.catalog.dump_file import what_is_kept
    from pypid.catalog.dump_folder import PACKED
    from pypid.catalog.remote_dump import RemoteDump

    catalog = index.catalog
    if not isinstance(catalog, MemoryCatalog):  # a shared catalog outlives each of its nodes
        return ()
    place = storage.identity, index.world, index.spool
    return (
        RemoteDump(catalog.local, storage.blobs, SNAPSHOT, *place),
        RemoteDump(catalog.upstream, storage.blobs, THEIR_SNAPSHOT, *place, what_is_kept, PACKED),
        RemoteDump(catalog.named_local, storage.blobs, NAMED_SNAPSHOT, *place, optional=True),
        RemoteDump(
            catalog.named_upstream, storage.blobs, NAMED_THEIR_SNAPSHOT, *place, what_is_kept,
            PACKED, optional=True,
        ),
    )  # fmt: skip
