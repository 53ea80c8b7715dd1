"""The audit log in a database. Entries that cannot be written wait, in order, until they can be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.logger import Logger

from pypid.access.sql.database import Database
from pypid.access.sql.texts import storable
from pypid.access.sql.write_queue import WriteQueue
from pypid.core.accounts.entries import AuditAction, AuditEntry
from pypid.core.errors import PeopleUnknown
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow import World, shielded
from pypid.ports import Journal

if TYPE_CHECKING:
    from sqlalchemy import Connection

PART = "journal"
NAME = "the audit log's database"
MOST_WAITING = 10_000
"""Entries that wait for the database; further ones are written to the daemon's log only."""
AT_ONCE = 200
MOST = 1000
"""Entries in one answer."""
_MOST_DETAILS = 50


class SqlJournal:
    """`Journal` in a database, which may be that of the accounts. Call `retry` every few
    seconds.
    """

    _log = Logger()

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world
        self._queue: WriteQueue[AuditEntry] = WriteQueue(
            self._write, AT_ONCE, self._log_failure, self._log_recovery
        )

    async def note(self, entry: AuditEntry) -> None:
        if len(self._queue.waiting) >= MOST_WAITING:
            self._log_entry(entry)
            return
        self._queue.waiting.append(_storable(entry))
        if self._queue.reason is None:
            await shielded(self._written())

    async def _written(self) -> None:
        """Wait until all entries that wait now are written, or writing fails."""
        last = self._queue.waiting[-1]
        while self._queue.reason is None and last in self._queue.waiting:
            await self.retry()

    async def retry(self) -> None:
        """Write the entries that wait. Failures are logged, each reason once."""
        await self._queue.flush()

    async def _write(self, batch: Sequence[AuditEntry]) -> None:
        await self._database.write(PART, partial(_insert, batch))

    def _log_failure(self, reason: str) -> None:
        message = (
            "The audit log cannot be written, which is tried again (lines that wait: {count}): "
            "{error}"
        )
        self._log.error(message, count=len(self._queue.waiting), error=reason)

    def _log_recovery(self) -> None:
        self._log.info("The audit log can be written again; all pending entries were written.")

    def _log_entry(self, entry: AuditEntry) -> None:
        self._log.error(
            (
                "An audit entry could not be written: {when} {who!r} {what} {subject!r} from "
                "{where!r}, token {token!r}, index {index!r}, {details!r}"
            ),
            when=entry.when.isoformat(),
            who=entry.who,
            what=entry.what,
            subject=entry.subject,
            where=entry.where,
            token=entry.token,
            index=entry.index,
            details=dict(entry.details),
        )

    async def entries(
        self,
        *,
        before: int | None = None,
        most: int = 100,
        who: str | None = None,
        what: AuditAction | None = None,
        subject: str | None = None,
        index: str | None = None,
    ) -> Sequence[AuditEntry]:
        if not self._database.is_there():
            return ()
        filters = {"who": who, "what": what, "subject": subject, "index": index}
        wanted = {name: storable(text) for name, text in filters.items() if text is not None}
        try:
            return await self._database.read(
                PART, partial(_select, before, max(0, min(most, MOST)), wanted)
            )
        except (DatabaseAway, DatabaseUnusable) as error:
            self._log.error("The audit log cannot be read: {error}", error=str(error))
            raise PeopleUnknown(NAME) from None

    async def close(self) -> None:
        """Try a last time to write the entries that wait; the rest goes to the daemon's log."""
        await self.retry()
        while self._queue.waiting:
            self._log_entry(self._queue.waiting.popleft())


def _storable(entry: AuditEntry) -> AuditEntry:
    details = list(entry.details.items())[:_MOST_DETAILS]
    return evolve(
        entry,
        who=storable(entry.who),
        subject=storable(entry.subject),
        where=storable(entry.where),
        index=storable(entry.index),
        token=None if entry.token is None else storable(entry.token),
        details={storable(key): storable(value) for key, value in details},
    )


def _insert(batch: Sequence[AuditEntry], connection: Connection) -> None:
    from pypid.access.sql.log_rows import add_entries

    add_entries(connection, batch)


def _select(
    before: int | None, most: int, wanted: dict[str, str], connection: Connection
) -> Sequence[AuditEntry]:
    from pypid.access.sql.log_rows import find_entries

    return find_entries(connection, before, most, wanted)


_: type[Journal] = SqlJournal
