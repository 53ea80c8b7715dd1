"""A budget for names that were never asked upstream, for each address of clients that have not
logged in.

Each such name causes a request to the upstream index, and an entry that is stored: without a limit
one client could cause both without end. An ordinary client asks for names that others have asked
for before, or for the few hundred of a new lock file.
"""

from __future__ import annotations

from math import ceil

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from pypid.core.accounts.client_networks import place_of
from pypid.core.errors import Busy
from pypid.core.lru import Recent

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
