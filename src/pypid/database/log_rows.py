"""The rows of the audit log and of the download log: only ever added, and read newest first.
Everything here blocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, tuple_
from sqlalchemy.dialects import sqlite

from pypid.core.accounts.rights import AuditEntry, DownloadEntry
from pypid.database.account_tables import SCHEMA_PARTS, days, take
from pypid.database.account_tables import audit_entries as log
from pypid.database.account_tables import downloads as table

AT_ONCE = 10_000
"""Downloads, and counts of days, that are removed in one transaction."""
DIGESTS_AT_ONCE = 1000
"""Digests in one query: databases limit the number of parameters."""
_BEGINNING = date(1970, 1, 1)
_ADD = insert(log)


def _day_of(moment: datetime) -> int:
    """Return the number of days since 1970, in UTC."""
    return (moment.astimezone(UTC).date() - _BEGINNING).days


def _insert_for(dialect: str) -> Any:
    """Return the dialect's own insert. The import of PostgreSQL's takes 50 ms."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    return sqlite.insert


def _of_files(digests: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that together hold for the downloads of the files with these digests."""
    for first in range(0, len(digests), DIGESTS_AT_ONCE):
        yield table.c.sha256.in_(digests[first : first + DIGESTS_AT_ONCE])


@frozen
class LogRows:
    """Both logs, in the transaction of a connection."""

    connection: Connection

    # --- the audit log ---

    def add_entries(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries with the next serials, in their order: other writers wait, so that serials
        become visible in order.
        """
        last = take(self.connection, SCHEMA_PARTS["journal"], len(entries))
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
            for serial, entry in enumerate(entries, last - len(entries) + 1)
        ]
        self.connection.execute(_ADD, rows)

    def find_entries(
        self, before: int | None, most: int, wanted: Mapping[str, str]
    ) -> Sequence[AuditEntry]:
        """Return matching entries, newest first. A project as ``subject`` also matches its
        files.
        """
        named = log.c["index"].label("index_name")  # a row has a method `index`
        found = select(log, named).order_by(log.c.serial.desc()).limit(most)
        if before is not None:
            found = found.where(log.c.serial < max(0, min(before, 1 << 62)))
        for name, text in wanted.items():
            column = "head" if name == "subject" and "/" not in text else name
            found = found.where(log.c[column] == text)
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
            for row in self.connection.execute(found)
        ]

    # --- downloads ---

    def add_downloads(self, downloads: Sequence[DownloadEntry]) -> None:
        """Add the downloads in this order, and count them: the numbers of a project on each day are
        stored apart.
        """
        adding = _insert_for(self.connection.dialect.name)(days)
        more = {"count": days.c["count"] + adding.excluded["count"]}
        adding = adding.on_conflict_do_update(
            index_elements=[days.c.project, days.c.day], set_=more
        )
        counted = Counter((each.project, _day_of(each.when)) for each in downloads)
        # in one order, so that two nodes cannot wait for each other's rows
        counts = [
            {"project": project, "day": day, "count": number}
            for (project, day), number in sorted(counted.items())
        ]
        self.connection.execute(adding, counts)
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
        self.connection.execute(insert(table), rows)

    def find_downloads(
        self, digests: Sequence[str], most: int, before: int | None
    ) -> Sequence[DownloadEntry]:
        """Return downloads of files, newest first; only those with a serial below `before`, if
        given.
        """
        found: list[DownloadEntry] = []
        for some in _of_files(digests):
            wanted = some if before is None else some & (table.c.id < before)
            newest = select(table).where(wanted).order_by(table.c.id.desc()).limit(most)
            found += [
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
                for row in self.connection.execute(newest)
            ]
        return sorted(found, key=lambda entry: -entry.serial)[:most]

    def find_days(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        """Return the days with downloads and their counts, the oldest first."""
        wanted = (days.c.project == project) & (days.c.day >= (since - _BEGINNING).days)
        found = select(days.c.day, days.c["count"]).where(wanted).order_by(days.c.day)
        return [
            (_BEGINNING + timedelta(days=day), number)
            for day, number in self.connection.execute(found)
        ]

    def count_by_user(
        self, digests: Sequence[str], since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        """Return digest, user and number of the downloads of files since then."""
        found: list[tuple[str, str, int]] = []
        columns = table.c.sha256, table.c.who
        for some in _of_files(digests):
            query = select(*columns, func.count()).where(some & (table.c.when >= since))
            rows = self.connection.execute(query.group_by(*columns))
            found += [(row[0], row[1], row[2]) for row in rows]
        return found

    def find_recent(self, digests: Sequence[str], since: datetime) -> Sequence[str]:
        """Return the digests whose newest download is not older than `since`: one row is read for
        each.
        """
        newest = select(table.c.when).order_by(table.c.id.desc()).limit(1)
        times = {
            digest: self.connection.scalar(newest.where(table.c.sha256 == digest))
            for digest in digests
        }
        return [digest for digest, when in times.items() if when is not None and when >= since]

    def forget(self, begin: datetime, most: int) -> bool:
        """Remove some of the downloads and counts of days from before `begin`, and the oldest of
        more than `most`; return whether there may be more of them.
        """
        newest = self.connection.scalar(select(func.max(table.c.id))) or 0
        unwanted = (table.c.when < begin) | (table.c.id <= newest - most)
        some = select(table.c.id).where(unwanted).limit(AT_ONCE)
        removed = self.connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
        return self._forget_days(begin, most) or removed >= AT_ONCE

    def _forget_days(self, begin: datetime, most: int) -> bool:
        first = _day_of(begin)
        if (self.connection.scalar(select(func.count()).select_from(days)) or 0) > most:
            oldest = self.connection.scalar(select(func.min(days.c.day))) or 0
            first = max(first, oldest + 1)
        some = select(days.c.project, days.c.day).where(days.c.day < first).limit(AT_ONCE)
        unwanted = tuple_(days.c.project, days.c.day).in_(some)
        return self.connection.execute(delete(days).where(unwanted)).rowcount > 0
