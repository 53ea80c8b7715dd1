"""State restored from the previous run: dumps of the catalog, and signed URLs that are still
valid.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.logger import Logger

from pypid.catalog.dump import CatalogDump, Ignored
from pypid.catalog.dump_folder import PACKED
from pypid.catalog.lines import Loaded
from pypid.catalog.memory import MemoryCatalog
from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.parse import Config
from pypid.daemon.shared_catalog import Sharing
from pypid.daemon.state import StatePaths
from pypid.flow import World, start
from pypid.index import Index
from pypid.jobs.clean_stop import CleanStop
from pypid.ports import Catalog
from pypid.wiring.storage import OpenedStorage

if TYPE_CHECKING:  # for buckets only
    from pypid.catalog.signed_urls import Links, WrittenLinks

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


def dumps_of(
    config: Config, catalog: Catalog, paths: StatePaths, storage: OpenedStorage, world: World
) -> tuple[CatalogDump, ...]:
    """Return the dumps of local and upstream projects, and those of named indexes and named
    upstreams.
    """
    if not isinstance(catalog, MemoryCatalog):  # stored elsewhere
        return ()
    if config.storage.backend is StorageBackend.MEMORY:  # removed at the next start
        return ()
    at, named, named_theirs = storage.identity, paths.named_snapshot, paths.named_their_snapshot
    return (
        CatalogDump(catalog.local, str(paths.snapshot), at, world),
        CatalogDump(catalog.upstream, str(paths.their_snapshot), at, world, PACKED),
        CatalogDump(catalog.named_local, str(named), at, world, optional=True),
        CatalogDump(catalog.named_upstream, str(named_theirs), at, world, PACKED, optional=True),
    )


def load(dumps: tuple[CatalogDump, ...], storage: OpenedStorage) -> bool:
    """Load the dumps into the catalog; return whether there was one."""
    if storage.new or not dumps:  # a new storage has none
        return False
    loads = [at_once(dump.load()) for dump in dumps]
    pairs = zip(loads, dumps, strict=True)
    ignored = [each for each, dump in pairs if isinstance(each, Ignored) and not dump.is_whole]
    for each in dict.fromkeys(ignored):  # one reason for several dumps is told once
        say = _log.info if each.usual else _log.warn
        say(
            "The catalog dump is ignored: {reason} The storage is read instead.",
            reason=each.reason,
        )
    counts = [len(loaded.roll) if isinstance(loaded, Loaded) else None for loaded in loads]
    match counts:
        case [int() as projects, others, *named]:
            message = "catalog dump read: {projects} local projects, {others} upstream"
            _log.info(message, projects=projects, others=others or 0, named=named)
            return True
        case _:
            return False


def clean_stop_of(
    config: Config,
    paths: StatePaths,
    storage: OpenedStorage,
    sharing: Sharing | None,
    dumps: tuple[CatalogDump, ...],
    index: Index,
) -> CleanStop | None:
    """Return the note of clean stops, after using that of the last one: with it the index trusts
    the `dumps`.

    None where other processes may write to the storage while this one does not run: nodes, a
    bucket's users, a folder whose files are adopted.
    """
    is_own_folder = config.storage.backend is StorageBackend.FILES and not config.storage.adopt
    if sharing is not None or not is_own_folder:
        return None
    folders = (
        paths.snapshot,
        paths.their_snapshot,
        paths.named_snapshot,
        paths.named_their_snapshot,
    )
    clean_stop = CleanStop(storage.blobs, folders, index.world.blocking)
    if at_once(clean_stop.take()) and all(dump.is_whole for dump in dumps):
        index.maintenance.trust_dump()
    return clean_stop


def links_of(
    config: Config, storage: OpenedStorage, sharing: Sharing | None, world: World
) -> Links | None:
    """Return the signed URLs, if clients are redirected to them; all nodes give the same."""
    wanted = config.storage
    if wanted.backend is not StorageBackend.S3 or not wanted.redirect:
        return None
    from pypid.catalog.signed_urls import RESTRICTED_BUFFER, RESTRICTED_LIFETIME, Links

    def made(lifetime: timedelta, buffer: timedelta, restricted: Links | None = None) -> Links:
        shared = None if sharing is None else sharing.links(_signer(config, storage, str(lifetime)))
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


def link_dumps(
    config: Config, links: Links | None, paths: StatePaths, storage: OpenedStorage, world: World
) -> tuple[WrittenLinks, ...]:
    """Return the dump of signed URLs, after loading those that are still valid."""
    if links is None:
        return ()
    from pypid.catalog.signed_urls import WrittenLinks

    written = WrittenLinks(links, paths.snapshot, _signer(config, storage), world)
    at_once(written.load())
    return (written,)
