"""The rows of the audit log and of the downloads: only ever added, and read newest first.
Everything here blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select

from pypid.access.sql import download_counts
from pypid.access.sql.schema import take
from pypid.access.sql.tables import SCHEMA_PARTS
from pypid.access.sql.tables import audit_entries as log
from pypid.access.sql.tables import downloads as table
from pypid.core.accounts.entries import AuditEntry, DownloadEntry

AT_ONCE = 10_000
"""Downloads that are removed in one transaction."""
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
    download_counts.count(connection, downloads)
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
