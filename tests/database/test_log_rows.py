"""The audit log and the downloads while their database is away, and how much of them is kept."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import PeopleUnknown
from pypid.database import logs
from pypid.database.database import Database
from pypid.database.logs import AGE, SqlDownloads, SqlJournal
from pypid.database.places import SqliteFile
from pypid.flow import start
from tests.database.sqlite import InFiles
from tests.support.examples import a_deed, a_download
from tests.support.worlds import Turns


class Logged(InFiles, SynchronousTestCase):
    """What is said in the log is collected."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[str] = []
        observe = self.observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def observe(self, event: dict[str, Any]) -> None:
        self.said.append(event["log_format"].format(**event))


class JournalTests(Logged):
    """`SqlJournal`."""

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.new_journal()
        self.have(self.journal.note(a_deed(0)))
        place = self.place()
        assert isinstance(place, SqliteFile)
        self.path, self.away = place.path, place.path.with_suffix(".away")

    def test_waits(self) -> None:
        """While it cannot be written nobody fails; the log says so once; written later, all are
        there in their order.
        """
        self.path.rename(self.away)
        for number in range(1, 4):
            self.have(self.journal.note(a_deed(number)))
            self.have(self.journal.flush())
        self.refused(self.journal.entries(), PeopleUnknown)
        self.assertEqual(
            len([line for line in self.said if "audit log cannot be written" in line]), 1
        )
        self.away.rename(self.path)
        self.have(self.journal.flush())
        found = self.have(self.journal.entries())
        self.assertEqual(
            [(deed.serial, deed.when) for deed in found],
            [(n + 1, a_deed(n).when) for n in (3, 2, 1, 0)],
        )
        self.have(self.journal.note(a_deed(4)))
        self.assertEqual(self.have(self.journal.entries(most=1))[0].serial, 5)

    def test_together(self) -> None:
        """Those who note something while it is written wait for the next write; no note ends before
        it is durable.
        """
        turns = Turns()
        late = SqlJournal(Database(self.place(), turns, self.clock))
        noting = [start(late.note(a_deed(number))) for number in range(1, 5)]
        for done in noting:
            self.assertNoResult(done)
        turns.all()
        for done in noting:
            self.successResultOf(done)
        self.assertEqual(
            [deed.serial for deed in self.have(self.journal.entries())], [5, 4, 3, 2, 1]
        )

    def test_client_goes_away(self) -> None:
        """A note whose client goes away meanwhile is written all the same."""
        turns = Turns()
        late = SqlJournal(Database(self.place(), turns, self.clock))
        noting = start(late.note(a_deed(1)))
        noting.addErrback(lambda failure: None)
        noting.cancel()
        turns.all()
        self.assertEqual(len(self.have(self.journal.entries())), 2)


class DownloadsTests(Logged):
    """`SqlDownloads`."""

    def setUp(self) -> None:
        super().setUp()
        self.downloads = self.new_downloads()
        self.path = self.folder / f"{self._made}.db"

    def test_noting_does_not_wait(self) -> None:
        """What is noted is written by the next flush, or before as soon as there is much of it; at
        the end all is.
        """
        turns = Turns()
        late = SqlDownloads(
            Database(SqliteFile(self.path, of_record=False), turns, self.clock), self.world
        )
        for number in range(logs.DOWNLOADS_AT_ONCE - 1):
            late.note(a_download(number))
        self.assertEqual(len(turns), 0)
        late.note(a_download(1))
        self.assertEqual(len(turns), 1)
        late.note(a_download(1))
        closing = start(late.close())
        turns.all()
        self.successResultOf(closing)
        self.assertEqual(len(self.have(self.downloads.of("ab" * 32))), logs.DOWNLOADS_AT_ONCE + 1)

    def rows(self) -> int:
        """The number of downloads in the file."""
        with closing(sqlite3.connect(self.path)) as file:
            return int(file.execute("SELECT count(*) FROM pypid_downloads").fetchone()[0])

    def test_away(self) -> None:
        """A file that was deleted is made anew: downloads are not of record. What cannot wait is
        counted.
        """
        self.downloads.note(a_download(1))
        self.have(self.downloads.flush())
        for beside in ("", "-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{beside}").unlink(missing_ok=True)
        self.patch(logs, "MOST_WAITING_DOWNLOADS", 2)
        for number in range(2, 5):
            self.downloads.note(a_download(number))
        self.have(self.downloads.flush())
        self.have(self.downloads.flush())
        found = self.have(self.downloads.of("ab" * 32))
        self.assertEqual([each.when for each in found], [a_download(3).when, a_download(2).when])
        self.assertIn("Downloads are recorded again; 1 were lost.", self.said)

    def test_forgotten(self) -> None:
        """Those that are too old go, and the oldest of too many."""
        few = SqlDownloads(self.downloads._database, self.world, rows=3)
        for number in range(5):
            few.note(a_download(number))
        self.have(few.flush())
        self.have(few.sweep())
        self.assertEqual(len(self.have(few.of("ab" * 32))), 3)
        self.clock.advance(AGE.total_seconds() + 3.5)
        self.have(few.sweep())
        self.assertEqual([each.when for each in self.have(few.of("ab" * 32))], [a_download(4).when])
