"""Rate limits: how many accounts are registered from one address, how often a user logs in, and how
many refused downloads are recorded.
"""

from __future__ import annotations

from math import ceil

from attrs import define, field, frozen
from twisted.internet.defer import DeferredLock

from pypid.core.accounts.client_networks import place_of
from pypid.core.accounts.registration import MOST_FROM_A_PLACE, WHILE
from pypid.core.errors import TooManyAttempts, TooManyRegistrations
from pypid.core.lru import Recent

PLACES = 16384
"""Maximum number of stored addresses and users; the least recently seen is forgotten first."""
MOST_LOGINS = 300
"""Maximum number of logins of one user in `WHILE`: each is a line in the audit log, and a change of
the accounts that others wait for.
"""
MOST_REFUSALS = 1000
"""Maximum number of refused downloads in `WHILE` that are recorded in the audit log."""


@define
class TooManyLogins(TooManyAttempts):
    """A user begins one session after the other: HTTP 429."""

    def text(self) -> str:
        return (
            f"You have logged in {MOST_LOGINS} times within an hour. Use a session or a token that "
            f"you have (/api/tokens); or wait {self.retry_after} s."
        )


@frozen
class _Seen:
    """The times of the attempts, the oldest first."""

    times: tuple[float, ...] = ()


@define(eq=False)
class RateLimit:
    """Counts registrations and logins. `turn` is held while a name is checked and taken."""

    turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _seen: Recent[str, _Seen] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )
    _logins: Recent[str, _Seen] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )

    def let_in(self, address: str, now: float) -> None:
        """Count a registration at `now` (seconds of any clock). Raises `TooManyRegistrations`, and
        then it does not count.
        """
        wait = _count(self._seen, place_of(address), MOST_FROM_A_PLACE, now)
        if wait:
            raise TooManyRegistrations(wait)

    def log_in(self, user: str, now: float) -> None:
        """Count a login of a user who has sent the right password. Raises `TooManyLogins`, and then
        it does not count.
        """
        wait = _count(self._logins, user, MOST_LOGINS, now)
        if wait:
            raise TooManyLogins(wait)


@define(eq=False)
class RefusalLimit:
    """Decides which refused downloads are recorded: each client and file once in `WHILE`."""

    _seen: Recent[str, _Seen] = field(
        factory=lambda: Recent(PLACES, PLACES), init=False, repr=False
    )

    def admits(self, client: str, filename: str, now: float) -> bool:
        """Count a refusal at `now`; return whether to record it."""
        return not (
            _count(self._seen, f"{client} {filename}", 1, now)
            or _count(self._seen, "", MOST_REFUSALS, now)
        )


def _count(of_all: Recent[str, _Seen], whose: str, most: int, now: float) -> int:
    """Count an attempt and return 0; or, if there were already `most`, return the seconds until the
    next one is allowed.
    """
    seen = of_all.get(whose) or _Seen()
    times = tuple(time for time in seen.times if now - time < WHILE)
    if len(times) >= most:
        return max(1, ceil(times[0] + WHILE - now))
    of_all.put(whose, _Seen((*times, now)))
    return 0
