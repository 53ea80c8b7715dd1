"""The audit log and the download log in a database, both written through one queue.

The audit log in a database. Entries that cannot be written wait, in order, until they can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.access.sql.database import Database
from pypid.access.sql.state import storable
from pypid.core.accounts.rights import AuditAction, AuditEntry, DownloadEntry
from pypid.core.errors import PeopleUnknown, PypidError
from pypid.databases.places import DatabaseAway, DatabaseUnusable
from pypid.flow import World, shielded, start
from pypid.flow.derived import Flights

if TYPE_CHECKING:
    from sqlalchemy import Connection


# Entries that wait for a database: written in order, in batches, and again after a failure.

E = TypeVar("E")


@define(eq=False)
class WriteQueue(Generic[E]):
    """The queue. `write` stores a batch of at most `at_once` entries; `on_failure` is called with
    each new reason why it fails, and `on_recovery` once it works again.
    """

    write: Callable[[Sequence[E]], Awaitable[None]]
    at_once: int
    on_failure: Callable[[str], None]
    on_recovery: Callable[[], None]
    waiting: deque[E] = field(factory=deque, init=False)
    reason: str | None = field(default=None, init=False)
    """Why the last attempt failed, if it did."""
    _flights: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    async def flush(self) -> None:
        """Write the entries that wait, unless that fails."""
        if self.waiting:
            await self._flights.single(None, self._flush)

    async def _flush(self) -> None:
        while self.waiting:
            batch = [self.waiting[at] for at in range(min(self.at_once, len(self.waiting)))]
            try:
                await self.write(batch)
            except (DatabaseAway, DatabaseUnusable, PypidError) as error:
                if self.reason != str(error):
                    self.on_failure(str(error))
                self.reason = str(error)
                return
            for _ in batch:
                self.waiting.popleft()
        if self.reason is not None:
            self.reason = None
            self.on_recovery()


PART = "journal"
NAME = "the audit log's database"
MOST_WAITING = 10_000
"""Entries that wait for the database; further ones are written to the daemon's log only."""
AT_ONCE = 200
MOST = 1000
"""Entries in one answer."""
_MOST_DETAILS = 50


class SqlJournal:
    """The audit log: who changed what, when, from where. Entries are only ever added.

    It is in a database, which may be that of the accounts. Call `retry` every few seconds.
    """

    _log = Logger()

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world
        self._queue: WriteQueue[AuditEntry] = WriteQueue(
            self._write, AT_ONCE, self._log_failure, self._log_recovery
        )

    async def note(self, entry: AuditEntry) -> None:
        """Write the entry durably. Never fails: an entry that cannot be written is logged and tried
        again.
        """
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
        """Return the newest entries first, of those with a serial below `before`; only those with
        exactly these values. Raises `PeopleUnknown`.
        """
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


# The download log: entries are noted in memory, written in batches, and removed after a while.

T = TypeVar("T")

DOWNLOADS_PART = "downloads"
DOWNLOADS_NAME = "the database of downloads"
DOWNLOADS_AT_ONCE = 500
"""Downloads that are written together; when so many wait, they are written without `flush`."""
MOST_POSTPONED = 10
MOST_WAITING_DOWNLOADS = 50_000
"""Downloads that wait for the database; of further ones only the number is kept."""
AGE = timedelta(days=400)
ROWS = 10_000_000
"""How long, and how many, are stored; the same limits hold for the counts of a project's days."""
MOST_DOWNLOADS = 10_000
"""Downloads in one answer."""


