"""Downloads counted by day: those of an older pypid, too, and no more of them than are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.sql import download_counts
from pypid.access.sql.database import Database
from pypid.access.sql.download_log import AGE, SqlDownloads
from pypid.access.sql.place import SqliteFile
from pypid.flow import start
from pypid.testing import Turns
from pypid.testing.examples import a_download
from pypid.testing.logs import MemoryDownloads
from pypid.testing.worlds import BEGINNING
from tests.access.sql.sqlite import InFiles

DAY = 86400
FIRST = BEGINNING.date()
NAMES = st.sampled_from(["spam", "eggs", "\0"])


class DaysCase(InFiles, SynchronousTestCase):
    """Downloads in a file, which can be made one of an older pypid."""

    def setUp(self) -> None:
        super().setUp()
        self.downloads = self.new_downloads()
        self.path = self.folder / f"{self._made}.db"

    def note(self, *numbers: int) -> None:
        """One at each of these seconds, written down."""
        for number in numbers:
            self.downloads.note(a_download(number))
        self.have(self.downloads.flush())

    def days(self, downloads: SqlDownloads | None = None) -> Sequence[tuple[date, int]]:
        """Those of spam."""
        return self.have((downloads or self.downloads).by_day("spam", FIRST))

    def make_older(self) -> SqlDownloads:
        """What is written down by now is as version 1 had it; another pypid comes to it."""
        self.have(self.downloads._database.close())
        with closing(sqlite3.connect(self.path)) as file, file:
            for table in ("pypid_downloads_days", "pypid_downloads_uncounted"):
                file.execute(f"DROP TABLE {table}")
            file.execute("UPDATE pypid_schema SET version = 1 WHERE part = 'downloads'")
        return SqlDownloads(self.database(SqliteFile(self.path, of_record=False)), self.world)


class OlderTests(DaysCase):
    """A database of version 1, which had no days."""

    def test_counted(self) -> None:
        """All that is in it is counted, piece by piece, once, beside what comes meanwhile."""
        self.patch(download_counts, "AT_ONCE", 7)
        self.note(*(DAY * (number % 3) for number in range(100)))
        newer = self.make_older()
        newer.note(a_download(DAY))
        self.days(newer)  # begins it
        counted = [(FIRST, 34), (FIRST + timedelta(days=1), 34), (FIRST + timedelta(days=2), 33)]
        self.assertEqual(self.days(newer), counted)
        self.have(newer.sweep())
        again = SqlDownloads(newer._database, self.world)
        self.days(again)
        self.assertEqual(self.days(again), counted)
        self.assertEqual(len(self.have(again.of("ab" * 32))), 101)

    def test_by_the_hour(self) -> None:
        """They are counted by the next sweep, too, if nobody has looked before."""
        self.note(0, 1, DAY)
        newer = self.make_older()
        self.have(newer.sweep())
        self.assertEqual(self.days(newer), [(FIRST, 2), (FIRST + timedelta(days=1), 1)])

    def test_nobody_waits(self) -> None:
        """Whoever looks is told what is counted by then; an end in between waits for one piece, and
        the next start goes on.
        """
        self.patch(download_counts, "AT_ONCE", 10)
        self.note(*range(25))
        self.make_older()
        turns = Turns()
        slow = SqlDownloads(
            Database(SqliteFile(self.path, of_record=False), turns, self.clock), self.world
        )
        asked = start(slow.by_day("spam", FIRST))
        turns.turn()  # a piece was asked for first
        turns.turn()
        self.assertEqual(self.successResultOf(asked), [(FIRST, 10)])
        ended = start(slow.close())
        turns.all()
        self.successResultOf(ended)
        start(slow._database.close())
        turns.all()
        again = SqlDownloads(self.database(SqliteFile(self.path, of_record=False)), self.world)
        with closing(sqlite3.connect(self.path)) as file:
            self.assertEqual(
                file.execute("SELECT id FROM pypid_downloads_uncounted").fetchall(), [(15 - 10,)]
            )
        self.assertEqual(self.days(again), [(FIRST, 25)])

    def test_empty(self) -> None:
        """One without downloads has nothing to count."""
        self.note(0)
        self.clock.advance(AGE.total_seconds() + 1)
        self.have(self.downloads.sweep())
        newer = self.make_older()
        self.assertEqual(self.days(newer), [])
        self.assertEqual(self.days(newer), [])


class ForgottenTests(DaysCase):
    """How long, and how many days, are kept."""

    def test_old(self) -> None:
        """Days that are too old go; those whose downloads were too many to be kept stay."""
        few = SqlDownloads(self.downloads._database, self.world, rows=3)
        for number in range(8):
            few.note(a_download(DAY * (number // 4)))
        self.have(few.flush())
        self.have(few.sweep())
        self.assertEqual(len(self.have(few.of("ab" * 32))), 3)
        self.assertEqual(self.days(few), [(FIRST, 4), (FIRST + timedelta(days=1), 4)])
        self.clock.advance(AGE.total_seconds() + DAY)
        self.have(few.sweep())
        self.assertEqual(self.days(few), [(FIRST + timedelta(days=1), 4)])

    def test_many(self) -> None:
        """The oldest of too many days go first, for all projects alike."""
        few = SqlDownloads(self.downloads._database, self.world, rows=4)
        for number in range(8):
            few.note(a_download(DAY * (number // 2), project=f"spam{number % 2}"))
        self.have(few.sweep())
        self.have(few.flush())
        self.have(few.sweep())
        last = [(FIRST + timedelta(days=number), 1) for number in (2, 3)]
        for project in ("spam0", "spam1"):
            self.assertEqual(self.have(few.by_day(project, FIRST)), last)


class SameTests(DaysCase):
    """The file, and the twin in memory."""

    @given(st.lists(st.tuples(st.integers(-400, 400), NAMES), max_size=40), st.integers(-50, 50))
    @settings(max_examples=40, deadline=None, database=None)
    def test_same(self, noted: list[tuple[int, str]], since: int) -> None:
        """Say the same of whatever was noted."""
        downloads, twin = self.new_downloads(), MemoryDownloads()
        for hours, project in noted:
            download = a_download(3600 * hours, project=project)
            downloads.note(download)
            twin.note(download)
        for project in ("spam", "eggs"):
            asked = project, FIRST + timedelta(days=since)
            self.assertEqual(
                list(self.have(downloads.by_day(*asked))), self.have(twin.by_day(*asked))
            )
