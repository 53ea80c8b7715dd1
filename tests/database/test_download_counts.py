"""Downloads counted by day, and no more of them than are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.database.logs import AGE, SqlDownloads
from tests.database.sqlite import InFiles
from tests.support.examples import a_download
from tests.support.logs import MemoryDownloads
from tests.support.worlds import BEGINNING

DAY = 86400
FIRST = BEGINNING.date()
NAMES = st.sampled_from(["spam", "eggs", "\0"])


class DaysCase(InFiles, SynchronousTestCase):
    """Downloads in a file."""

    def setUp(self) -> None:
        super().setUp()
        self.downloads = self.new_downloads()

    def note(self, *numbers: int) -> None:
        """One at each of these seconds, written down."""
        for number in numbers:
            self.downloads.note(a_download(number))
        self.have(self.downloads.flush())

    def days(self, downloads: SqlDownloads | None = None) -> Sequence[tuple[date, int]]:
        """Those of spam."""
        return self.have((downloads or self.downloads).by_day("spam", FIRST))


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
