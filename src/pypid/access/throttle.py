"""A throttle for wrong passwords: a client that goes on guessing has to wait, longer each time,
without affecting other clients.

An attempt is counted when it begins, and uncounted if it was not wrong: so a burst of guesses at
once gets no further than the same guesses one after the other. A password that was right shortly
before is not delayed at that address, unless many guesses come from there: otherwise a refusal
would tell a wrong guess from the right one.
"""

from __future__ import annotations

from math import ceil

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pypid.access.cached_source import AnswerCache
from pypid.access.passwords import keyed_hash
from pypid.core.accounts.client_networks import place_of
from pypid.core.errors import TooManyAttempts
from pypid.core.lru import Recent
from pypid.core.permissions import Credential
from pypid.flow import World

FREE = 5
"""Wrong passwords of one user from one address before there is any wait."""
LONGEST = 900.0
"""Seconds of the longest wait; it begins with one, and doubles."""
FORGOTTEN = 3600.0
"""Seconds without an attempt after which the count of a user at this address starts over."""
REFUSED = 20
"""Attempts without waiting, after which the wait doubles, and a proof at this address ends."""
BURST = 100
"""Wrong passwords from one address, whatever the users; and of one user, from all addresses where
the user has never logged in.
"""
EACH = 5.0
"""Seconds after which one more is allowed there."""
PROVEN = 300.0
"""Seconds for which a right password is known to have been right."""
MOST = 16384
"""Maximum number of entries of each kind; the least recently used are dropped first."""
_WORTH_A_LINE = 64.0


@define
class _Pair:
    """The results of one user's passwords from one address."""

    failures: int = 0
    until: float = 0.0
    """Until when the next attempt has to wait."""
    last: float = 0.0
    refused: int = 0
    """Attempts that did not wait."""

    def is_forgotten(self, now: float) -> bool:
        return now - max(self.last, self.until) > FORGOTTEN

    def add_failure(self, now: float) -> None:
        self.failures, self.last = self.failures + 1, now

    def wait(self, until: float) -> None:
        self.until = until

    def refuse(self) -> bool:
        """Count an attempt that did not wait; return whether it is one of many."""
        self.refused += 1
        return self.refused % REFUSED == 0

    def take_back(self, until: float) -> None:
        self.failures = max(0, self.failures - 1)
        if self.until == until:  # else a later attempt has made it longer
            self.until = 0.0


@define
class _Level:
    """A leaky bucket: `filled` at the time `at`, and `EACH` seconds take one out."""

    filled: float = 0.0
    at: float = 0.0
    is_logged: bool = False

    def now(self, now: float) -> float:
        self.at = min(self.at, now)  # the clock may have been set back
        return max(0.0, self.filled - (now - self.at) / EACH)

    def add(self, now: float, amount: float) -> None:
        self.is_logged = self.is_logged and self.now(now) > 0
        self.filled, self.at = max(0.0, self.now(now) + amount), now

    def should_log(self) -> bool:
        """Return whether it is over for the first time since it was empty."""
        was_logged, self.is_logged = self.is_logged, True
        return not was_logged


@frozen
class Attempt:
    """An attempt that has begun. It counts as wrong, unless it is taken back or was right."""

    levels: tuple[tuple[str, str], ...] = ()
    """Where it is counted; empty: nowhere."""
    pair: bytes = b""
    until: float = field(default=0.0, eq=False)
    """Until when this attempt made the next one wait."""


