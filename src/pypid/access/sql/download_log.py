"""The download log: entries are noted in memory, written in batches, and removed after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve
from twisted.logger import Logger

from pypid.access.sql.database import Database
from pypid.access.sql.texts import storable
from pypid.access.sql.write_queue import WriteQueue
from pypid.core.accounts.entries import DownloadEntry
from pypid.core.errors import PeopleUnknown, PypidError
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow import World, start
from pypid.ports import Downloads

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

PART = "downloads"
NAME = "the database of downloads"
AT_ONCE = 500
"""Downloads that are written together; when so many wait, they are written without `flush`."""
MOST_POSTPONED = 10
MOST_WAITING = 50_000
"""Downloads that wait for the database; of further ones only the number is kept."""
AGE = timedelta(days=400)
ROWS = 10_000_000
"""How long, and how many, are stored; the same limits hold for the counts of a project's days."""
MOST = 10_000
"""Downloads in one answer."""


class SqlDownloads:
    """`Downloads` in a database. Call `flush_when_quiet` each second, and `sweep` each hour."""

    _log = Logger()

    def __init__(self, database: Database, world: World, *, rows: int = ROWS) -> None:
        self._database = database
        self._world = world
        self._rows = rows
        self._queue: WriteQueue[DownloadEntry] = WriteQueue(
            self._write, AT_ONCE, self._log_failure, self._log_recovery
        )
        self._missed = 0
        self._waited_before = 0
        """How many downloads waited at the last `flush_when_quiet`."""
        self._postponed = 0

    def note(self, download: DownloadEntry) -> None:
        waiting = self._queue.waiting
        if len(waiting) >= MOST_WAITING:
            self._missed += 1
            return
        waiting.append(download)
        if len(waiting) % AT_ONCE == 0 and self._queue.reason is None:
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
        await self._database.write(PART, partial(_insert, batch))

    def _log_failure(self, reason: str) -> None:
        message = "The downloads cannot be written down, which is tried again: {error}"
        self._log.error(message, error=reason)

    def _log_recovery(self) -> None:
        self._log.info("Downloads are recorded again; {count} were lost.", count=self._missed)
        self._missed = 0

    async def of(
        self, *digests: str, most: int = 1000, before: int | None = None
    ) -> Sequence[DownloadEntry]:
        some, most = [storable(each) for each in digests], max(0, min(most, MOST))
        return await self._read(partial(_select, some, most, before))

    async def by_day(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        return await self._read(partial(_select_days, storable(project), since))

    async def by_user(
        self, digests: Sequence[str], since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        return await self._read(partial(_count_by_user, [*map(storable, digests)], since))

    async def recent(self, digests: Iterable[str], since: datetime) -> Sequence[str]:
        return await self._read(partial(_select_recent, [*map(storable, digests)], since))

    async def _read(self, read: Callable[[Connection], Sequence[T]]) -> Sequence[T]:
        """Return what `read` finds, among all downloads until now; nothing without a database."""
        await self.flush()
        if not self._database.is_there():
            return ()
        try:
            return await self._database.read(PART, read)
        except (DatabaseAway, DatabaseUnusable) as error:
            self._log.error("The downloads cannot be read: {error}", error=str(error))
            raise PeopleUnknown(NAME) from None

    async def sweep(self) -> None:
        """Remove downloads that are too old or too many. A failure is logged."""
        if not self._database.is_there():
            return
        begin = self._world.now() - AGE
        try:
            while await self._database.write(PART, partial(_forget, begin, self._rows)):
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


def _insert(batch: Sequence[DownloadEntry], connection: Connection) -> None:
    from pypid.access.sql.log_rows import add_downloads

    add_downloads(connection, [_storable(download) for download in batch])


def _select(
    digests: Sequence[str], most: int, before: int | None, connection: Connection
) -> Sequence[DownloadEntry]:
    from pypid.access.sql.log_rows import find_downloads

    return find_downloads(connection, digests, most, before)


def _select_days(project: str, since: date, connection: Connection) -> Sequence[tuple[date, int]]:
    from pypid.access.sql.download_counts import find_days

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
    from pypid.access.sql.download_counts import forget_days
    from pypid.access.sql.log_rows import forget_downloads

    more = forget_downloads(connection, begin, rows)
    return forget_days(connection, begin, rows) or more


def _storable(download: DownloadEntry) -> DownloadEntry:
    return evolve(
        download,
        sha256=storable(download.sha256),
        project=storable(download.project),
        filename=storable(download.filename),
        who=storable(download.who),
        where=storable(download.where),
        token=None if download.token is None else storable(download.token),
    )


_: type[Downloads] = SqlDownloads
