"""The parts of a browser session: a secret in a cookie, the digest that is stored, and a CSRF
token. Pure.

Rationale: docs/project/decisions.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

COOKIE = "pypid_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""The cookie's name under TLS: browsers accept it only from this exact host, by TLS (RFC 6265bis,
4.1.3.2).
"""

_BITS = 256
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")
LONGEST_HEADER = 16 << 10
"""Maximum bytes of ``Cookie`` that are read: another application on the same host may set cookies,
too.
"""


def new_secret(random: Callable[[int], bytes]) -> str:
    """Return the secret of a new session: 256 bits as 43 characters that are valid in a cookie."""
    return urlsafe_b64encode(random(_BITS // 8)).rstrip(b"=").decode("ascii")


def digest_of(secret: str, key: bytes) -> str:
    """Return the hex digest that is stored in place of the secret. `key`: 32 bytes, stored
    elsewhere.
    """
    return blake2b(secret.encode(), digest_size=32, key=key, person=b"pypid session").hexdigest()


def csrf_token(secret: str) -> str:
    """Return the token that a local page sends with the cookie: derived from the secret, which no
    other page can read.

    The token reveals nothing of the secret. (It does not need the key of the digests, so the guard
    needs no key.)
    """
    return blake2b(digest_size=32, key=secret.encode(), person=b"pypid csrf").hexdigest()


def is_csrf_token(token: str, secret: str) -> bool:
    """Return whether the token belongs to the secret; takes the same time for every wrong one."""
    return compare_digest(token.encode("utf-8", "surrogatepass"), csrf_token(secret).encode())


def cookie_name(*, secure: bool) -> str:
    """Return the cookie's name. `secure`: the client connected by TLS."""
    return SECURE_COOKIE if secure else COOKIE


def secret_in(cookies: str, *, secure: bool) -> str | None:
    """Return the session's secret in the value of a ``Cookie`` header (RFC 6265, 4.2.1), or None.

    With TLS only the cookie that was set over TLS counts. Two different cookies of that name count
    as none, because another party has injected one.
    """
    if len(cookies) > LONGEST_HEADER:
        return None
    wanted = cookie_name(secure=secure)
    pairs = (pair.partition("=") for pair in cookies.split(";"))
    found = {
        value.strip(" \t").strip('"') for name, _, value in pairs if name.strip(" \t") == wanted
    }
    match list(found):
        case [value] if _SECRET.match(value):
            return value
        case _:
            return None


def set_cookie(secret: str, *, secure: bool, seconds: int) -> str:
    """Return the value of ``Set-Cookie`` that starts a session of so many seconds; an empty
    `secret` and 0 end it.

    Lax, not Strict: a user who follows a link in a message to a page here is still logged in.
    """
    words = [
        f"{cookie_name(secure=secure)}={secret}",
        "Path=/",
        f"Max-Age={seconds}",
        "HttpOnly",
        "SameSite=Lax",
    ]
    return "; ".join([*words, "Secure"] if secure else words)
