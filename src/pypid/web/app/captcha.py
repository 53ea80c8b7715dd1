"""Captchas against automated registration: ALTCHA's proof of work, version 2, which its widget
solves in the browser.

No third party is contacted, and nothing is stored of a captcha before it is solved: it is signed,
and expires by itself. Made with ALTCHA's own library, which takes randomness, and the expiry time,
from the system.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TypedDict, cast

from attrs import frozen

from pypid.core.errors import BadRequest

LIFETIME = timedelta(minutes=10)
ALGORITHM = "PBKDF2/SHA-256"
COST = 1000
"""Iterations of one try. Creating a captcha takes one try, and so does verifying a solution: 0.35
ms on the reactor thread.
"""
FEWEST, MOST = 2000, 4000
"""Tries until a captcha is solved: a second of one core, which a widget spreads over several."""
LONGEST = 4096
"""Maximum length of a solution in characters; the widget's have some 700."""

_WRONG = (
    "The captcha is not solved. Fetch a new one (GET /api/captcha), solve it, and send the "
    "solution as captcha."
)


class RiddleParameters(TypedDict):
    """The captcha's parameters, in ALTCHA's terms. `expiresAt`: seconds since 1970."""

    algorithm: str
    cost: int
    keyLength: int
    keyPrefix: str
    nonce: str
    salt: str
    expiresAt: int


class Captcha(TypedDict):
    """A captcha of ALTCHA's proof of work, version 2, as its widget takes it."""

    parameters: RiddleParameters
    signature: str


@frozen
class Solved:
    """A solved captcha. The caller must ensure that each `nonce` is accepted only once."""

    nonce: str
    expires: datetime


def riddle(key: bytes, now: datetime, random: Callable[[int], bytes]) -> Captcha:
    """Return a new captcha, as ALTCHA's widget takes it from its URL: ``parameters`` and
    ``signature``. `key`: 32 bytes.
    """
    from altcha import (
        create_challenge,
    )  # takes a while to import; only servers that use captchas pay for it

    tries = FEWEST + int.from_bytes(random(8)) % (MOST - FEWEST)
    made = create_challenge(
        ALGORITHM, COST, counter=tries, expires_at=now + LIFETIME, hmac_secret=_secret(key)
    )
    return cast(Captcha, made.to_dict())


def solved(key: bytes, solution: str | None) -> Solved:
    """Return the solved captcha in the widget's answer: JSON in base64 that contains the captcha.
    Raises `BadRequest`, with advice.
    """
    from altcha import Payload, verify_solution

    if not solution:
        raise BadRequest(
            "A captcha has to be solved first: fetch one (GET /api/captcha), and send its "
            "solution as captcha."
        )
    if len(solution) > LONGEST or not solution.isascii():
        raise BadRequest(_WRONG)
    result = verify_solution(solution, _secret(key))
    if result.expired:
        raise BadRequest(
            "The captcha has expired. Fetch a new one (GET /api/captcha), and send its solution "
            "as captcha."
        )
    if not result.verified:
        raise BadRequest(_WRONG)
    puzzle = Payload.from_base64(solution).challenge.parameters
    return Solved(puzzle.nonce, datetime.fromtimestamp(puzzle.expires_at or 0, UTC))


def _secret(key: bytes) -> bytes:
    return blake2b(digest_size=32, key=key, person=b"pypid riddle").digest()
