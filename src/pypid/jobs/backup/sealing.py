"""Encryption with `[server] secret`: AES-256-GCM, its key by HKDF-SHA256 (RFC 5869) from the secret
and a salt.

A sealed document is a line of JSON, which says how, and the ciphertext. That line and the
document's name are authenticated: without the secret it can be neither read, nor changed, nor put
in another's place.
"""

from __future__ import annotations

from binascii import Error as NoHex
from collections.abc import Callable
from typing import BinaryIO

import msgspec
from attrs import define

from pypid.core.errors import PypidError, Unreadable
from pypid.core.records.documents import FORMAT, dump, load

_SALT, _NONCE, _KEY, _NAME = 16, 12, 32, 8
_LARGEST_HEAD = 1000


@define
class WrongSecret(PypidError):
    """The document was sealed with another secret."""

    name: str

    def text(self) -> str:
        return f"{self.name} was sealed with another [server] secret."


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


# --- streams --------------------------------------------------------------------------------------

_CHUNK = 1 << 20
_TAG = 16
_PREFIX = 7
_TORN = "it is incomplete, or was modified"


class _StreamHead(msgspec.Struct, frozen=True):
    """The first line of a sealed stream. `nonce` is the part that all chunks share."""

    key: str
    salt: str
    nonce: str
    format: int = FORMAT


class SealedWriter:
    """A writable stream that encrypts to `target`, in chunks of 1 MiB, each with its number.

    A chunk that is missing, moved or modified is noticed, and so is a missing end.
    """

    def __init__(
        self, target: BinaryIO, secret: str, name: str, random: Callable[[int], bytes]
    ) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt, self._prefix = random(_SALT), random(_PREFIX)
        self._head = dump(_StreamHead(name_of(secret, salt), salt.hex(), self._prefix.hex()))
        self._cipher = AESGCM(_derived(secret, salt, b"pypid: a sealed stream", _KEY))
        self._bound = _bound(self._head, name)
        self._target, self._number, self._rest = target, 0, bytearray()
        target.write(self._head)

    def write(self, data: bytes) -> int:
        """Encrypt the data; up to 1 MiB is held back."""
        self._rest += data
        while len(self._rest) > _CHUNK:
            self._seal(bytes(self._rest[:_CHUNK]), last=False)
            del self._rest[:_CHUNK]
        return len(data)

    def flush(self) -> None:
        """Do nothing: the last chunk is known at `close` only."""

    def close(self) -> None:
        """Write the last chunk. The target stays open."""
        self._seal(bytes(self._rest), last=True)

    def _seal(self, data: bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, last)
        self._target.write(self._cipher.encrypt(nonce, data, self._bound))
        self._number += 1


class SealedReader:
    """A readable stream of what a `SealedWriter` encrypted to `source`.

    Raises `WrongSecret`, and `Unreadable` for a torn or modified stream.
    """

    def __init__(self, source: BinaryIO, secret: str, name: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head = source.readline(_LARGEST_HEAD)
        found = load(_StreamHead, head, name)
        try:
            salt, self._prefix = bytes.fromhex(found.salt), bytes.fromhex(found.nonce)
        except ValueError:
            raise Unreadable(name, _TORN) from None
        if found.key != name_of(secret, salt):
            raise WrongSecret(name)
        self._cipher = AESGCM(_derived(secret, salt, b"pypid: a sealed stream", _KEY))
        self._bound = _bound(head, name)
        self._source, self._name, self._number, self._rest = source, name, 0, b""
        self._following = source.read(_CHUNK + _TAG)
        self._has_ended = False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that follow without a size; b"" at the end."""
        while not self._has_ended and (size < 0 or len(self._rest) < size):
            self._rest += self._open_chunk()
        size = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _open_chunk(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        chunk, self._following = self._following, self._source.read(_CHUNK + _TAG)
        last = not self._following
        try:
            nonce = _nonce(self._prefix, self._number, last)
            data = self._cipher.decrypt(nonce, chunk, self._bound)
        except (InvalidTag, ValueError):
            raise Unreadable(self._name, _TORN) from None
        self._number, self._has_ended = self._number + 1, last
        return data


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes((last,))
