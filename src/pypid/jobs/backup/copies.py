"""Copying the state folder's records to the bucket, soon after each change, and back into a new
state folder.
"""

from __future__ import annotations

import sqlite3
from binascii import Error as NoHex
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import msgspec
from attrs import define, field, frozen
from msgspec.structs import replace
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pypid.core.errors import CannotStart, Missing, PypidError, StorageDown, Unreadable
from pypid.core.records.documents import FORMAT, dump, load
from pypid.core.records.layout import OF_RECORD as COPIES
from pypid.flow import BytesBody, World, whole
from pypid.jobs.backup import records
from pypid.jobs.backup.records import (
    FILE,
    OF_RECORD,
    Marker,
    Record,
    Signature,
    read_marker,
    write_marker,
)
from pypid.ports import Blobs

# Encryption with `[server] secret`: AES-256-GCM, its key by HKDF-SHA256 (RFC 5869) from the secret
# and a salt.
#
# A sealed document is a line of JSON, which says how, and the ciphertext. That line and the
# document's name are authenticated: without the secret it can be neither read, nor changed, nor
# put in another's place.

_SALT, _NONCE, _KEY, _NAME = 16, 12, 32, 8
_LARGEST_HEAD = 1000


@define(slots=False, repr=False)
class WrongSecret(PypidError, template="{name} was sealed with another [server] secret."):
    """The document was sealed with another secret."""

    name: str


class _Head(msgspec.Struct, frozen=True):
    """The header; all but the version in lower-case hex. `key` names the secret without revealing
    it.
    """

    key: str
    salt: str
    nonce: str
    format: int = FORMAT


def name_of(secret: str, salt: bytes = b"") -> str:
    """Return a name of the secret, by which secrets can be told apart.

    Names in a bucket have a salt: else one table of guessed secrets would do for every copy. Older
    copies have none.
    """
    return _derived(secret, salt, b"pypid: the name of a secret", _NAME).hex()


def seal(secret: str, name: str, data: bytes, random: Callable[[int], bytes]) -> bytes:
    """Return the sealed document, readable with the secret alone. `unseal` needs the same
    `name`.
    """
    from cryptography.hazmat.primitives.ciphers.aead import (
        AESGCM,
    )  # here, since only what lies in a bucket is sealed

    salt, nonce = random(_SALT), random(_NONCE)
    head = dump(_Head(name_of(secret, salt), salt.hex(), nonce.hex()))
    return head + AESGCM(_key(secret, salt)).encrypt(nonce, data, _bound(head, name))


def unseal(secret: str, name: str, sealed: bytes) -> bytes:
    """Return what was sealed. Raises `WrongSecret`, and `Unreadable` for a torn or modified
    document.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    end = sealed.find(b"\n", 0, _LARGEST_HEAD) + 1
    head = load(_Head, sealed[:end], name)
    try:
        salt = bytes.fromhex(head.salt)
    except ValueError:
        raise Unreadable(name, "it is not what was sealed (torn, or modified since)") from None
    if head.key not in (name_of(secret, salt), name_of(secret)):
        raise WrongSecret(name)
    try:
        key = AESGCM(_key(secret, salt))
        return key.decrypt(bytes.fromhex(head.nonce), sealed[end:], _bound(sealed[:end], name))
    except (InvalidTag, NoHex, ValueError):
        raise Unreadable(name, "it is not what was sealed (torn, or modified since)") from None


def _key(secret: str, salt: bytes) -> bytes:
    return _derived(secret, salt, b"pypid: what is of record", _KEY)


def _derived(secret: str, salt: bytes, purpose: bytes, size: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=purpose).derive(secret.encode())


def _bound(head: bytes, name: str) -> bytes:
    return head + name.encode()


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
        """Fetch the copies into a new state folder (`records.is_new`); return their names.

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
            if changed is not None and not record.is_database:
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
