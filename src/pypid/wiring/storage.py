"""Opening the storage: its backend, and whether it is the expected one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, evolve, field, frozen
from twisted.logger import Logger

from pypid.blobs import files, memory
from pypid.blobs.files import sync_folder
from pypid.blobs.signed_urls import RedisLinks
from pypid.blobs.store import Awaited, Store
from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.keys import StorageSettings
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, StorageDown, StorageFull, Unreadable
from pypid.core.installation import install_hint
from pypid.core.policy import Policy
from pypid.core.records.documents import StorageIdentity
from pypid.core.records.layout import DESCRIBED, STORAGE_IDENTITY, is_document, is_only_ours
from pypid.daemon.shared_catalog import Sharing, catalog_file, is_sole
from pypid.daemon.state import StatePaths
from pypid.flow import World, start
from pypid.flow.derived import Signals
from pypid.index.decisions import Decisions
from pypid.index.store import records
from pypid.ports import Blobs, Bucket, Describing, Provisional
from pypid.wiring.platform import Platform

if TYPE_CHECKING:
    from pypid.blobs.s3.store import (
        S3Blobs,
        S3Settings,  # not without its extra
    )

_log = Logger()


@frozen
class OpenedStorage:
    """The storage, and its identity; `new` if it had none before. `bucket` and `describing`: its
    abilities as a bucket. `close` releases what it has open.
    """

    blobs: Store
    identity: str
    new: bool
    bucket: Callable[[], Awaitable[Bucket]] | None = None
    describing: Describing | None = None
    provisional: Provisional | None = None
    """The storage's marks of blobs that are not committed yet, if it has them."""
    close: Callable[[], Awaitable[object]] = field(default=lambda: _nothing_to_close(), repr=False)
    answers: Callable[[], Awaitable[object]] | None = None
    """Checks in one request that a bucket is reachable; raises `StorageDown`."""
    signer: Callable[[], str | None] = lambda: ""
    """Return who signs its URLs now (`SignedUrl.signer`); None while that is not known."""
    is_exact: Callable[[], bool] = lambda: True
    """Return whether exactly one of several processes wins a write-if-absent."""


async def open_storage(
    config: Config, paths: StatePaths, world: World, reactor: Any
) -> OpenedStorage:
    """Return the configured storage, with metrics. Raises `CannotStart`."""
    if config.storage.backend is StorageBackend.S3:
        return _bucket(config.storage, paths, world, reactor)
    if paths.storage is None:
        in_memory = memory.MemoryBlobs(world.now)
        return await _identified(in_memory, world)
    await world.blocking(rename_documents, paths.storage)
    create = await world.blocking(may_create_folder, paths)
    exclusive = is_sole(config)
    root = str(paths.storage)
    settings = files.FilesSettings(root, create=create, exclusive=exclusive, reserve=True)
    blobs = await files.open(settings, world)
    try:
        if not create and await _is_empty(blobs):
            raise CannotStart(
                f"The storage folder {paths.storage} is empty, but the catalog "
                f"{catalog_file(paths)} knows files in it. Is the disk mounted? If the files are "
                "meant to be gone, delete that catalog and start again."
            )
        opened = await _identified(blobs, world)
        return evolve(opened, provisional=opened.blobs)
    except (StorageDown, StorageFull) as error:
        raise CannotStart(
            f"The storage folder {paths.storage} cannot be used: {error.__cause__ or error}"
        ) from None


def may_create_folder(paths: StatePaths) -> bool:
    """Return whether the storage folder may be created if it is missing. Blocks."""
    from pypid.database.catalog_drivers import has_local_projects

    # a missing folder whose files the catalog lists is a disk that is not mounted: a new one would
    # hide local projects
    return not has_local_projects(catalog_file(paths))


def rename_documents(folder: Path) -> None:
    """Take the suffix ``.meta`` off pypid's documents in a folder that an older version shared with
    a pypicloud. The identity comes last, so that a start that breaks off is continued. Blocks.
    Raises `CannotStart`.
    """
    identity = folder / STORAGE_IDENTITY
    last = folder / (STORAGE_IDENTITY + DESCRIBED)
    try:
        last.stat()
    except OSError:  # there is none; or `prepare` tells why the folder cannot be used
        return
    try:
        for path, _, names in os.walk(folder):
            renamed = [Path(path, name) for name in names if _is_document(folder, path, name)]
            for each in renamed:
                with suppress(FileNotFoundError):  # another process was first
                    each.rename(each.with_name(each.name.removesuffix(DESCRIBED)))
            if renamed:
                sync_folder(os.fsencode(path))
        with suppress(FileNotFoundError):
            last.rename(identity)
        sync_folder(os.fsencode(identity.parent))
    except OSError as error:
        raise CannotStart(
            f"Documents in the storage folder {folder} end in .meta, as an older pypid named them, "
            f"which cannot be renamed: {error.strerror}. The user that runs pypid needs to "
            "write in all its folders. Start again then; nothing is lost."
        ) from None


def _is_document(folder: Path, path: str, name: str) -> bool:
    """Return whether the file is a document of pypid's that ends in ``.meta``; the identity is
    none.
    """
    key = f"{os.path.relpath(path, folder)}/{name}".removeprefix("./")
    plain = key.removesuffix(DESCRIBED)
    return plain not in (key, STORAGE_IDENTITY) and is_only_ours(plain)


def redis_links(url: str, world: World, reactor: Any) -> RedisLinks:
    """Return the signed URLs in the Redis at `[signed_urls] url`; it connects when it is used.
    Raises `CannotStart`.
    """
    if find_spec("txredisapi") is None:
        raise CannotStart(
            "[signed_urls] cache = redis needs the extra redis. " + install_hint("redis")
        )
    return RedisLinks(url, world, reactor)


