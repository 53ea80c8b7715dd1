"""A throttle for wrong passwords: a client that goes on guessing has to wait, longer each time,
without affecting other clients.

An attempt is counted when it begins, and uncounted if it was not wrong: so a burst of guesses at
once gets no further than the same guesses one after the other.
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
BURST = 100
"""Wrong passwords from one address, whatever the users."""
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

    def is_forgotten(self, now: float) -> bool:
        return now - max(self.last, self.until) > FORGOTTEN

    def add_failure(self, now: float) -> None:
        self.failures, self.last = self.failures + 1, now

    def wait(self, until: float) -> None:
        self.until = until

    def take_back(self, until: float) -> None:
        self.failures = max(0, self.failures - 1)
        if self.until == until:  # else a later attempt has made it longer
            self.until = 0.0


@define
class _Level:
    """A leaky bucket: `filled` at the time `at`, and `EACH` seconds take one out."""

    filled: float = 0.0
    at: float = 0.0

    def now(self, now: float) -> float:
        return max(0.0, self.filled - (now - self.at) / EACH)

    def add(self, now: float, amount: float) -> None:
        self.filled, self.at = max(0.0, self.now(now) + amount), now


@frozen
class Attempt:
    """An attempt that has begun. It counts as wrong, unless it is taken back or was right."""

    place: str
    """Empty: it is not counted."""
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
        self._most = most
        self._proven = self._no_proofs()

    def fingerprint(self, *texts: str) -> bytes:
        """Return a keyed hash of the texts, which is stored in place of them."""
        return keyed_hash(self._key, *texts)

    # --- passwords --------------------------------------------------------------------------------

    def is_proven(self, credential: Credential) -> bool:
        """Return whether the same user and password were right shortly before, from any address:
        then nothing delays them.
        """
        proof = self._proven.get(credential.user)
        return proof is not None and proof.answer == self._proof(credential)

    def prove(self, credential: Credential) -> None:
        """Note that the credential is right: it is proven for `PROVEN` seconds."""
        self._proven.put(credential.user, self._proof(credential))

    def _proof(self, credential: Credential) -> bytes:
        return self.fingerprint(credential.user, credential.password)

    def _no_proofs(self) -> AnswerCache[str, bytes]:
        return AnswerCache(self._clock, PROVEN, self._most)

    def begin(self, credential: Credential) -> Attempt:
        """Count an attempt. Raises `TooManyAttempts` if it is too early for another one, and then
        nothing is counted.
        """
        place = place_of(credential.address)
        if not place:
            return Attempt("")
        now = self._clock.seconds()
        # a directory may take "Ada" and "ada" for the same user: another spelling must not give
        # more attempts
        key = self.fingerprint(credential.user.casefold(), place)
        pair = self._pairs.get(key)
        if pair is None or pair.is_forgotten(now):
            pair = _Pair()
        self._refuse_before(pair.until, now)
        self._fill("password", place, now)
        pair.add_failure(now)
        if pair.failures >= FREE:
            pair.wait(now + self._pause(pair.failures - FREE, place))
        self._pairs.put(key, pair)
        return Attempt(place, key, pair.until)

    def take_back(self, attempt: Attempt) -> None:
        """Uncount an attempt that was neither right nor wrong, since the source was unavailable."""
        if not attempt.place:
            return
        self._empty("password", attempt.place)
        pair = self._pairs.get(attempt.pair)
        if pair is not None:
            pair.take_back(attempt.until)

    def succeeded(self, attempt: Attempt, credential: Credential) -> None:
        """Note that the attempt was right: the count of the user at this address starts over, and
        the credential is proven.
        """
        self.prove(credential)
        if attempt.place:
            self._empty(
                "password", attempt.place
            )  # by one only: otherwise logins to an attacker's own account would allow more guesses
            self._pairs.forget(attempt.pair)

    def forget(self, user: str) -> None:
        """Drop the proof of the user's password, which may have changed."""
        self._proven.forget(user)

    def forget_all(self) -> None:
        """Drop the proofs of all passwords, any of which may have changed."""
        self._proven = self._no_proofs()

    # --- tokens -----------------------------------------------------------------------------------

    def wrong_token(self, address: str) -> None:
        """Count an invalid token. Raises `TooManyAttempts` if there were too many from this
        address.
        """
        place = place_of(address)
        if place:
            self._fill("token", place, self._clock.seconds())

    # --- counting ---------------------------------------------------------------------------------

    def _fill(self, what: str, place: str, now: float) -> None:
        level = self._levels.get((what, place)) or _Level(at=now)
        over = level.now(now) + 1 - BURST
        if over > 1e-9:
            raise _too_many(over * EACH)
        level.add(now, 1)
        self._levels.put((what, place), level)

    def _empty(self, what: str, place: str) -> None:
        level = self._levels.get((what, place))
        if level is not None:
            level.add(self._clock.seconds(), -1)

    def _refuse_before(self, until: float, now: float) -> None:
        if now < until:
            raise _too_many(until - now)

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
