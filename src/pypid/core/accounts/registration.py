"""Rules of self-registration: who may register, under which name, and by which invitation. Pure."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest

from attrs import field, frozen

from pypid.core.accounts.entries import AccountStatus
from pypid.core.configuration.choices import Registration
from pypid.core.errors import BadRequest, NameTaken
from pypid.core.permissions import WORDS

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
