"""Who may make an account for oneself, under which name, and by which invitation. Pure."""

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
"""Seconds in which so many may register from one place: that also bounds how many names are tried,
to learn which exist.
"""

RESERVED = WORDS | {"admin", "administrator", "anonymous", "operator", "pypid", "root"}
"""Names that people would take for somebody else."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*\Z", re.ASCII)


@frozen(kw_only=True)
class AccountSettings:
    """What ``[access]`` says of accounts and of sessions."""

    registration: Registration = Registration.CLOSED
    captcha: bool = False
    session_lifetime: timedelta = timedelta(hours=12)


def standing_of(mode: Registration) -> AccountStatus:
    """How an account begins that somebody made for oneself."""
    return AccountStatus.PENDING if mode is Registration.APPROVAL else AccountStatus.ACTIVE


def registrable(name: str) -> str:
    """`name`, if somebody may choose it for oneself; raises `BadRequest` with the reason.

    ASCII, unlike the names that administrators give: letters of other scripts look like those of
    somebody else's name.
    """
    if not _NAME.match(name) or len(name) > LONGEST_NAME:
        raise BadRequest(
            "This cannot be a user's name here: use letters, digits and . _ @ + - (beginning with "
            "a letter or a digit), "
            f"at most {LONGEST_NAME} characters."
        )
    return name


def refuse_taken(name: str, taken: Iterable[str]) -> None:
    """Raise `NameTaken` where the name is one of these, or `RESERVED`, capital letters or not.

    `taken` has whoever has an account, and every name that a rule, right, group or token mentions:
    what was granted to somebody is inherited by nobody who comes and takes the name.
    """
    folded = name.casefold()
    if folded in RESERVED or any(folded == other.casefold() for other in taken):
        raise NameTaken(name)


def proper_password(password: str) -> str:
    """`password`, if it is long enough; raises `BadRequest`."""
    if len(password) < SHORTEST_PASSWORD:
        raise BadRequest(
            f"The password is too short: it takes at least {SHORTEST_PASSWORD} characters. "
            f"Choose "
            f"a longer one."
        )
    return password


# --- invitations ----------------------------------------------------------------------------------

INVITATION = "pypid-invitation-"
"""What an invitation begins with, so that people and scanners of secrets know what it is."""
_ID, _TIME, _SIGNATURE = 12, 5, 32
_NOT_ONE = (
    "This is no invitation that is good here: it is damaged, used up, too old, or of another "
    "index. Ask for a new one."
)


@frozen
class Invitation:
    """Lets one person register, once, until it `expires`. Signed, so that nothing is stored before
    it is used.
    """

    id: str
    """Public: in the audit log. 24 hexadecimal digits."""
    expires: datetime
    secret: str = field(repr=False)
    """What is handed to the person."""


def invite(
    key: bytes, now: datetime, lifetime: timedelta, random: Callable[[int], bytes]
) -> Invitation:
    """A new one. Raises `BadRequest` for a lifetime that is none,
    or beyond `LONGEST_INVITATION`.
    """
    if not timedelta(0) < lifetime <= LONGEST_INVITATION:
        raise BadRequest(
            f"An invitation lasts for more than 0 seconds, and at most "
            f"{LONGEST_INVITATION.days} "
            f"days."
        )
    until = int((now + lifetime).timestamp())
    said = random(_ID) + until.to_bytes(_TIME)
    text = urlsafe_b64encode(said + _signed(said, key)).rstrip(b"=").decode("ascii")
    return Invitation(said[:_ID].hex(), datetime.fromtimestamp(until, UTC), INVITATION + text)


def read_invitation(secret: str, key: bytes, now: datetime) -> Invitation:
    """The invitation that was handed over, if it is ours and in time (whether it was used,
    `Accounts.once` knows).

    Raises `BadRequest`.
    """
    text = secret.removeprefix(INVITATION)
    if text == secret or len(text) > 100 or not text.isascii():
        raise BadRequest(_NOT_ONE)
    try:
        said = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NoBase64, ValueError):
        raise BadRequest(_NOT_ONE) from None
    payload, signature = said[: _ID + _TIME], said[_ID + _TIME :]
    if not compare_digest(signature, _signed(payload, key)):
        raise BadRequest(_NOT_ONE)
    expires = datetime.fromtimestamp(int.from_bytes(payload[_ID:]), UTC)
    if expires <= now:
        raise BadRequest(_NOT_ONE)
    return Invitation(payload[:_ID].hex(), expires, secret)


def used_up() -> BadRequest:
    """For an invitation that somebody has used, or that was taken back."""
    return BadRequest(_NOT_ONE)


def _signed(said: bytes, key: bytes) -> bytes:
    return blake2b(said, digest_size=_SIGNATURE, key=key, person=b"pypid invitation").digest()
