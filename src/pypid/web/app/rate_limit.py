"""What clients may do how often: registrations, logins, names that were never asked upstream.

Rate limits: how many accounts are registered from one address, how often a user logs in, and how
many refused downloads are recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from attrs import define, field, frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from pypid.core.accounts.sessions import MOST_FROM_A_PLACE, WHILE, place_of
from pypid.core.caches import Recent
from pypid.core.errors import Busy, TooManyAttempts

PLACES = 16384
"""Maximum number of stored addresses and users; the least recently seen is forgotten first."""
MOST_LOGINS = 300
"""Maximum number of logins of one user in `WHILE`: each is a line in the audit log, and a change of
the accounts that others wait for.
"""
MOST_REFUSALS = 1000
"""Maximum number of refused downloads in `WHILE` that are recorded in the audit log."""


@define(eq=False)
class RateLimit:
    """Counts registrations and logins. `turn` is held while a name is checked and taken."""

    turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _seen: Recent[str, tuple[float, ...]] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )
    _logins: Recent[str, tuple[float, ...]] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )

    def let_in(self, address: str, now: float) -> None:
        """Count a registration at `now` (seconds of any clock). Raises `TooManyAttempts`, and
        then it does not count.
        """
        wait = _count(self._seen, place_of(address), MOST_FROM_A_PLACE, now)
        if wait:
            raise TooManyAttempts(
                f"Too many registrations from your address. Try again in {wait} s, or ask an "
                "administrator.",
                wait,
            )

    def log_in(self, user: str, now: float) -> None:
        """Count a login of a user who has sent the right password. Raises `TooManyAttempts`, and
        then it does not count.
        """
        wait = _count(self._logins, user, MOST_LOGINS, now)
        if wait:
            raise TooManyAttempts(
                f"You have logged in {MOST_LOGINS} times within an hour. Use a session or a token "
                f"that you have (/api/tokens); or wait {wait} s.",
                wait,
            )


@define(eq=False)
class RefusalLimit:
    """Decides which refused downloads are recorded: each client and file once in `WHILE`."""

    _seen: Recent[str, tuple[float, ...]] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )

    def admits(self, client: str, filename: str, now: float) -> bool:
        """Count a refusal at `now`; return whether to record it."""
        return not (
            _count(self._seen, f"{client} {filename}", 1, now)
            or _count(self._seen, "", MOST_REFUSALS, now)
        )


def _count(of_all: Recent[str, tuple[float, ...]], whose: str, most: int, now: float) -> int:
    """Count an attempt and return 0; or, if there were already `most`, return the seconds until the
    next one is allowed. `of_all` has the times of the attempts, the oldest first.
    """
    times = tuple(time for time in of_all.get(whose) or () if now - time < WHILE)
    if len(times) >= most:
        return max(1, ceil(times[0] + WHILE - now))
    of_all.put(whose, (*times, now))
    return 0


# A budget for names that were never asked upstream, for each address of clients that have not
# logged in.
#
# Each such name causes a request to the upstream index, and an entry that is stored: without a
# limit one client could cause both without end. An ordinary client asks for names that others have
# asked for before, or for the few hundred of a new lock file.

ADDRESSES = 16384
"""Maximum number of stored addresses, least recently used first out: a forgotten one has its whole
budget again.
"""
SHORTEST_WAIT = 5
"""Minimum ``Retry-After`` in seconds, so that many clients behind one address get their turns: pip
comes back five times.
"""


@frozen
class NameBudget:
    """`burst` names at once, 0 for no limit; then `per_minute`."""

    burst: int = 2000
    per_minute: int = 100


@define
class _Bucket:
    left: float
    at: float
    """When `left` was right (seconds of the clock)."""


@define(eq=False)
class UnknownNames:
    """The budgets of all addresses; an IPv6 address counts as its /64 (`place_of`)."""

    budget: NameBudget
    clock: IReactorTime
    _buckets: Recent[str, _Bucket] = field(
        factory=lambda: Recent(ADDRESSES, ADDRESSES), init=False, repr=False
    )

    def spend(self, address: str) -> None:
        """Take one name out of the budget of the address. Raises `Busy` if nothing is left (503:
        pip does not retry 429).
        """
        if not self.budget.burst:
            return
        place, now, rate = place_of(address), self.clock.seconds(), self.budget.per_minute / 60
        bucket = self._buckets.get(place) or _Bucket(self.budget.burst, now)
        left = min(self.budget.burst, bucket.left + max(0.0, now - bucket.at) * rate)
        if left < 1:
            raise Busy(
                (
                    "Your address has asked for too many projects that were never asked for "
                    "before. Log in, or use a token."
                ),
                max(SHORTEST_WAIT, ceil((1 - left) / rate)),
            )
        self._buckets.put(place, _Bucket(left - 1, now))


# Invalidation of cached identities: a cache of access decisions checks here before it answers
# again.

LEASE = 290.0
"""Seconds for which a verified identity is trusted; a verified password is cached for 300."""
FAR = 5.0
"""Seconds for which an identity from a source that reports no changes is trusted: a directory, a
service, a database server.
"""


@define(eq=False)
class AuthGeneration:
    """Generation of cached identities, increased when users may change: by a password, a token, a
    session, a group.
    """

    must_wait: Callable[[str], bool] = lambda address: False
    """Return whether an address has to wait after wrong passwords: then nothing from there is
    answered from a cache, which would tell a right password from a wrong one.
    """
    changes: int = 0
    lease: float = LEASE
    until: float = float("inf")
    """When cached identities expire, on the reactor's clock: the database with newer data has been
    silent too long.
    """

    def bump(self) -> None:
        """Invalidate all identities cached until now."""
        self.changes += 1

    def renew(self, until: float, *, lease: float | None = None) -> None:
        """Set when cached identities expire, and for how long they are trusted if that changes."""
        self.until = until
        if lease is not None:
            self.lease = lease
