"""Copying the state folder's records to the bucket, soon after each change, and back into a new
state folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

from attrs import define, field, frozen
from msgspec.structs import replace
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pypid.core.errors import CannotStart, Missing, PypidError, StorageDown, Unreadable
from pypid.core.records.layout import OF_RECORD as COPIES
from pypid.flow import BytesBody, World, whole
from pypid.jobs.backup import records
from pypid.jobs.backup.marker import FILE, Marker, read_marker, write_marker
from pypid.jobs.backup.records import OF_RECORD, Record, RecordForm, Signature
from pypid.jobs.backup.sealing import WrongSecret, name_of, seal, unseal
from pypid.ports import Blobs

_log = Logger()

EVERY = 4.0
"""Seconds between two checks for changes: a change is in the bucket within 10 s."""
_SEALED = records.LARGEST + 2000
_WITHOUT_COPIES = (
    f"Or, if that is lost, remove {COPIES} from the bucket: then pypid starts without "
    f"what is there."
)


@frozen
class _Changed:
    """A record that differs from its copy. Without `sealed` it was removed."""

    record: Record
    signature: Signature | None
    digest: str = ""
    sealed: bytes | None = field(default=None, repr=False)


@define(eq=False)
class Backup:
    """The copies of the records below `state`. `storage` is the bucket's identity.

    Without a `secret` nothing is copied; a new state folder that would need one is still reported.
    """

    blobs: Blobs
    state: Path
    storage: str
    secret: str | None = field(repr=False)
    world: World
    kept: Sequence[Record] = OF_RECORD
    _marker: Marker | None = field(default=None, init=False, repr=False)
    _seen: dict[str, Signature | None] = field(factory=dict, init=False, repr=False)
    """The signatures of the records when they were last equal to their copies."""
    _failing: bool = field(default=False, init=False)
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)

    # --- a new machine ---

    async def restore(self) -> list[str]:
        """Fetch the copies into a new state folder (`marker.is_new`); return their names.

        Raises `CannotStart` where the secret is wrong or missing, `StorageDown`, `OSError`. An
        interrupted restore begins again at the next start.
        """
        if self.secret is None:
            await self._must_be_none()
            return []
        marker = Marker(self.storage, name_of(self.secret), {}, restoring=True)
        found: list[tuple[Record, bytes]] = []
        for record in self.kept:
            data = await self._copy_of(record, self.secret)
            if data is not None:
                found.append((record, data))
        if found:
            await self.world.blocking(write_marker, self.state, marker)
        for record, data in found:
            await self.world.blocking(records.restore, self.state, record, data)
        copied = {record.name: sha256(data).hexdigest() for record, data in found}
        await self._remember(replace(marker, copied=copied, restoring=False))
        return [record.name for record, _ in found]

    async def _must_be_none(self) -> None:
        async with aclosing(self.blobs.list(COPIES)) as listing:
            async for _ in listing:
                raise CannotStart(
                    f"The state folder {self.state} is new, and the bucket has copies of what is "
                    "of record, sealed with a [server] secret, which is not set. Set the one that "
                    f"the index had. {_WITHOUT_COPIES}"
                )

    async def _copy_of(self, record: Record, secret: str) -> bytes | None:
        try:
            sealed = await whole(await self.blobs.read(COPIES + record.name), _SEALED)
        except Missing:
            return None
        except (EOFError, ValueError) as error:
            raise StorageDown("a copy of what is of record cannot be read.") from error
        try:
            return await self.world.blocking(unseal, secret, record.name, sealed)
        except WrongSecret as error:
            raise CannotStart(
                f"The state folder {self.state} is new, and its copy in the bucket cannot be "
                f"opened: {error} Set the one that the index had. {_WITHOUT_COPIES}"
            ) from None
        except Unreadable as error:
            raise CannotStart(
                f"The copy in the bucket of what is of record: {error}. Restore it from a backup "
                f"of the bucket. {_WITHOUT_COPIES}"
            ) from None

    # --- keeping copies ---

    async def copy(self) -> bool:
        """Copy what has changed since the last time; return whether all copies are up to date. A
        failure is logged, once.
        """
        if self.secret is None:
            return False
        await self._turn.acquire()
        try:
            await self._copy(self.secret)
        except (PypidError, OSError, sqlite3.Error, ValueError) as error:
            if not self._failing:
                message = (
                    "The accounts could not be copied to the bucket, which is tried again "
                    "every {every:.0f} s: {error}"
                )
                _log.error(message, every=EVERY, error=error)
            self._failing = True
            return False
        finally:
            self._turn.release()
        if self._failing:
            _log.info("The state database is copied to the bucket again.")
        self._failing = False
        return True

    async def _copy(self, secret: str) -> None:
        marker = await self._known(secret)
        failed: Exception | None = None
        files: list[_Changed] = []
        for record in self.kept:
            try:
                changed = await self.world.blocking(self._look, record, secret, marker.copied)
            except (
                OSError,
                sqlite3.Error,
                ValueError,
            ) as error:  # an unreadable record must not keep others from being copied
                failed = failed or error
                continue
            if changed is not None and record.form is RecordForm.PLAIN:
                files.append(changed)
            elif changed is not None:
                marker = await self._replace(changed, marker)
        for changed in files:  # read before the databases, and written after them (`OF_RECORD`)
            marker = await self._replace(changed, marker)
        if failed is not None:
            raise failed

    async def _replace(self, changed: _Changed, marker: Marker) -> Marker:
        """Replace the bucket's copy of the record; return what the bucket holds then."""
        name = changed.record.name
        copied = {other: digest for other, digest in marker.copied.items() if other != name}
        if changed.sealed is None:
            await self.blobs.delete(COPIES + name)
        else:
            await self.blobs.write(COPIES + name, BytesBody(changed.sealed), replace=True)
            copied[name] = changed.digest
        if copied != marker.copied:
            marker = replace(marker, copied=copied)
            await self._remember(marker)
        self._seen[name] = changed.signature
        return marker

    async def _known(self, secret: str) -> Marker:
        """Return what the bucket has of this folder; nothing, if it was another bucket or another
        secret before.
        """
        if self._marker is None:
            marker = await self.world.blocking(read_marker, self.state)
            fresh = Marker(self.storage, name_of(secret), {})
            if marker is None or (marker.storage, marker.key) != (fresh.storage, fresh.key):
                marker = fresh
                await self.world.blocking(write_marker, self.state, marker)
            self._marker = marker
        return self._marker

    async def _remember(self, marker: Marker) -> None:
        await self.world.blocking(write_marker, self.state, marker)
        self._marker = marker

    def _look(self, record: Record, secret: str, copied: Mapping[str, str]) -> _Changed | None:
        """Return what has changed, sealed. Blocks."""
        if not (
            self.state / FILE
        ).exists():  # the folder is being removed: no reason to remove the copies
            raise ValueError(f"{self.state / FILE} is gone; start pypid again")
        name = record.name
        now = records.signature(self.state, record)
        if name in self._seen and self._seen[name] == now:
            if now is None and name in copied:  # it has been missing for a while
                return _Changed(record, None)
            return None
        if now is None:
            self._seen[name] = None
            return None
        data = records.read(self.state, record)
        digest = sha256(data).hexdigest()
        if copied.get(name) == digest:
            self._seen[name] = now
            return None
        return _Changed(record, now, digest, seal(secret, name, data, self.world.random))
