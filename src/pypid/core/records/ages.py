"""Ages of data that outlives the process, by the wall clock, which may have been set back since."""

from __future__ import annotations

from datetime import datetime, timedelta

AHEAD = timedelta(minutes=1)
"""How far another machine's clock may be ahead of this one's. A time further in the future means
that the clock was set back.
"""


def is_recent(moment: datetime, now: datetime, lifetime: timedelta) -> bool:
    """Return whether `moment` is less than `lifetime` ago. A time in the future is not recent, so
    that a wrong clock extends no lifetime.
    """
    return -AHEAD < now - moment < lifetime
