"""The rows of both logs, and the numbers of downloads.

The rows of the audit log and of the downloads: only ever added, and read newest first.
Everything here blocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, tuple_
from sqlalchemy.dialects import sqlite

from pypid.access.sql.tables import SCHEMA_PARTS, days, take
from pypid.access.sql.tables import audit_entries as log
from pypid.access.sql.tables import downloads as table
from pypid.core.accounts.rights import AuditEntry, DownloadEntry

# Number of downloads of a project on each day: counted as they are added, and stored apart from
# them. Everything here blocks.

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


DIGESTS_AT_ONCE = 1000
"""Digests in one query: databases limit the number of parameters."""
_ADD = insert(log)


def add_entries(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries with the next serials, in their order: other writers wait, so that serials become
    visible in order.
    """
    first = take(connection, SCHEMA_PARTS["journal"], len(entries)) - len(entries) + 1
    rows = [
        {
            "serial": serial,
            "when": entry.when,
            "who": entry.who,
            "what": entry.what,
            "subject": entry.subject,
            "head": entry.subject.partition("/")[0],
            "where": entry.where,
            "token": entry.token,
            "details": json.dumps(dict(entry.details)),
            "index": entry.index,
        }
        for serial, entry in enumerate(entries, first)
    ]
    connection.execute(_ADD, rows)


def find_entries(
    connection: Connection, before: int | None, most: int, wanted: Mapping[str, str]
) -> Sequence[AuditEntry]:
    """Return matching entries, newest first. A project as ``subject`` also matches its files."""
    named = log.c["index"].label("index_name")  # a row has a method `index`
    found = select(log, named).order_by(log.c.serial.desc()).limit(most)
    if before is not None:
        found = found.where(log.c.serial < max(0, min(before, 1 << 62)))
    for name, text in wanted.items():
        found = found.where(
            log.c["head" if name == "subject" and "/" not in text else name] == text
        )
    return [
        AuditEntry(
            when=row.when,
            who=row.who,
            what=row.what,
            subject=row.subject,
            where=row.where,
            token=row.token,
            details=MappingProxyType(json.loads(row.details)),
            index=row.index_name,
            serial=row.serial,
        )
        for row in connection.execute(found)
    ]


def add_downloads(connection: Connection, downloads: Sequence[DownloadEntry]) -> None:
    """Add the downloads in this order, and count them."""
    count(connection, downloads)
    rows = [
        {
            "when": each.when,
            "sha256": each.sha256,
            "project": each.project,
            "filename": each.filename,
            "who": each.who,
            "where": each.where,
            "token": each.token,
        }
        for each in downloads
    ]
    connection.execute(insert(table), rows)


def find_downloads(
    connection: Connection, digests: Sequence[str], most: int, before: int | None
) -> Sequence[DownloadEntry]:
    """Return downloads of files, newest first; only those with a serial below `before`, if
    given.
    """
    found: list[DownloadEntry] = []
    for first in range(0, len(digests), DIGESTS_AT_ONCE):
        some = table.c.sha256.in_(digests[first : first + DIGESTS_AT_ONCE])
        wanted = some if before is None else some & (table.c.id < before)
        newest = select(table).where(wanted).order_by(table.c.id.desc()).limit(most)
        found += _entries(connection, newest)
        found = sorted(found, key=lambda entry: -entry.serial)[:most]
    return found


def count_by_user(
    connection: Connection, digests: Sequence[str], since: datetime
) -> Sequence[tuple[str, str, int]]:
    """Return digest, user and number of the downloads of files since then."""
    found: list[tuple[str, str, int]] = []
    columns = table.c.sha256, table.c.who
    for first in range(0, len(digests), DIGESTS_AT_ONCE):
        some = table.c.sha256.in_(digests[first : first + DIGESTS_AT_ONCE])
        query = select(*columns, func.count()).where(some & (table.c.when >= since))
        found += [(row[0], row[1], row[2]) for row in connection.execute(query.group_by(*columns))]
    return found


def find_recent(connection: Connection, digests: Sequence[str], since: datetime) -> Sequence[str]:
    """Return the digests whose newest download is not older than `since`: one row is read for
    each.
    """
    newest = select(table.c.when).order_by(table.c.id.desc()).limit(1)
    times = {
        digest: connection.scalar(newest.where(table.c.sha256 == digest)) for digest in digests
    }
    return [digest for digest, when in times.items() if when is not None and when >= since]


def _entries(connection: Connection, found: Select[Any]) -> list[DownloadEntry]:
    return [
        DownloadEntry(
            when=row.when,
            sha256=row.sha256,
            project=row.project,
            filename=row.filename,
            who=row.who,
            where=row.where,
            token=row.token,
            serial=row.id,
        )
        for row in connection.execute(found)
    ]


def forget_downloads(connection: Connection, begin: datetime, rows: int) -> bool:
    """Remove some of the downloads from before `begin`, and beyond the newest `rows`; return
    whether there may be more of them.
    """
    newest = connection.scalar(select(func.max(table.c.id))) or 0
    unwanted = (
        select(table.c.id)
        .where((table.c.when < begin) | (table.c.id <= newest - rows))
        .limit(AT_ONCE)
    )
    return connection.execute(delete(table).where(table.c.id.in_(unwanted))).rowcount >= AT_ONCE
