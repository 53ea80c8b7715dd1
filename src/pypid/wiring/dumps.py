"""State restored from the previous run: dumps of the catalog, and signed URLs that are still
valid.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.logger import Logger

from pypid.catalog.dump import CatalogDump
from pypid.catalog.lines import Loaded
from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.parse import Config
from pypid.daemon.shared_catalog import Sharing
from pypid.daemon.state import StatePaths
from pypid.flow import World, start
from pypid.ports import Catalog
from pypid.wiring.storage import OpenedStorage

if TYPE_CHECKING:  # for buckets only
    from pypid.catalog.signed_url_dump import WrittenLinks
    from pypid.catalog.signed_urls import Links

T = TypeVar("T")
_log = Logger()


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


def snapshots_of(
    config: Config, catalog: Catalog, places: StatePaths, storage: OpenedStorage, world: World
) -> tuple[CatalogDump, ...]:
    """Return the dumps of local projects and of upstream."""
    if not isinstance(catalog, MemoryCatalog):  # stored elsewhere
        return ()
    if config.storage.backend is StorageBackend.MEMORY:  # removed at the next start
        return ()
    ours = CatalogDump(catalog, str(places.snapshot), storage.identity, world)
    theirs = CatalogDump(
        catalog.upstream_lines, str(places.their_snapshot), storage.identity, world
    )
    return ours, theirs


def load(snapshots: tuple[CatalogDump, ...], storage: OpenedStorage) -> bool:
    """Load the dumps into the catalog; return whether there was one."""
    if storage.new or not snapshots:  # a new storage has none
        return False
    found = [at_once(snapshot.load()) for snapshot in snapshots]
    counts = [len(loaded.roll) if isinstance(loaded, Loaded) else None for loaded in found]
    match counts:
        case [int() as projects, others]:
            said = "the snapshot knows {projects} projects, and {others} of other indexes"
            _log.info(said, projects=projects, others=others or 0)
            return True
        case _:
            return False


def links_of(
    config: Config, storage: OpenedStorage, shares: Sharing | None, world: World
) -> Links | None:
    """Return the signed URLs, if clients are redirected to them; all nodes give the same."""
    wanted = config.storage
    if wanted.backend is not StorageBackend.S3 or not wanted.redirect:
        return None
    from pypid.catalog.signed_urls import RESTRICTED_BUFFER, RESTRICTED_LIFETIME, Links

    def made(lifetime: timedelta, buffer: timedelta, restricted: Links | None = None) -> Links:
        shared = None if shares is None else shares.links(_signer(config, storage, str(lifetime)))
        return Links(
            storage.blobs,
            world,
            lifetime,
            buffer,
            shared=shared,
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


def written_links(
    config: Config, links: Links | None, places: StatePaths, storage: OpenedStorage, world: World
) -> tuple[WrittenLinks, ...]:
    """Return the dump of signed URLs, after loading those that are still valid."""
    if links is None:
        return ()
    from pypid.catalog.signed_url_dump import WrittenLinks

    written = WrittenLinks(links, places.snapshot, _signer(config, storage), world)
    at_once(written.load())
    return (written,)
