"""Identity tokens of OIDC issuers (JWT, RFC 7519): parsed without trust, and judged once they are
proven.

In between, the holder of the issuer's keys checks the signature (`pypid.access.oidc`).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from attrs import field, frozen

from pypid.core.configuration.ini import printable
from pypid.core.errors import MintRefused, shortened

LONGEST = 16 << 10
"""Maximum characters of a token; GitHub's and GitLab's have some 2,000."""
ALGORITHMS = frozenset(
    {"EdDSA", *(f"{family}{size}" for family in ("RS", "PS", "ES") for size in (256, 384, 512))}
)
"""Algorithms that need the issuer's private key. With HS* the issuer's public key would serve as
the secret, and ``none`` needs no key.
"""
LEEWAY = timedelta(seconds=60)
"""Tolerated difference between clocks."""
LONGEST_LIFE = timedelta(days=1)
"""Maximum lifetime. GitHub's tokens live for minutes, GitLab's for as long as a job may take."""
LONGEST_ID = 512
"""Maximum characters of a key's or a token's id."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+\Z")
_LAST_DATE = 253_402_300_799
"""9999-12-31 in seconds: no datetime is later."""


def refused(description: str, code: str = "invalid-token") -> MintRefused:
    """Return the error for a token that is not valid; the codes are the public index's."""
    return MintRefused(code, description)


@frozen
class UnverifiedToken:
    """The unverified contents of a token. `key_id` names one of the issuer's keys."""

    token: str = field(repr=False)
    issuer: str
    algorithm: str
    key_id: str | None


def parse_token(token: str) -> UnverifiedToken:
    """Parse a token. Raises `MintRefused` for text that is not a token, or not one that can be
    checked safely.

    The token's own statements about its key (``jku``, ``jwk``, ``x5u``, ``x5c``) are ignored: keys
    come from the issuer.
    """
    if len(token) > LONGEST:
        raise refused(f"The token is longer than {LONGEST} characters.")
    segments = token.split(".")
    if len(segments) != 3:
        raise refused(
            "The token is no signed JWT: it has not three parts with dots between them. Was it "
            "cut short?"
        )
    header, claims = (_object(segment) for segment in segments[:2])
    if not _SEGMENT.match(segments[2]):
        raise refused("The token has no signature.")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refused(
            f"The token's algorithm is not taken here; taken are {', '.join(sorted(ALGORITHMS))}."
        )
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise refused("The token is not of the type JWT: an ID token is wanted here.")
    if {"crit", "b64", "enc", "zip"} & header.keys():
        raise refused(
            "The token wants to be read in a way that is not known here (crit, b64, enc, zip)."
        )
    key_id = header.get("kid")
    if key_id is not None and not _is_id(key_id):
        raise refused("The token's kid is no name of a key.")
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise refused("The token does not say who issued it (iss).")
    return UnverifiedToken(token, issuer, algorithm, key_id)


def _object(segment: str) -> dict[str, Any]:
    try:
        if not _SEGMENT.match(segment):
            raise ValueError
        return read_object(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        raise refused(
            "The token is damaged: it has a part that is no JSON object in base64url."
        ) from None


def read_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`. Raises `ValueError` for anything else."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("this is no JSON object") from None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID


@frozen
class VerifiedToken:
    """The claims of a token that the issuer made for this index and that is valid now. `id` is
    unique to this token (``jti``); `claims` are all claims.
    """

    id: str
    subject: str
    expires: datetime
    claims: Mapping[str, Any] = field(repr=False)


def validate_claims(
    claims: Mapping[str, Any], *, issuer: str, audience: str, now: datetime
) -> VerifiedToken:
    """Return the claims of a token with a valid signature. Raises `MintRefused` unless `issuer`
    made them, for this index, and they are valid now.
    """
    if claims.get("iss") != issuer:
        raise refused("The token is of another issuer.")
    if claims.get("aud") not in (audience, [audience]):
        claimed = shortened(printable(str(claims.get("aud"))))
        raise refused(
            f"The token is meant for another audience ({claimed}): ask for one for {audience!r}, "
            "as the first request told."
        )
    issued, expires = _date(claims, "iat"), _date(claims, "exp")
    if now >= expires + LEEWAY:
        raise refused("The token has expired: ask for a new one.")
    begins = _date(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + LEEWAY:
        raise refused(
            "The token is from the future. Compare the clocks of the issuer and of this index."
        )
    if expires - issued > LONGEST_LIFE:
        raise refused(
            f"The token lives too long: more than {LONGEST_LIFE // timedelta(hours=1)} hours."
        )
    if not _is_id(claims.get("jti")):
        raise refused("The token has no id (jti), so pypid cannot tell whether it was used before.")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise refused("The token does not say whom it is about (sub).")
    return VerifiedToken(claims["jti"], subject, expires, claims)


def _date(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= _LAST_DATE - 86400
    ):
        raise refused(f"The token has no good {name}: a number of seconds since 1970 is wanted.")
    return datetime.fromtimestamp(value, UTC)
