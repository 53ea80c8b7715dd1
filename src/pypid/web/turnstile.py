"""How many accounts may be asked for from one place, and one at a time."""

from __future__ import annotations

from math import ceil

from attrs import define, field, frozen
from twisted.internet.defer import DeferredLock

from pypid.core.errors import TooManyRegistrations
from pypid.core.places import place_of
from pypid.core.recent import Recent
from pypid.core.registration import MOST_FROM_A_PLACE, WHILE

PLACES = 16384
"""That are remembered; the one that was not seen for longest is forgotten first."""


@frozen
class _Seen:
    """When somebody came from there, the oldest first."""

    times: tuple[float, ...] = ()


@define(eq=False)
class Turnstile:
    """Counts who comes. `turn` is held while a name is looked at and taken."""

    turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _seen: Recent[str, _Seen] = field(factory=lambda: Recent(PLACES, PLACES), init=False, repr=False)

    def let_in(self, address: str, now: float) -> None:
        """Count an attempt at `now` (seconds of any clock). Raises `TooManyRegistrations`, and then it does not count."""
        place = place_of(address)
        seen = self._seen.get(place) or _Seen()
        times = tuple(time for time in seen.times if now - time < WHILE)
        if len(times) >= MOST_FROM_A_PLACE:
            raise TooManyRegistrations(max(1, ceil(times[0] + WHILE - now)))
        self._seen.put(place, _Seen((*times, now)))
