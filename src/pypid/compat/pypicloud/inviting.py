"""Tokens to register by under one name, as pypicloud made them: invitations that are valid for that
name only.
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
    """Return the key that signs invitations for this name: none is valid for another name."""
    return blake2b(name.encode(), digest_size=32, key=key, person=b"pypid named inv.").digest()


def token_for(app: App, name: str) -> tuple[str, Invitation]:
    """Return a new token, which begins with the name as pypicloud's do, and the invitation. Raises
    `BadRequest` for a name that no user can choose.
    """
    known = app.known
    made = invite(
        _key(known.session_key, registrable(name)),
        app.world.now(),
        USUAL_INVITATION,
        app.world.random,
    )
    return f"{name}:{made.secret}", made


def read_token(token: str, key: bytes, now: datetime) -> tuple[str, Invitation]:
    """Return the name that the token is for, and the invitation. Raises `BadRequest` if it is not
    from this index, or has expired.
    """
    name, colon, secret = token.rpartition(":")
    if not colon or len(name) > len(token) // 2:
        raise BadRequest(_NOT_ONE)
    return name, read_invitation(secret, _key(key, registrable(name)), now)
