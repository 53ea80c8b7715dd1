"""Tokens by which one person registers under one name, as pypicloud made them: an invitation that
holds for that name only.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

from pypid.core.accounts.registration import (
    USUAL_INVITATION,
    Invitation,
    invite,
    read_invitation,
    registrable,
)
from pypid.core.errors import BadRequest
from pypid.web.app.app import App

_NOT_ONE = (
    "This is no token that pypid has made. Ask an administrator for a new one (GET "
    "/admin/token/NAME)."
)


def _key(key: bytes, name: str) -> bytes:
    """By which invitations for this name are signed: nobody registers by them under another one."""
    return blake2b(name.encode(), digest_size=32, key=key, person=b"pypid named inv.").digest()


def token_for(face: App, name: str) -> tuple[str, Invitation]:
    """A new token, which begins with the name as pypicloud's do. Raises `BadRequest` for a name
    that nobody can choose.
    """
    known = face.known
    made = invite(
        _key(known.session_key, registrable(name)),
        face.world.now(),
        USUAL_INVITATION,
        face.world.random,
    )
    return f"{name}:{made.secret}", made


def read_token(token: str, key: bytes, now: datetime) -> tuple[str, Invitation]:
    """The name that it is for, and the invitation, if it is one of ours and in time. Raises
    `BadRequest`.
    """
    name, colon, secret = token.rpartition(":")
    if not colon or len(name) > len(token) // 2:
        raise BadRequest(_NOT_ONE)
    return name, read_invitation(secret, _key(key, registrable(name)), now)
