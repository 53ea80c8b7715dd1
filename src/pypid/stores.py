"""Opening the storage: which backend, and whether it is the one that we know."""

from __future__ import annotations

from contextlib import aclosing

from pypid.blobs import files, memory
from pypid.catalog.shelf import Shelf
from pypid.core.config import Config
from pypid.core.errors import CannotStart, Unreadable
from pypid.core.layout import STORAGE_IDENTITY
from pypid.core.records import StorageIdentity
from pypid.flow import World
from pypid.index import truth
from pypid.ports import Blobs
from pypid.state import Where


async def open_blobs(config: Config, places: Where, world: World) -> Blobs:
    """The storage that is configured. Raises `CannotStart`."""
    if places.storage is None:
        return await memory.open(memory.MemorySettings(), world)
    # a folder that is gone although a snapshot knows it is a disk that is not mounted: a new one would hide what is ours
    known = _manifest_identity(config, places) is not None
    return await files.open(files.FilesSettings(str(places.storage), create=not known), world)


async def identity_of(blobs: Blobs, config: Config, places: Where, world: World) -> str:
    """The storage's identity, written down when it is new. Raises `CannotStart` for an empty one in place of one that is
    known.
    """
    try:
        document = await truth.read_document(blobs, StorageIdentity, STORAGE_IDENTITY)
    except Unreadable as error:
        raise CannotStart(
            f"{error}. Restore the file from a backup, or delete it if nothing else shares this storage."
        ) from None
    if document is not None:
        return document.identity
    if _manifest_identity(config, places) is not None and places.storage is not None and await _is_empty(blobs):
        raise CannotStart(
            f"The storage folder {places.storage} is empty, but the snapshot below {places.state} knows files in it. "
            "Is the disk mounted? If the files are meant to be gone, delete "
            f"{places.state / config.cache.snapshot} and start again."
        )
    identity = world.random(16).hex()
    await truth.write_document(blobs, STORAGE_IDENTITY, StorageIdentity(identity))
    return identity


async def _is_empty(blobs: Blobs) -> bool:
    async with aclosing(blobs.list()) as listing:
        async for _ in listing:
            return False
    return True


def _manifest_identity(config: Config, places: Where) -> str | None:
    try:
        manifest = Shelf(str(places.state / config.cache.snapshot)).manifest()
    except (Unreadable, OSError):
        return None
    return None if manifest is None else manifest.identity
