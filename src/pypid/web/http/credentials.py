"""Parsing of the ``Authorization`` header. Pure. Sources: RFC 7617 (Basic), RFC 6750 (Bearer)."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error

from pypid.core.accounts.entries import SESSION_USER
from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential

LONGEST_HEADER = 8192
"""Maximum length in bytes; a user name and a password of maximum length fit."""
LONGEST_USER = 200
TOKEN_USER = "__token__"
"""The user name that stands for a token (as on the public index)."""

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def credential_of(authorization: bytes | None) -> Credential | None:
    """Return the credential in the header's value; None without a header.

    Basic is read as UTF-8 (RFC 7617), and as Latin-1 if it is not UTF-8: requests, and so pip and
    twine, send that. Bearer gives the token to the user ``__token__``. Raises `Unauthenticated` for
    anything else; its text quotes nothing of it.
    """
    if authorization is None:
        return None
    if len(authorization) > LONGEST_HEADER:
        raise Unauthenticated(f"The Authorization header is longer than {LONGEST_HEADER} bytes.")
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    match scheme.lower():
        case b"basic":
            return _basic(rest.strip(b" \t"))
        case b"bearer":
            return _bearer(rest.strip(b" \t"))
        case _:
            raise Unauthenticated(
                "The Authorization header is of a kind that pypid does not know: send Basic or "
                "Bearer."
            )


def _basic(encoded: bytes) -> Credential:
    try:
        pair = b64decode(encoded, validate=True)
    except (Error, ValueError):
        raise Unauthenticated(
            "The Authorization header is damaged: after 'Basic' comes 'user:password' in base64."
        ) from None
    try:
        text = pair.decode()
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon:
        raise Unauthenticated(
            "The Authorization header has no ':' between the user name and the password."
        )
    if len(user) > LONGEST_USER:
        raise Unauthenticated(f"The user name is longer than {LONGEST_USER} characters.")
    if user == SESSION_USER:
        raise Unauthenticated(
            f"{SESSION_USER} cannot be used to log in: it stands for the cookie of a session."
        )
    if _UNPRINTABLE.search(user):
        raise Unauthenticated("The user name holds characters that cannot be printed.")
    return Credential(user, password)


def _bearer(token: bytes) -> Credential:
    if not _TOKEN.match(token):
        raise Unauthenticated(
            "The Authorization header is damaged: after 'Bearer' comes one token."
        )
    return Credential(TOKEN_USER, token.decode("ascii"))
