"""Encryption with `[server] secret`: AES-256-GCM, its key by HKDF-SHA256 (RFC 5869) from the secret
and a salt.

A sealed document is a line of JSON, which says how, and the ciphertext. That line and the
document's name are authenticated: without the secret it can be neither read, nor changed, nor put
in another's place.
"""

from __future__ import annotations

from binascii import Error as NoHex
from collections.abc import Callable

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
