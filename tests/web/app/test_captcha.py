from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any

import altcha
from altcha import v2
from hypothesis import settings
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.web.api import accounts as captcha
from pypid.web.api.accounts import riddle, solved
from tests.support.worlds import BEGINNING

quickly = settings(max_examples=60, deadline=None, database=None)
KEY, OTHER = bytes(range(32)), bytes(32)
NOW = BEGINNING


class Stopped:
    """The library's clock."""

    monotonic = time.monotonic

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def time(self) -> float:
        """Seconds since 1970."""
        return self.moment.timestamp()


def widget(document: dict[str, Any], took: float = 12.5) -> str:
    """What ALTCHA's widget sends for a riddle, having solved it."""
    challenge = altcha.Challenge.from_dict(document)
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    return b64encode(
        json.dumps(
            {
                "challenge": document,
                "solution": {
                    "counter": solution.counter,
                    "derivedKey": solution.derived_key,
                    "time": took,
                },
            }
        ).encode()
    ).decode()


class RiddleTests(SynchronousTestCase):
    """Riddles, their solutions, and what is sent for one."""

    def setUp(self) -> None:
        """Easy ones, at a time that stands."""
        self.clock = Stopped(NOW)
        self.patch(v2, "time", self.clock)
        self.patch(captcha, "COST", 2)
        self.patch(captcha, "FEWEST", 3)
        self.patch(captcha, "MOST", 9)

    def make(self, key: bytes = KEY) -> dict[str, Any]:
        return riddle(key, NOW, lambda size: b"\x07" * size)

    def refused(self, solution: str | None, word: str = "") -> None:
        error = self.assertRaises(BadRequest, solved, KEY, solution)
        self.assertIn("/api/captcha", str(error))
        self.assertIn(word, str(error))

    def test_forged(self) -> None:
        """One that is easier, lasts longer, is of another key or is not signed is none."""
        self.refused(widget(self.make(OTHER)), "not solved")
        for name, value in (
            ("cost", 1),
            ("keyPrefix", ""),
            ("keyPrefix", "00"),
            ("expiresAt", 99_999_999_999),
            ("expiresAt", None),
            ("nonce", "00" * 16),
            ("algorithm", "SHA-256"),
            ("keyLength", 0),
        ):
            document = self.make()
            document["parameters"][name] = value
            self.refused(
                b64encode(
                    json.dumps({"challenge": document, "solution": self.guess()}).encode()
                ).decode(),
                "not solved",
            )
        for signature in ("", "0" * 64, None, 7, [], "é"):
            document = {**self.make(), "signature": signature}
            self.refused(
                b64encode(
                    json.dumps({"challenge": document, "solution": self.guess()}).encode()
                ).decode(),
                "not solved",
            )

    def guess(self) -> dict[str, Any]:
        return {"counter": 0, "derivedKey": "00" * 32}

    def test_wrong_answer(self) -> None:
        """A counter or a key that are not the answer solve nothing."""
        document = self.make()
        right = json.loads(b64decode(widget(document)))["solution"]
        wrong: list[dict[str, Any]] = [
            {"counter": right["counter"] + 1},
            {"counter": -1},
            {"counter": 2**32},
            {"counter": 10**400},
            {"counter": 1.5},
            {"counter": True},
            {"counter": str(right["counter"])},
            {"derivedKey": "00" * 32},
            {"derivedKey": None},
            {"derivedKey": right["derivedKey"].upper()},
        ]
        for change in wrong:
            said = {"challenge": document, "solution": {**right, **change}}
            self.refused(b64encode(json.dumps(said).encode()).decode(), "not solved")