def settings_of_bucket(wanted: StorageSettings, paths: StatePaths) -> S3Settings:
    """Return the settings of the bucket, checked without a connection. Blocks. Raises
    `CannotStart`.
    """
    try:
        from pypid.blobs.s3 import store
    except ImportError as error:
        if (error.name or "").startswith("botocore"):
            raise CannotStart(
                "[storage] backend = s3 needs the extra s3. " + install_hint("s3")
            ) from None
        raise
    settings = bucket_settings(wanted, paths)
    store.check(settings)  # report impossible settings before anything starts
    return settings


def _bucket(
    wanted: StorageSettings, paths: StatePaths, world: World, reactor: Any
) -> OpenedStorage:
    """Return a bucket, which is opened at its first use: the network needs the running reactor, and
    may be late.
    """
    settings = settings_of_bucket(wanted, paths)
    late = LateBucket(settings, world, reactor)
    place = "\n".join((wanted.endpoint_url or "", wanted.region, settings.bucket, settings.prefix))
    blobs = Store(late.blobs, watch=world)
    return OpenedStorage(
        blobs,
        sha256(place.encode()).hexdigest()[:32],
        new=False,
        bucket=late.classes,
        describing=blobs,
        close=late.close,
        answers=late.check,
        signer=late.signer,
        is_exact=late.is_exact,
    )


@frozen
class LateBucket:
    """A bucket that is opened at its first use."""

    settings: S3Settings
    world: World
    reactor: Any
    blobs: Awaited[S3Blobs] = field(
        default=Factory(lambda late: Awaited(late.open, late.world), takes_self=True)
    )

    async def open(self) -> S3Blobs:
        """Open the bucket. Raises `CannotStart`."""
        from pypid.blobs.s3 import store

        opened = await store.open(self.settings, self.world, self.reactor)
        if not opened.ability.exclusive:
            _log.info(
                "This store has no conditional writes: if several pypids share this bucket "
                "and receive the same file name at the same time, more than one may report "
                "that it was published."
            )
        return opened

    async def close(self) -> None:
        """Close the bucket, if it was opened."""
        if self.blobs.opened is not None:
            await self.blobs.opened.close()

    async def classes(self) -> Bucket:
        """Return the operations on storage classes."""
        return (await self.blobs.there()).classes

    async def check(self) -> None:
        """Check that the bucket is reachable. Raises `StorageDown`."""
        await (await self.blobs.there()).answers()

    def signer(self) -> str | None:
        """Return who signs its URLs now; None until it is opened."""
        return None if self.blobs.opened is None else self.blobs.opened.signer

    def is_exact(self) -> bool:
        """Return whether exactly one of several processes wins a write-if-absent of a small
        object.
        """
        return self.blobs.opened is not None and self.blobs.opened.ability.exclusive_puts


def bucket_settings(wanted: StorageSettings, paths: StatePaths) -> S3Settings:
    """Return the configured settings of the bucket; paths are absolute."""
    from pypid.blobs.s3.store import S3Settings

    return S3Settings(
        bucket=wanted.bucket or "",
        prefix=wanted.prefix or "",
        region=wanted.region,
        endpoint_url=wanted.endpoint_url,
        addressing=wanted.addressing,
        ca_certificates=paths.beside_ini(wanted.ca_certificates),
        access_key=wanted.access_key,
        secret_key=wanted.secret_key,
        session_token=wanted.session_token,
        encryption=wanted.server_side_encryption,
        kms_key_id=wanted.kms_key_id,
        storage_class=wanted.storage_class,
        cloudfront_domain=wanted.cloudfront_domain,
        cloudfront_key_id=wanted.cloudfront_key_id,
        cloudfront_key_file=paths.beside_ini(wanted.cloudfront_key_file),
        is_document=is_document,
    )


async def _nothing_to_close() -> None:
    """Do nothing: no resources are open."""


async def _identified(blobs: files.FilesBlobs | memory.MemoryBlobs, world: World) -> OpenedStorage:
    try:
        document = await records.read_document(blobs, StorageIdentity, STORAGE_IDENTITY)
    except Unreadable as error:
        raise CannotStart(
            f"{error}. Restore the file from a backup, or delete it if nothing else shares this "
            "storage."
        ) from None
    store = Store(blobs, watch=world)
    if document is not None:
        return OpenedStorage(store, document.identity, new=False)
    identity = world.random(16).hex()
    await records.write_document(
        blobs, STORAGE_IDENTITY, StorageIdentity(identity, recorded=world.now())
    )
    return OpenedStorage(store, identity, new=True)


async def _is_empty(blobs: Blobs) -> bool:
    """Return whether nothing is stored: no identity either, which every storage has that pypid has
    used.
    """
    async with aclosing(blobs.list()) as listing:
        async for _ in listing:
            return False
    return True


def decisions_of(
    config: Config,
    policy: Policy,
    storage: OpenedStorage,
    sharing: Sharing | None,
    platform: Platform,
    signals: Signals,
) -> Decisions:
    """Return the decisions in the storage, which are not read yet: no file may be served.

    Nodes that share a catalog report changes through it.
    """
    policy.restrictions.set_known(False)
    decisions = Decisions(
        storage.blobs,
        platform.world,
        policy.restrictions,
        others_write=sharing is not None or config.storage.backend is StorageBackend.S3,
        siblings=platform.siblings,
        worker_count=config.server.workers,
    )
    if sharing is not None:
        decisions.reported.connect(sharing.report_change)
        signals.rights_reported.connect(lambda: start(decisions.look()))
    return decisions
