"""The wiring of exports: the possible places, and the identity whose view is exported."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, evolve, field

from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadRequest, Busy, NoSuchIndex, PypidError, StorageFull
from pypid.core.export_request import (
    Export,
    ExportedIndex,
    bucket_of,
    overlap,
    overlap_of_prefixes,
)
from pypid.core.indexes import expiry_of
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action, Identity, authorize
from pypid.daemon.state import StatePaths
from pypid.export.source import Authority, ExportViewer, LayerAuthority
from pypid.export.targets import ExportPlace, FolderPlace
from pypid.export.tree import ExportOptions
from pypid.flow import World
from pypid.index import Index
from pypid.web.app.app import App, IndexApps

if TYPE_CHECKING:
    from pypid.blobs.s3.store import S3Settings


def authority_of(app: App) -> Authority:
    """Return the authority that the routes use."""

    async def find(user: str) -> Identity | None:
        return await app.known.find(user)

    return Authority(
        rules=lambda: app.rules,
        closed=lambda: app.closed or _expiry(app),
        find=find,
        layers=None if app.original is None else _layers_of(app),
    )


def _layers_of(app: App) -> LayerAuthority:
    def may_read(who: Identity, index: str, project: ProjectName) -> None:
        authorize(app.rules_in(index), who, Action.READ, project)

    return LayerAuthority(app.visibility, may_read)


def _expiry(app: App) -> PypidError | None:
    """Return why the named index of the app is not served any more, or None."""
    if app.original is None:
        return None
    settings = app.index.settings
    if settings is None:
        return NoSuchIndex(app.index.name)
    return expiry_of(settings, app.world.now())


@define(eq=False)
class Exports:
    """Exports on request, one at a time. `identity` is the storage's."""

    config: Config
    paths: StatePaths
    index: Index
    app: App
    identity: str
    reactor: Any = field(repr=False)
    settings: Callable[[], S3Settings] = field(repr=False)
    """How a bucket is reached: as that of [storage]."""
    _busy: bool = field(default=False, init=False)
    _apps: IndexApps = field(
        default=Factory(lambda exports: IndexApps(exports.app), takes_self=True), init=False
    )

    async def __call__(self, wanted: Export, progress: Callable[[int, int], None]) -> ExportedIndex:
        """Write an export. Raises `BadRequest` for a target that is invalid or not writable,
        `Busy`, `NoSuchIndex`, `StorageDown`, and as `export.exporter.export`.
        """
        from pypid.export.exporter import export

        if self._busy:
            raise Busy("Another export is being written.", retry_after=10)
        self._busy = True
        try:
            if wanted.as_user is not None and await self.app.known.find(wanted.as_user) is None:
                raise BadRequest(
                    f"No user can log in as {wanted.as_user!r}, so there is no view of this user "
                    f"to export."
                )
            app = self._apps.of(wanted.index) if wanted.index else self.app
            if app is None:
                raise NoSuchIndex(wanted.index)
            place = open_place(
                wanted.target,
                self.config,
                self.paths,
                self.index.context.world,
                self.reactor,
                self.settings,
            )
            try:
                options = self._options(wanted)
                viewer = ExportViewer(
                    app.index, authority_of(app), options.user, options.stored_only
                )
                return await export(
                    viewer,
                    place,
                    options,
                    f"{self.identity}/{wanted.index}" if wanted.index else self.identity,
                    target=wanted.target,
                    clears=wanted.delete,
                    verifies=wanted.verify,
                    on_progress=progress,
                )
            finally:
                await place.close()
        except OSError as error:
            raise _cannot_write(wanted.target, error) from error
        except StorageFull:
            raise BadRequest(f"There is no room left in {wanted.target}.") from None
        finally:
            self._busy = False

    def _options(self, wanted: Export) -> ExportOptions:
        return ExportOptions(
            user=wanted.as_user,
            copies=wanted.copy_files,
            files_url=None if wanted.files_url is None else wanted.files_url.rstrip("/") + "/",
            signed=self.config.storage.expire_after if wanted.signed_links else None,
            base_url=_base_url(self.config, wanted.index),
            releases=wanted.per_release_json,
            dated=wanted.timestamp,
        )


def open_place(
    target: str,
    config: Config,
    paths: StatePaths,
    world: World,
    reactor: Any,
    settings: Callable[[], S3Settings],
) -> ExportPlace:
    """Return the place of this name. Raises `BadRequest` for an invalid one."""
    try:
        bucket = bucket_of(target)
    except ValueError as error:
        raise BadRequest(f"{target}: {error}.") from None
    if bucket is not None:
        storage = config.storage
        if storage.backend is StorageBackend.S3 and overlap_of_prefixes(
            bucket, (storage.bucket or "", storage.prefix or "")
        ):
            raise BadRequest(
                f"{target} is in, or around, the storage: take a prefix, or a bucket, of its own."
            )
        from pypid.export.buckets import BucketPlace

        return BucketPlace(partial(_opened, settings, bucket, world, reactor), world)
    if "\0" in target or not Path(target).is_absolute():
        raise BadRequest(
            f"{target} is no absolute path; the server does not know what it is relative to."
        )
    real = os.path.realpath(target)
    apart = {
        str(folder): what
        for what, folder in {"storage": paths.storage, "state": paths.state}.items()
        if folder is not None
    }
    for folder, what in apart.items():
        if overlap(real, os.path.realpath(folder)):
            raise BadRequest(
                f"{target} is in, or around, the {what} folder, {folder}: take a folder of its own."
            )
    return FolderPlace(os.path.normpath(target), world, apart)


async def _opened(
    settings: Callable[[], S3Settings], bucket: tuple[str, str], world: World, reactor: Any
) -> Any:
    from pypid.blobs.s3 import store
    from pypid.export.buckets import content_type

    wished = evolve(settings(), bucket=bucket[0], prefix=bucket[1], page_type=content_type)
    return await store.open(wished, world, reactor)


def _base_url(config: Config, index: str) -> str | None:
    url = config.server.public_url
    return None if url is None else f"{url.rstrip('/')}/{index}".rstrip("/")


def _cannot_write(target: str, error: OSError) -> BadRequest:
    where = error.filename or target
    if isinstance(error, PermissionError):
        return BadRequest(
            f"pypid (which runs as user {os.getuid()}) may not write to {where}. Give it a folder "
            "that it owns, or give that user the right to write there: the tree is written by the "
            "running pypid, and not by this command."
        )
    return BadRequest(f"{where} cannot be written: {error.strerror or error}.")