class SqlDownloads:
    """The download log: which client received which file. Call `flush_when_quiet` each second, and
    `sweep` each hour.
    """

    _log = Logger()

    def __init__(self, database: Database, world: World, *, rows: int = ROWS) -> None:
        self._database = database
        self._world = world
        self._rows = rows
        self._queue: WriteQueue[DownloadEntry] = WriteQueue(
            self._write, DOWNLOADS_AT_ONCE, self._log_failure, self._log_recovery
        )
        self._missed = 0
        self._waited_before = 0
        """How many downloads waited at the last `flush_when_quiet`."""
        self._postponed = 0

    def note(self, download: DownloadEntry) -> None:
        """Record the download; it is written within a second or so."""
        waiting = self._queue.waiting
        if len(waiting) >= MOST_WAITING_DOWNLOADS:
            self._missed += 1
            return
        waiting.append(download)
        if len(waiting) % DOWNLOADS_AT_ONCE == 0 and self._queue.reason is None:
            start(self.flush())

    async def flush(self) -> None:
        """Write the downloads that wait. A failure is logged, once, and the next call tries
        again.
        """
        await self._queue.flush()

    async def flush_when_quiet(self) -> None:
        """Do what `flush` does, but open the database only when no download came since the last
        call, or at the latest after `MOST_POSTPONED` calls: the imports take processor time, which
        the installation that downloads now needs.
        """
        waiting = len(self._queue.waiting)
        before, self._waited_before = self._waited_before, waiting
        if waiting > before and not self._database.is_open and self._postponed < MOST_POSTPONED:
            self._postponed += 1
        else:
            await self.flush()

    async def _write(self, batch: Sequence[DownloadEntry]) -> None:
        await self._database.write(DOWNLOADS_PART, partial(_insert_downloads, batch))

    def _log_failure(self, reason: str) -> None:
        message = "The downloads cannot be written down, which is tried again: {error}"
        self._log.error(message, error=reason)

    def _log_recovery(self) -> None:
        self._log.info("Downloads are recorded again; {count} were lost.", count=self._missed)
        self._missed = 0

    async def of(
        self, *digests: str, most: int = 1000, before: int | None = None
    ) -> Sequence[DownloadEntry]:
        """Return the downloads of the files with these SHA-256 digests, newest first, each with its
        serial.

        `before`: only those with a lower serial, to page through more than `most`.
        Raises `PeopleUnknown`.
        """
        some, most = [storable(each) for each in digests], max(0, min(most, MOST_DOWNLOADS))
        return await self._read(partial(_select_downloads, some, most, before))

    async def by_day(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        """Return the days (in UTC, from `since` on, the oldest first) on which files of the project
        were downloaded, and how often.

        Days without downloads are left out. The cost does not depend on their number. Raises
        `PeopleUnknown`.
        """
        return await self._read(partial(_select_days, storable(project), since))

    async def by_user(
        self, digests: Sequence[str], since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        """Return how often each user has downloaded each of the files with these SHA-256 digests
        since then: digest, user, number. Raises `PeopleUnknown`.
        """
        return await self._read(partial(_count_by_user, [*map(storable, digests)], since))

    async def recent(self, digests: Iterable[str], since: datetime) -> Sequence[str]:
        """Return the SHA-256 digests of those files whose last download was at `since` or later.

        The cost does not depend on the number of downloads. Raises `PeopleUnknown`.
        """
        return await self._read(partial(_select_recent, [*map(storable, digests)], since))

    async def _read(self, read: Callable[[Connection], Sequence[T]]) -> Sequence[T]:
        """Return what `read` finds, among all downloads until now; nothing without a database."""
        await self.flush()
        if not self._database.is_there():
            return ()
        try:
            return await self._database.read(DOWNLOADS_PART, read)
        except (DatabaseAway, DatabaseUnusable) as error:
            self._log.error("The downloads cannot be read: {error}", error=str(error))
            raise PeopleUnknown(DOWNLOADS_NAME) from None

    async def sweep(self) -> None:
        """Remove downloads that are too old or too many. A failure is logged."""
        if not self._database.is_there():
            return
        begin = self._world.now() - AGE
        try:
            while await self._database.write(DOWNLOADS_PART, partial(_forget, begin, self._rows)):
                pass  # a piece at a time, so that other callers do not wait long
        except (DatabaseAway, DatabaseUnusable, PypidError) as error:
            self._log.error(
                "Old downloads cannot be removed, which is tried again: {error}", error=str(error)
            )

    async def close(self) -> None:
        """Write the downloads that wait; those that cannot be written are lost, and the log says
        how many.
        """
        await self.flush()
        if self._queue.waiting:
            count = len(self._queue.waiting) + self._missed
            self._log.error("{count} downloads could not be recorded.", count=count)


def _insert_downloads(batch: Sequence[DownloadEntry], connection: Connection) -> None:
    from pypid.access.sql.log_rows import add_downloads

    add_downloads(connection, [_storable_download(download) for download in batch])


def _select_downloads(
    digests: Sequence[str], most: int, before: int | None, connection: Connection
) -> Sequence[DownloadEntry]:
    from pypid.access.sql.log_rows import find_downloads

    return find_downloads(connection, digests, most, before)


def _select_days(project: str, since: date, connection: Connection) -> Sequence[tuple[date, int]]:
    from pypid.access.sql.log_rows import find_days

    return find_days(connection, project, since)


def _count_by_user(
    digests: Sequence[str], since: datetime, connection: Connection
) -> Sequence[tuple[str, str, int]]:
    from pypid.access.sql.log_rows import count_by_user

    return count_by_user(connection, digests, since)


def _select_recent(
    digests: Sequence[str], since: datetime, connection: Connection
) -> Sequence[str]:
    from pypid.access.sql.log_rows import find_recent

    return find_recent(connection, digests, since)


def _forget(begin: datetime, rows: int, connection: Connection) -> bool:
    from pypid.access.sql.log_rows import forget_days, forget_downloads

    more = forget_downloads(connection, begin, rows)
    return forget_days(connection, begin, rows) or more


def _storable_download(download: DownloadEntry) -> DownloadEntry:
    return evolve(
        download,
        sha256=storable(download.sha256),
        project=storable(download.project),
        filename=storable(download.filename),
        who=storable(download.who),
        where=storable(download.where),
        token=None if download.token is None else storable(download.token),
    )
