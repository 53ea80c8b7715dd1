"""Riddles that keep robots from making accounts: ALTCHA's proof of work, version 2, which its
widget solves in the browser.

Nothing is asked of anybody else, and nothing is kept of a riddle before it is solved: it is signed,
and ends by itself. By the library of ALTCHA's makers, which takes chance, and the time at which a
riddle ends, from the system.
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
"""Iterations of one try. To make a riddle is one try, to see whether it was solved another: 0.35
ms, on the reactor thread.
"""
FEWEST, MOST = 2000, 4000
"""Tries until a riddle is solved: a second of one core, which a widget spreads over several."""
LONGEST = 4096
"""Characters of a solution; the widget's have some 700."""

_WRONG = (
    "The riddle is not solved. Fetch a new one (GET /api/captcha), solve it, and send the "
    "solution as captcha."
)


class RiddleParameters(TypedDict):
    """What is to be solved, in ALTCHA's words. `expiresAt`: seconds since 1970."""

    algorithm: str
    cost: int
    keyLength: int
    keyPrefix: str
    nonce: str
    salt: str
    expiresAt: int


class Captcha(TypedDict):
    """A riddle of ALTCHA's proof of work, version 2, as its widget takes it."""

    parameters: RiddleParameters
    signature: str


@frozen
class Solved:
    """A riddle that was solved. Whoever takes it has to see to it that nobody else is let in by the
    same `nonce`.
    """

    nonce: str
    expires: datetime


def riddle(key: bytes, now: datetime, random: Callable[[int], bytes]) -> Captcha:
    """A new one, as ALTCHA's widget takes it from its URL: ``parameters`` and ``signature``. `key`:
    32 bytes.
    """
    from altcha import (
        create_challenge,
    )  # it takes a while to import, which nobody need wait for who asks no riddles

    tries = FEWEST + int.from_bytes(random(8)) % (MOST - FEWEST)
    made = create_challenge(
        ALGORITHM, COST, counter=tries, expires_at=now + LIFETIME, hmac_secret=_secret(key)
    )
    return cast(Captcha, made.to_dict())


def solved(key: bytes, solution: str | None) -> Solved:
    """What the widget gives back: JSON in base64, with the riddle in it. Raises `BadRequest`, with
    advice.
    """
    from altcha import Payload, verify_solution

    if not solution:
        raise BadRequest(
            "A riddle is to be solved first: fetch one (GET /api/captcha), and send its "
            "solution "
            "as captcha."
        )
    if len(solution) > LONGEST or not solution.isascii():
        raise BadRequest(_WRONG)
    result = verify_solution(solution, _secret(key))
    if result.expired:
        raise BadRequest(
            "The riddle is too old. Fetch a new one (GET /api/captcha), and send its solution "
            "as "
            "captcha."
        )
    if not result.verified:
        raise BadRequest(_WRONG)
    asked = Payload.from_base64(solution).challenge.parameters
    return Solved(asked.nonce, datetime.fromtimestamp(asked.expires_at or 0, UTC))


def _secret(key: bytes) -> bytes:
    return blake2b(digest_size=32, key=key, person=b"pypid riddle").digest()
