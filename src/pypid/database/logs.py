"""The audit log and the download log in a database. Entries that cannot be written wait, in order,
until they can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from attrs import asdict, evolve
from twisted.logger import Logger

from pypid.core.accounts.rights import AuditAction, AuditEntry, DownloadEntry
from pypid.core.errors import PeopleUnknown, PypidError
from pypid.database.account_state import storable
from pypid.database.database import Database
from pypid.database.places import DatabaseAway, DatabaseUnusable
from pypid.flow import World, shielded, start
from pypid.flow.derived import Flights

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pypid.database.log_rows import LogRows

E = TypeVar("E", AuditEntry, DownloadEntry)
T = TypeVar("T")

AT_ONCE = 200
"""Audit entries that are written together."""
MOST_WAITING = 10_000
"""Entries that wait for the database; further ones are written to the daemon's log only."""
MOST = 1000
"""Entries in one answer."""
_MOST_DETAILS = 50

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


class _DatabaseLog(Generic[E]):
    """Entries that wait for a database: written in order, in batches, and again after a failure."""

    _log = Logger()
    _part: ClassVar[str]
    _name: ClassVar[str]
    _at_once: ClassVar[int]

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[E] = deque()
        self._reason: str | None = None
        """Why the last attempt failed, if it did."""
        self._flights: Flights[None, None] = Flights()

    def _insert(self, batch: Sequence[E], rows: LogRows) -> None:
        raise NotImplementedError

    def _recovered(self) -> None:
        """Log that entries can be written again."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Write the entries that wait. Failures are logged, each reason once."""
        if self._waiting:
            await self._flights.single(None, self._flush)

    async def _flush(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, self._at_once))
            try:
                await self._write(partial(self._insert, batch))
            except (DatabaseAway, DatabaseUnusable, PypidError) as error:
                if self._reason != str(error):
                    self._log.error(
                        "The {name} cannot be written, which is tried again (entries that wait: "
                        "{count}): {error}",
                        name=self._name,
                        count=len(self._waiting),
                        error=str(error),
                    )
                self._reason = str(error)
                return
            for _ in batch:
                self._waiting.popleft()
        if self._reason is not None:
            self._reason = None
            self._recovered()

    async def _write(self, work: Callable[[LogRows], T]) -> T:
        return await self._database.write(self._part, partial(_on_rows, work))

    async def _read(self, find: Callable[[LogRows], Sequence[T]]) -> Sequence[T]:
        """Return what `find` finds; nothing without a database. Raises `PeopleUnknown`."""
        if not self._database.is_there():
            return ()
        try:
            return await self._database.read(self._part, partial(_on_rows, find))
        except (DatabaseAway, DatabaseUnusable) as error:
            self._log.error("The {name} cannot be read: {error}", name=self._name, error=str(error))
            raise PeopleUnknown(f"the database of the {self._name}") from None


def _on_rows(work: Callable[[LogRows], T], connection: Connection) -> T:
    from pypid.database.log_rows import LogRows

    return work(LogRows(connection))


def _storable(entry: E) -> E:
    """Return the entry with all its texts as a database can store them."""
    texts: dict[str, Any] = {
        name: storable(value)
        for name, value in asdict(entry, recurse=False).items()
        if isinstance(value, str)
    }
    return evolve(entry, **texts)


