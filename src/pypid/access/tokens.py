"""Creation of tokens, and the digests of their secrets. No I/O here; randomness is passed in.

A secret is 256 random bits, which cannot be guessed: its digest needs no slow hash, and is all that
is ever stored.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b

from pypid.core.accounts.rights import Token
from pypid.core.permissions import Scope

PREFIX = "pypi-"
"""The prefix by which people, and programs that look for secrets in repositories, recognize a token
(as on the public index).
"""

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID = 16

Random = Callable[[int], bytes]


def new_token(
    random: Random,
    *,
    name: str,
    user: str,
    scope: Scope,
    now: datetime,
    expires: datetime | None = None,
    publisher: bool = False,
    as_user: str | None = None,
) -> tuple[str, Token]:
    """Return a new token: the secret, to be shown once, and the `Token` to be stored.

    `random` returns that many unpredictable bytes. `now` and `expires` are aware; None: it never
    expires.
    """
    secret = PREFIX + _text(random(32))
    token = Token(
        id=random_text(random, _ALPHABET, _ID),
        digest=_digest_of_token(secret),
        name=name,
        user=user,
        scope=scope,
        created=now,
        expires=expires,
        publisher=publisher,
        as_user=as_user,
    )
    return secret, token


def token_digest(secret: str) -> str | None:
    """Return the digest by which the token is looked up; None for a malformed token (cut short, of
    other characters).
    """
    if not secret.startswith(PREFIX) or not _SECRET.match(secret, len(PREFIX)):
        return None
    return _digest_of_token(secret)


def _digest_of_token(secret: str) -> str:
    return blake2b(secret.encode("ascii"), digest_size=32, person=b"pypid token").hexdigest()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def random_text(random: Random, alphabet: str, length: int) -> str:
    """Return random characters of the alphabet."""
    # many more bits than needed, so that the characters are equally likely
    chance = int.from_bytes(random(32))
    letters = []
    for _ in range(length):
        chance, index = divmod(chance, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)
