"""Snapshots: named points in time. Each is a small document in the storage, so all nodes know it
and a rebuild loses none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing, suppress

from attrs import define, field
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pypid.core.errors import BadRequest, Exists, NameTaken, NoSuchSnapshot, StorageDown, Unreadable
from pypid.core.model import Blob
from pypid.core.records.documents import SnapshotDocument, dump
from pypid.core.records.layout import SNAPSHOTS
from pypid.flow import BytesBody, World
from pypid.flow.single_flight import Flights
from pypid.index.store import records
from pypid.ports import Blobs

_log = Logger()

MOST = 1000
"""Maximum number of snapshots."""
FRESH = 3.0
"""Seconds for which the list is not read again to find snapshots made or deleted by other nodes."""
AGAIN = 0.1
"""Seconds between two reads because of an unknown name."""
LONGEST_NOTE = 500
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_SUFFIX = ".json"


def snapshot_name(text: str) -> str:
    """Return `text` if it is a valid snapshot name. Raises `BadRequest`."""
    if not _NAME.fullmatch(text):
        raise BadRequest(
            "A snapshot's name has 1 to 64 characters: small letters, digits, '.', '_' and '-', "
            "the first and the last a letter or a digit (release-42)."
        )
    return text


@define(eq=False)
class NamedSnapshots:
    """The snapshots of one storage. Every method raises `StorageDown`, except that snapshots read
    before are still returned.
    """

    blobs: Blobs
    world: World
    _known: Mapping[str, tuple[str, SnapshotDocument | None]] = field(
        factory=dict, init=False, repr=False
    )
    """By name: the blob's ETag, and the document; None for one that cannot be read."""
    _looked: float | None = field(default=None, init=False)
    _making: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    """Held while the number of snapshots is checked and a new one is stored."""
    _flights: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    async def all(self) -> Mapping[str, SnapshotDocument]:
        """Return all snapshots by name; changes by other nodes are seen within `FRESH` seconds."""
        now = self.world.clock.seconds()
        if self._looked is None or now - self._looked >= FRESH:
            try:
                await self._flights.single(None, self._look)
            except StorageDown:
                if self._looked is None:
                    raise
        return {
            name: document for name, (_, document) in self._known.items() if document is not None
        }

    async def find(self, name: str) -> SnapshotDocument:
        """Return one snapshot. Raises `NoSuchSnapshot`.

        One that another worker or node has just made is found at once: the storage is read for an
        unknown name, but at most every `AGAIN` seconds, so that made-up names cost little.
        """
        found = (await self.all()).get(name)
        if (
            found is None
            and self._looked is not None
            and self.world.clock.seconds() - self._looked >= AGAIN
        ):
            with suppress(StorageDown):
                await self._flights.single(None, self._look)
            found = (await self.all()).get(name)
        if found is None:
            raise NoSuchSnapshot(name)
        return found

    async def make(self, snapshot: SnapshotDocument) -> None:
        """Store a new snapshot. Raises `NameTaken`, `BadRequest`."""
        snapshot_name(snapshot.name)
        if len(snapshot.note) > LONGEST_NOTE or not snapshot.note.replace("\n", " ").isprintable():
            raise BadRequest(
                f"A note has at most {LONGEST_NOTE} characters, all of them printable."
            )
        async with self._making:
            if len(await self.all()) >= MOST:
                raise BadRequest(f"There are {MOST} snapshots already: delete one first.")
            try:
                await self.blobs.write(_key(snapshot.name), BytesBody(dump(snapshot)))
            except Exists:
                raise NameTaken(snapshot.name, "there is a snapshot of this name") from None
            await self._look()

    async def delete(self, name: str) -> SnapshotDocument:
        """Delete the snapshot and return it. Raises `NoSuchSnapshot`."""
        await self._look()
        found = await self.find(name)
        await self.blobs.delete(_key(name))
        await self._look()
        return found

    async def _look(self) -> None:
        """Read new and changed snapshots from the storage."""
        begun = self.world.clock.seconds()
        known: dict[str, tuple[str, SnapshotDocument | None]] = {}
        async with aclosing(self.blobs.list(SNAPSHOTS)) as listing:
            found = [blob async for blob in listing]
        for blob in found:
            name = blob.key.removeprefix(SNAPSHOTS).removesuffix(_SUFFIX)
            if blob.key == _key(name) and _NAME.fullmatch(name):
                before = self._known.get(name)
                is_same = before is not None and before[0] == blob.etag
                known[name] = (
                    before
                    if before is not None and is_same
                    else (blob.etag, await self._read(name, blob))
                )
        self._known, self._looked = known, begun

    async def _read(self, name: str, blob: Blob) -> SnapshotDocument | None:
        try:
            document = await records.read_document(self.blobs, SnapshotDocument, blob.key)
            if document is not None and (document.name != name or document.moment.tzinfo is None):
                raise Unreadable(blob.key, "it is another snapshot's, or its moment has no zone")
        except Unreadable as error:
            _log.error(
                "{error}; the snapshot is unavailable until an administrator repairs or deletes it",
                error=error,
            )
            return None
        return document


def _key(name: str) -> str:
    return f"{SNAPSHOTS}{name}{_SUFFIX}"
