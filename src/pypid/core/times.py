"""Times: those of as-of addresses, and ages by a wall clock that may have been set.

The time in an as-of address: ``/at/2026-08-01/simple/``. Pure.

Written like uv's ``exclude-newer``: a date means that whole day (uv takes it in the zone of the
machine, pypid in UTC, so that it is the same everywhere), and a time with or without a zone
(without one it is UTC) means that instant. Only what happened before it, or before the end of the
day, counts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from attrs import frozen

from pypid.core.errors import BadMoment

SETTLED = timedelta(minutes=1)
"""Minimum age of an as-of time: a file being published has its upload time already, and is not
listed yet; and clocks differ.
"""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_DAY = timedelta(days=1)


@frozen
class AsOfTime:
    """An as-of time: what happened `before` it (aware, UTC) counts. `text`: as in addresses."""

    text: str
    before: datetime


def parse_moment(text: str) -> AsOfTime:
    """Return the time that `text` spells. Raises `BadMoment`."""
    try:
        if _DATE.fullmatch(text):
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
            return AsOfTime(text, day + _DAY)
        found = _TIME.fullmatch(text)
        if found is not None:
            return moment_of(_time(found["date"], found["time"], found["zone"] or "Z"))
    except (ValueError, OverflowError):
        pass  # an invalid date, or a year that cannot be represented
    raise BadMoment(
        text,
        "it is a date (2026-08-01), or a date and a time (2026-08-01T12:30:00Z, "
        "2026-08-01T14:30+02:00)",
    )


def moment_of(before: datetime) -> AsOfTime:
    """Return the as-of time of an instant (in whole seconds, or with its fraction)."""
    text = before.astimezone(UTC).replace(tzinfo=None).isoformat()
    return AsOfTime(f"{text}Z", before.astimezone(UTC))


def _time(date: str, time: str, zone: str) -> datetime:
    seconds = time if len(time) > len("00:00") else f"{time}:00"
    offset = "+00:00" if zone in "Zz" else zone
    return datetime.strptime(f"{date}T{seconds}{offset}", "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)


def settled(moment: AsOfTime, now: datetime) -> AsOfTime:
    """Return the time. Raises `BadMoment` for one in the future or the last minute."""
    if moment.before > now - SETTLED:
        latest = (now - SETTLED).astimezone(UTC).replace(microsecond=0)
        yesterday = (latest - _DAY).date().isoformat()
        raise BadMoment(
            moment.text,
            f"it has not ended. The latest time is {moment_of(latest).text}, the latest day "
            f"{yesterday}. For the current state, use /simple/",
        )
    return moment


# Ages of data that outlives the process, by the wall clock, which may have been set back since.

AHEAD = timedelta(minutes=1)
"""How far another machine's clock may be ahead of this one's. A time further in the future means
that the clock was set back.
"""


def is_recent(moment: datetime, now: datetime, lifetime: timedelta) -> bool:
    """Return whether `moment` is less than `lifetime` ago. A time in the future is not recent, so
    that a wrong clock extends no lifetime.
    """
    return -AHEAD < now - moment < lifetime