class SqlJournal(_DatabaseLog[AuditEntry]):
    """`Journal` in a database, which may be that of the accounts. Call `flush` every few
    seconds.
    """

    _part = "journal"
    _name = "audit log"
    _at_once = AT_ONCE

    async def note(self, entry: AuditEntry) -> None:
        """Write the entry durably. Never fails: an entry that cannot be written is logged and tried
        again.
        """
        if len(self._waiting) >= MOST_WAITING:
            self._log_entry(entry)
            return
        details = list(entry.details.items())[:_MOST_DETAILS]
        cleaned = {storable(key): storable(value) for key, value in details}
        self._waiting.append(evolve(_storable(entry), details=cleaned))
        if self._reason is None:
            await shielded(self._written())

    async def _written(self) -> None:
        """Wait until all entries that wait now are written, or writing fails."""
        last = self._waiting[-1]
        while self._reason is None and last in self._waiting:
            await self.flush()

    def _insert(self, batch: Sequence[AuditEntry], rows: LogRows) -> None:
        rows.add_entries(batch)

    def _recovered(self) -> None:
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
        filters = {"who": who, "what": what, "subject": subject, "index": index}
        wanted = {name: storable(text) for name, text in filters.items() if text is not None}
        return await self._read(
            lambda rows: rows.find_entries(before, max(0, min(most, MOST)), wanted)
        )

    async def close(self) -> None:
        """Try a last time to write the entries that wait; the rest goes to the daemon's log."""
        await self.flush()
        while self._waiting:
            self._log_entry(self._waiting.popleft())


class SqlDownloads(_DatabaseLog[DownloadEntry]):
    """`Downloads` in a database. Call `flush_when_quiet` each second, and `sweep` each hour."""

    _part = "downloads"
    _name = "download log"
    _at_once = DOWNLOADS_AT_ONCE

    def __init__(self, database: Database, world: World, *, rows: int = ROWS) -> None:
        super().__init__(database)
        self._world = world
        self._rows = rows
        self._missed = 0
        self._waited_before = 0
        """How many downloads waited at the last `flush_when_quiet`."""
        self._postponed = 0

    def note(self, download: DownloadEntry) -> None:
        """Record the download; it is written within a second or so."""
        if len(self._waiting) >= MOST_WAITING_DOWNLOADS:
            self._missed += 1
            return
        self._waiting.append(download)
        if len(self._waiting) % DOWNLOADS_AT_ONCE == 0 and self._reason is None:
            start(self.flush())

    async def flush_when_quiet(self) -> None:
        """Do what `flush` does, but open the database only when no download came since the last
        call, or at the latest after `MOST_POSTPONED` calls: the imports take processor time, which
        the installation that downloads now needs.
        """
        waiting = len(self._waiting)
        before, self._waited_before = self._waited_before, waiting
        if waiting > before and not self._database.is_open and self._postponed < MOST_POSTPONED:
            self._postponed += 1
        else:
            await self.flush()

    def _insert(self, batch: Sequence[DownloadEntry], rows: LogRows) -> None:
        rows.add_downloads([_storable(download) for download in batch])

    def _recovered(self) -> None:
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
        return await self._find(lambda rows: rows.find_downloads(some, most, before))

    async def by_day(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        """Return the days (in UTC, from `since` on, the oldest first) on which files of the project
        were downloaded, and how often.

        Days without downloads are left out. The cost does not depend on their number. Raises
        `PeopleUnknown`.
        """
        return await self._find(lambda rows: rows.find_days(storable(project), since))

    async def by_user(
        self, digests: Sequence[str], since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        """Return how often each user has downloaded each of the files with these SHA-256 digests
        since then: digest, user, number. Raises `PeopleUnknown`.
        """
        some = [storable(each) for each in digests]
        return await self._find(lambda rows: rows.count_by_user(some, since))

    async def recent(self, digests: Iterable[str], since: datetime) -> Sequence[str]:
        """Return the SHA-256 digests of those files whose last download was at `since` or later.

        The cost does not depend on the number of downloads. Raises `PeopleUnknown`.
        """
        some = [storable(each) for each in digests]
        return await self._find(lambda rows: rows.find_recent(some, since))

    async def _find(self, find: Callable[[LogRows], Sequence[T]]) -> Sequence[T]:
        """Return what `find` finds among all downloads until now. Raises `PeopleUnknown`."""
        await self.flush()
        return await self._read(find)

    async def sweep(self) -> None:
        """Remove downloads that are too old or too many. A failure is logged."""
        if not self._database.is_there():
            return
        begin = self._world.now() - AGE
        try:
            while await self._write(lambda rows: rows.forget(begin, self._rows)):
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
        if self._waiting:
            count = len(self._waiting) + self._missed
            self._log.error("{count} downloads could not be recorded.", count=count)