class Throttle:
    """Counts wrong passwords for each user at each address, and for each address; and wrong tokens
    for each address.

    An address is an IPv4 address or the /64 of an IPv6 address, which is the least that one
    customer has. Clients without an address (the control socket) are not counted.
    """

    _log = Logger()

    def __init__(self, world: World, *, most: int = MOST) -> None:
        """`most` entries of each kind are kept."""
        self._clock: IReactorTime = world.clock
        self._key = world.random(32)
        self._pairs: Recent[bytes, _Pair] = Recent(most, most)
        self._levels: Recent[tuple[str, str], _Level] = Recent(most, most)
        self._known: Recent[bytes, bool] = Recent(most, most)
        """Users at the addresses where they have logged in."""
        self._waiting: Recent[str, float] = Recent(most, most)
        """Until when addresses have to wait."""
        self._proven: AnswerCache[bytes, bytes] = AnswerCache(self._clock, PROVEN, most)

    def fingerprint(self, *texts: str) -> bytes:
        """Return a keyed hash of the texts, which is stored in place of them."""
        return keyed_hash(self._key, *texts)

    # --- passwords --------------------------------------------------------------------------------

    def is_proven(self, credential: Credential) -> bool:
        """Return whether the same user and password were right shortly before from this address:
        then nothing delays them.
        """
        proof = self._proven.get(self._pair_of(credential))
        return proof is not None and proof.answer == self._proof(credential)

    def prove(self, credential: Credential) -> None:
        """Note that the credential is right: it is proven for `PROVEN` seconds at its address."""
        self._proven.put(self._pair_of(credential), self._proof(credential))

    def disprove(self, credential: Credential) -> None:
        """Note that the credential is not right any more."""
        self._proven.forget(self._pair_of(credential))

    def must_wait(self, address: str) -> bool:
        """Return whether too many wrong passwords have come from the address just now."""
        until = self._waiting.get(place_of(address))
        return until is not None and self._clock.seconds() < until

    def _proof(self, credential: Credential) -> bytes:
        return self.fingerprint(credential.user, credential.password)

    def _pair_of(self, credential: Credential) -> bytes:
        # a directory may take "Ada" and "ada" for the same user: another spelling must not give
        # more attempts
        return self.fingerprint(credential.user.casefold(), place_of(credential.address))

    def begin(self, credential: Credential) -> Attempt:
        """Count an attempt. Raises `TooManyAttempts` if it is too early for another one."""
        place = place_of(credential.address)
        if not place:
            return Attempt()
        now, key = self._clock.seconds(), self._pair_of(credential)
        pair = self._pairs.get(key)
        if pair is None or pair.is_forgotten(now):
            pair = _Pair()
        if now < pair.until:
            raise self._refusal(pair, key, place, now)
        levels = [("password", place)]
        if not self._known.get(key):
            levels.append(("user", self.fingerprint(credential.user.casefold()).hex()))
        for what, of in levels:
            self._fill(what, of, now)
        self._delay(pair, place, now)
        self._pairs.put(key, pair)
        return Attempt(tuple(levels), key, pair.until)

    def _refusal(self, pair: _Pair, key: bytes, place: str, now: float) -> TooManyAttempts:
        if pair.refuse():
            self._proven.forget(key)
            self._delay(pair, place, now)
        pair.wait(min(pair.until, now + LONGEST))  # the clock may have been set back
        return _too_many(pair.until - now)

    def _delay(self, pair: _Pair, place: str, now: float) -> None:
        """Count an attempt, and make the next one wait."""
        pair.add_failure(now)
        if pair.failures >= FREE:
            pair.wait(max(pair.until, now + self._pause(pair.failures - FREE, place)))
            self._waiting.put(place, pair.until)

    def take_back(self, attempt: Attempt) -> None:
        """Uncount an attempt that was neither right nor wrong, since the source was unavailable."""
        for what, of in attempt.levels:
            self._empty(what, of)
        pair = self._pairs.get(attempt.pair)
        if pair is not None:
            pair.take_back(attempt.until)

    def succeeded(self, attempt: Attempt, credential: Credential) -> None:
        """Note that the attempt was right: the credential is proven, and the count of the user at
        this address starts over, unless guesses come from there at the same time.
        """
        self.prove(credential)
        self.take_back(attempt)  # by one only: otherwise logins to an attacker's own account
        # would allow more guesses
        pair = self._pairs.get(attempt.pair)
        if pair is not None and pair.refused < REFUSED:
            self._pairs.forget(attempt.pair)
        if attempt.levels:
            self._known.put(attempt.pair, True)

    # --- tokens -----------------------------------------------------------------------------------

    def wrong_token(self, address: str) -> None:
        """Count an invalid token. Raises `TooManyAttempts` if there were too many from this
        address.
        """
        place = place_of(address)
        if place:
            self._fill("token", place, self._clock.seconds())

    # --- counting ---------------------------------------------------------------------------------

    def _fill(self, what: str, of: str, now: float) -> None:
        level = self._levels.get((what, of)) or _Level(at=now)
        over = level.now(now) + 1 - BURST
        if over > 1e-9:
            if level.should_log():
                # not the user's name: it may be a password, typed into the wrong field
                self._log.warn(
                    "many wrong passwords or tokens, further ones have to wait: source={source}",
                    source="all addresses, for one user" if what == "user" else of,
                )
            raise _too_many(over * EACH)
        level.add(now, 1)
        self._levels.put((what, of), level)

    def _empty(self, what: str, of: str) -> None:
        level = self._levels.get((what, of))
        if level is not None:
            level.add(self._clock.seconds(), -1)

    def _pause(self, doublings: int, place: str) -> float:
        pause = min(2.0 ** min(doublings, 30), LONGEST)
        if pause == _WORTH_A_LINE:
            # not the user's name: it may be a password, typed into the wrong field
            self._log.warn(
                (
                    "many wrong passwords for one user, each further attempt is delayed "
                    "longer: address={place}"
                ),
                place=place,
            )
        return pause


def _too_many(seconds: float) -> TooManyAttempts:
    return TooManyAttempts(max(1, ceil(seconds - 0.001)))  # 2.7 - 1.7 is a little more than 1
