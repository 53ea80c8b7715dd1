"""Number of downloads of a project on each day: counted as they are added, and stored apart from
them. Everything here blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, tuple_
from sqlalchemy.dialects import sqlite

from pypid.access.sql.tables import days
from pypid.core.accounts.entries import DownloadEntry

AT_ONCE = 10_000
"""Lines, and downloads, that are handled in one transaction."""
_BEGINNING = date(1970, 1, 1)


def day_of(moment: datetime) -> int:
    """Return the number of days since 1970, in UTC."""
    return (moment.astimezone(UTC).date() - _BEGINNING).days


def count(connection: Connection, downloads: Sequence[DownloadEntry]) -> None:
    """Add these downloads to the counts."""
    _add(connection, Counter((each.project, day_of(each.when)) for each in downloads))


def _add(connection: Connection, counted: Mapping[tuple[str, int], int]) -> None:
    if not counted:
        return
    adding = _insert_for(connection.dialect.name)(days)
    more = {"count": days.c["count"] + adding.excluded["count"]}
    adding = adding.on_conflict_do_update(index_elements=[days.c.project, days.c.day], set_=more)
    # in one order, so that two nodes cannot wait for each other's rows
    rows = [
        {"project": project, "day": day, "count": number}
        for (project, day), number in sorted(counted.items())
    ]
    connection.execute(adding, rows)


def _insert_for(dialect: str) -> Any:
    """Return the dialect's own insert. The import of PostgreSQL's takes 50 ms."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    return sqlite.insert


def find_days(connection: Connection, project: str, since: date) -> Sequence[tuple[date, int]]:
    """Return the days with downloads and their counts, the oldest first."""
    wanted = (days.c.project == project) & (days.c.day >= (since - _BEGINNING).days)
    found = connection.execute(
        select(days.c.day, days.c["count"]).where(wanted).order_by(days.c.day)
    )
    return [(_BEGINNING + timedelta(days=day), number) for day, number in found]


def forget_days(connection: Connection, begin: datetime, most: int) -> bool:
    """Remove some of the lines from before the day of `begin`, and the oldest if there are more
    than `most`; return whether there may be more to do.
    """
    first = day_of(begin)
    if (connection.scalar(select(func.count()).select_from(days)) or 0) > most:
        first = max(first, (connection.scalar(select(func.min(days.c.day))) or 0) + 1)
    unwanted = select(days.c.project, days.c.day).where(days.c.day < first).limit(AT_ONCE)
    return (
        connection.execute(
            delete(days).where(tuple_(days.c.project, days.c.day).in_(unwanted))
        ).rowcount
        > 0
    )
