"""Sessions of browsers, self-registration, and the places that clients connect from.

The parts of a browser session: a secret in a cookie, the digest that is stored, and a CSRF
token. Pure.

Rationale: docs/project/decisions.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address

from attrs import field, frozen

from pypid.core.accounts.rights import AccountStatus
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, NameTaken
from pypid.core.permissions import WORDS

COOKIE = "pypid_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""The cookie's name under TLS: only from this exact host, by TLS (RFC 6265bis, 4.1.3.2)."""

_BITS = 256
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")
LONGEST_HEADER = 16 << 10
"""Bytes of ``Cookie`` that are read: other applications on the host may set cookies, too."""


def new_secret(random: Callable[[int], bytes]) -> str:
    """Return the secret of a new session: 256 bits as 43 characters that are valid in a cookie."""
    return urlsafe_b64encode(random(_BITS // 8)).rstrip(b"=").decode("ascii")


def digest_of(secret: str, key: bytes) -> str:
    """Return the hex digest to store in place of the secret. `key`: 32 bytes, stored elsewhere."""
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


# Rules of self-registration: who may register, under which name, and by which invitation. Pure.

LONGEST_NAME = 64
SHORTEST_PASSWORD = 8
LONGEST_INVITATION = timedelta(days=30)
USUAL_INVITATION = timedelta(days=7)
MOST_FROM_A_PLACE = 10
WHILE = 3600.0
"""Seconds in which `MOST_FROM_A_PLACE` registrations are allowed from one place: this also bounds
how many names a client can probe for existence.
"""

RESERVED = WORDS | {"admin", "administrator", "anonymous", "operator", "pypid", "root"}
"""Names that users would mistake for another actor."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*\Z", re.ASCII)


@frozen(kw_only=True)
class AccountSettings:
    """The keys of ``[access]`` about accounts and sessions."""

    registration: Registration = Registration.CLOSED
    captcha: bool = False
    session_lifetime: timedelta = timedelta(hours=12)


def standing_of(mode: Registration) -> AccountStatus:
    """Return the initial status of a self-registered account."""
    return AccountStatus.PENDING if mode is Registration.APPROVAL else AccountStatus.ACTIVE


def registrable(name: str) -> str:
    """Return `name` if a user may choose it when registering. Raises `BadRequest` with the reason.

    ASCII only, unlike the names that administrators assign: letters of other scripts can imitate
    the name of another user.
    """
    if not _NAME.match(name) or len(name) > LONGEST_NAME:
        raise BadRequest(
            "This cannot be a user's name here: use letters, digits and . _ @ + - (beginning with "
            f"a letter or a digit), at most {LONGEST_NAME} characters."
        )
    return name


def refuse_taken(name: str, taken: Iterable[str]) -> None:
    """Raise `NameTaken` if the name is in `taken` or `RESERVED`, ignoring case.

    `taken` contains every account and every name that a rule, right, group or token mentions, so
    that a new user cannot inherit what was granted to another.
    """
    folded = name.casefold()
    if folded in RESERVED or any(folded == other.casefold() for other in taken):
        raise NameTaken(name)


def proper_password(password: str) -> str:
    """Return `password` if it is long enough. Raises `BadRequest`."""
    if len(password) < SHORTEST_PASSWORD:
        raise BadRequest(
            f"The password is too short: it takes at least {SHORTEST_PASSWORD} characters. Choose "
            "a longer one."
        )
    return password


# --- invitations ----------------------------------------------------------------------------------

INVITATION = "pypid-invitation-"
"""Prefix of an invitation, so that people and secret scanners recognise it."""
_ID, _TIME, _SIGNATURE = 12, 5, 32
_NOT_ONE = (
    "This is no invitation that is good here: it is damaged, used up, too old, or of another "
    "index. Ask for a new one."
)


@frozen
class Invitation:
    """An invitation for one person to register, once, until it `expires`. Signed, so that nothing
    is stored before it is used.
    """

    id: str
    """Public identifier, shown in the audit log. 24 hexadecimal digits."""
    expires: datetime
    secret: str = field(repr=False)
    """The text that is given to the person."""


def invite(
    key: bytes, now: datetime, lifetime: timedelta, random: Callable[[int], bytes]
) -> Invitation:
    """Return a new invitation. Raises `BadRequest` if the lifetime is not positive or exceeds
    `LONGEST_INVITATION`.
    """
    if not timedelta(0) < lifetime <= LONGEST_INVITATION:
        raise BadRequest(
            f"An invitation lasts for more than 0 seconds, and at most {LONGEST_INVITATION.days} "
            "days."
        )
    until = int((now + lifetime).timestamp())
    payload = random(_ID) + until.to_bytes(_TIME)
    text = urlsafe_b64encode(payload + _signed(payload, key)).rstrip(b"=").decode("ascii")
    return Invitation(payload[:_ID].hex(), datetime.fromtimestamp(until, UTC), INVITATION + text)


def read_invitation(secret: str, key: bytes, now: datetime) -> Invitation:
    """Return the invitation in `secret`, if this index made it and it has not expired.
    `Accounts.once` checks whether it was used.

    Raises `BadRequest`.
    """
    text = secret.removeprefix(INVITATION)
    if text == secret or len(text) > 100 or not text.isascii():
        raise BadRequest(_NOT_ONE)
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NoBase64, ValueError):
        raise BadRequest(_NOT_ONE) from None
    payload, signature = data[: _ID + _TIME], data[_ID + _TIME :]
    if not compare_digest(signature, _signed(payload, key)):
        raise BadRequest(_NOT_ONE)
    expires = datetime.fromtimestamp(int.from_bytes(payload[_ID:]), UTC)
    if expires <= now:
        raise BadRequest(_NOT_ONE)
    return Invitation(payload[:_ID].hex(), expires, secret)


def used_up() -> BadRequest:
    """Return the error for an invitation that was used or withdrawn."""
    return BadRequest(_NOT_ONE)


def _signed(payload: bytes, key: bytes) -> bytes:
    return blake2b(payload, digest_size=_SIGNATURE, key=key, person=b"pypid invitation").digest()


# Group client addresses into places: the addresses of one customer of a network count as one.
# Pure.

LONGEST = 64


@lru_cache(maxsize=4096)
def place_of(address: str) -> str:
    """Return the place of an address: an IPv4 address, an IPv6 /64, or other text, truncated."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:LONGEST]
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"
