"""What a browser's session is made of: a secret in a cookie, the digest that is stored of it, a
token against CSRF. Pure.

Why so: decision 0014.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest

COOKIE = "pypid_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Its name under TLS: browsers take it from this very host, by TLS, and from nobody else (RFC
6265bis, 4.1.3.2).
"""

_BITS = 256
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")
LONGEST_HEADER = 16 << 10
"""Bytes of ``Cookie`` that are looked at: an application beside us on the host may have set others.
"""


def new_secret(random: Callable[[int], bytes]) -> str:
    """The secret of a new session: 256 bits, 43 characters that a cookie can have."""
    return urlsafe_b64encode(random(_BITS // 8)).rstrip(b"=").decode("ascii")


def digest_of(secret: str, key: bytes) -> str:
    """What is stored in place of the secret, in hex. `key`: 32 bytes, which are kept elsewhere."""
    return blake2b(secret.encode(), digest_size=32, key=key, person=b"pypid session").hexdigest()


def csrf_token(secret: str) -> str:
    """What a page has to say beside the cookie, to show that it is ours: of the secret, which no
    other page can read.

    Whoever sees it learns nothing of the secret. (The key of the digests is not needed for it, so
    the guard needs no key.)
    """
    return blake2b(digest_size=32, key=secret.encode(), person=b"pypid csrf").hexdigest()


def is_csrf_token(said: str, secret: str) -> bool:
    """Whether it is that of the secret; takes the same time for every wrong one."""
    return compare_digest(said.encode("utf-8", "surrogatepass"), csrf_token(secret).encode())


def cookie_name(*, secure: bool) -> str:
    """`secure`: the client came by TLS."""
    return SECURE_COOKIE if secure else COOKIE


def secret_in(cookies: str, *, secure: bool) -> str | None:
    """The session's secret in the value of a ``Cookie`` header (RFC 6265, 4.2.1); None where there
    is none.

    By TLS only the cookie that came by TLS counts. Two different ones of the name are none:
    somebody has put one there.
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
    """The value of ``Set-Cookie`` that begins a session of so many seconds; with an empty `secret`
    and 0 it ends.

    Lax, not Strict: who follows a link in a message to a page here is still logged in.
    """
    words = [
        f"{cookie_name(secure=secure)}={secret}",
        "Path=/",
        f"Max-Age={seconds}",
        "HttpOnly",
        "SameSite=Lax",
    ]
    return "; ".join([*words, "Secure"] if secure else words)
