"""The contracts of the audit log and of the download log, as tests; and a
download log in memory.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from attrs import define, evolve, field

from pypid.core.accounts.rights import AuditEntry, DownloadEntry
from pypid.database.logs import SqlDownloads, SqlJournal
from tests.support.examples import a_deed, a_download
from tests.support.worlds import BEGINNING, Timed


class JournalContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives a new, empty journal in `self.world`."""

    async def make(self) -> SqlJournal:
        """Return a new, empty journal."""
        raise NotImplementedError

    async def again(self) -> SqlJournal:
        """Return another journal on the data of the last one that was made."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.have(self.make())

    def test_empty(self) -> None:
        """A new journal has no entries."""
        self.assertEqual(list(self.have(self.journal.entries())), [])

    def test_every_field(self) -> None:
        """Every field of an entry comes back, also after a restart, with its serial."""
        details = MappingProxyType({"from": "r", "to": "rw", "\u8de8": '"'})
        deed = a_deed(1, where="2001:db8::1", token="abc", details=details, index="team")
        self.have(self.journal.note(deed))
        for journal in (self.journal, self.have(self.again())):
            self.assertEqual(list(self.have(journal.entries())), [evolve(deed, serial=1)])

    def test_order_and_pages(self) -> None:
        """Serials grow by one, the newest comes first, and pages follow each other without a gap,
        with several writers.
        """
        journals = (self.journal, self.have(self.again()))
        for number in range(7):
            self.have(journals[number % 2].note(a_deed(number)))
        found: list[AuditEntry] = []
        before = None
        while page := self.have(self.journal.entries(before=before, most=3)):
            self.assertTrue(len(page) <= 3)
            found += page
            before = found[-1].serial
        self.assertEqual([deed.serial for deed in found], [7, 6, 5, 4, 3, 2, 1])
        self.assertEqual(
            [deed.when for deed in found], [a_deed(number).when for number in range(6, -1, -1)]
        )
        for most in (0, -1):
            self.assertEqual(list(self.have(self.journal.entries(most=most))), [])
        for before in (0, -5):
            self.assertEqual(list(self.have(self.journal.entries(before=before))), [])
        self.assertEqual(len(self.have(self.journal.entries(before=10**30, most=10**30))), 7)

    def test_filters(self) -> None:
        """Who, what and subject are compared exactly, all together; a project's entries include
        those of its files.
        """
        for number, (who, what, subject) in enumerate(
            [
                ("alice", "project publish", "spam/spam-1.tar.gz"),
                ("Alice", "project publish", "spam/spam-2.tar.gz"),
                ("alice", "right grant", "spam"),
                ("alice", "right grant", "spam-two"),
            ]
        ):
            self.have(self.journal.note(a_deed(number, who=who, what=what, subject=subject)))

        def serials(**filters: Any) -> list[int]:
            return [deed.serial for deed in self.have(self.journal.entries(**filters))]

        self.assertEqual(serials(who="alice"), [4, 3, 1])
        self.assertEqual(serials(who="alice", what="right grant"), [4, 3])
        self.assertEqual(serials(subject="spam"), [3, 2, 1])
        self.assertEqual(serials(subject="spam/spam-2.tar.gz"), [2])
        self.assertEqual(serials(subject="spam", what="right grant"), [3])
        self.have(self.journal.note(a_deed(4, who="alice", subject="spam", index="team")))
        self.assertEqual(serials(index="team"), [5])
        self.assertEqual(serials(index="team", who="bob"), [])
        self.assertEqual(serials(index=""), [4, 3, 2, 1])
        for hostile in ("", "%", "sp_m", "x' OR 1=1 --", "\0", "\ud800", "x" * 100_000):
            self.assertEqual(serials(subject=hostile), [])
            self.assertEqual(serials(who=hostile), [])
            self.assertEqual(serials(index=hostile or "-"), [])

    def test_hostile_deeds(self) -> None:
        """Any user name or subject is written, if need be cut and with other characters."""
        for number, text in enumerate(
            ("\0", "\ud800", "x" * 1_000_000, "'; DROP TABLE deeds; --", "\U0001f600")
        ):
            details = {text: text, **{f"{key}": text for key in range(1000)}}
            self.have(
                self.journal.note(
                    a_deed(number, who=text, subject=text, where=text, token=text, details=details)
                )
            )
        self.assertEqual(len(self.have(self.journal.entries())), 5)
        self.assertEqual(self.have(self.journal.entries(most=1))[0].who, "\U0001f600")
        self.assertTrue(
            sum(len(value) for value in self.have(self.journal.entries())[2].details.values())
            < 100_000
        )


@define
class MemoryDownloads:
    """A download log in memory."""

    _noted: list[DownloadEntry] = field(factory=list, init=False, repr=False)

    def note(self, download: DownloadEntry) -> None:
        self._noted.append(evolve(download, serial=len(self._noted) + 1))

    async def of(
        self, *digests: str, most: int = 1000, before: int | None = None
    ) -> Sequence[DownloadEntry]:
        found = [
            each
            for each in reversed(self._noted)
            if each.sha256 in digests and (before is None or each.serial < before)
        ]
        return found[: max(most, 0)]

    async def by_day(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        days = (each.when.astimezone(UTC).date() for each in self._noted if each.project == project)
        return sorted(Counter(day for day in days if day >= since).items())

    async def by_user(
        self, digests: Sequence[str], since: datetime
    ) -> Sequence[tuple[str, str, int]]:
        wanted = (each for each in self._noted if each.sha256 in digests and each.when >= since)
        counted = Counter((each.sha256, each.who) for each in wanted)
        return [(digest, who, count) for (digest, who), count in counted.items()]

    async def recent(self, digests: Iterable[str], since: datetime) -> Sequence[str]:
        found = {each.sha256 for each in self._noted if each.when >= since}
        return [digest for digest in digests if digest in found]


class DownloadsContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives new, empty downloads in `self.world`."""

    async def make(self) -> SqlDownloads:
        """Return a new, empty download log."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.downloads = self.have(self.make())

    def test_of_a_file(self) -> None:
        """Every field of a download comes back, the newest first, and only those of the file."""
        first = a_download(1, where="2001:db8::1", token="abc")
        second = a_download(2, who="anonymous")
        for each in (first, a_download(1, sha256="cd" * 32), second):
            self.downloads.note(each)
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32))), [second, first])
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32, most=1))), [second])
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32, most=0))), [])
        for unknown in ("", "\0", "\ud800", "ef" * 32):
            self.assertEqual(list(self.have(self.downloads.of(unknown))), [])

    def test_pages_of_downloads_follow_one_another(self) -> None:
        """Each page begins before the serial with which the last one ended, and none is lost."""
        for number in range(7):
            self.downloads.note(a_download(number))
        found, before = list[DownloadEntry](), None
        while page := self.have(self.downloads.of("ab" * 32, most=3, before=before)):
            found, before = [*found, *page], page[-1].serial
        self.assertEqual(found, [a_download(number) for number in range(6, -1, -1)])
        serials = [each.serial for each in found]
        self.assertEqual(serials, sorted(serials, reverse=True))

    def test_of_several_files(self) -> None:
        """The downloads of several files, also of very many, are in one order, page by page."""
        for number in range(9):
            self.downloads.note(a_download(number, sha256=f"{number % 3:064x}"))
        digests = [f"{number:064x}" for number in (0, 2, *range(10, 2500))]
        wanted = [a_download(n, sha256=f"{n % 3:064x}") for n in (8, 6, 5, 3, 2, 0)]
        found = self.have(self.downloads.of(*digests, most=4))
        rest = self.have(self.downloads.of(*digests, most=4, before=found[-1].serial))
        self.assertEqual([*found, *rest], wanted)
        self.assertEqual(list(self.have(self.downloads.of())), [])

    def test_recent(self) -> None:
        """Files that were downloaded since a time; older downloads of them do not matter."""
        for number in range(6):
            self.downloads.note(a_download(number, sha256=f"{number % 3:064x}"))
        digests = [f"{number:064x}" for number in (2, 0, *range(10, 2500))]
        for since, expected in ((0, {0, 2}), (3, {0, 2}), (4, {2}), (5, {2}), (6, set())):
            found = self.have(self.downloads.recent(digests, a_download(since).when))
            self.assertEqual({int(digest, 16) for digest in found}, expected, since)
        self.assertEqual(self.have(self.downloads.recent(["\0", ""], a_download(0).when)), [])

    def test_many(self) -> None:
        """Thousands of downloads at once are all stored."""
        for number in range(2500):
            self.downloads.note(a_download(number))
        found = self.have(self.downloads.of("ab" * 32, most=10_000))
        self.assertEqual(
            [each.when for each in found],
            [a_download(number).when for number in range(2499, -1, -1)],
        )

    def test_hostile(self) -> None:
        """A download is recorded whatever name the client uses."""
        for text in ("\0", "\ud800", "x" * 1_000_000):
            self.downloads.note(a_download(1, who=text, where=text, token=text))
        self.assertEqual(len(self.have(self.downloads.of("ab" * 32))), 3)

    def by_day(
        self, project: str = "spam", since: date = date(2026, 1, 1)
    ) -> list[tuple[date, int]]:
        """Return the downloads of a project by day."""
        return list(self.have(self.downloads.by_day(project, since)))

    def test_by_day(self) -> None:
        """Downloads of a project are counted by day, in UTC, the oldest first, whatever the file;
        days without are left out.
        """
        self.assertEqual(self.by_day(), [])
        first, day = BEGINNING.date(), timedelta(days=1)
        hours = (0, 1, 23, 24, 71)
        for hour in hours:
            self.downloads.note(a_download(3600 * hour, sha256=f"{hour:064}"))
        self.downloads.note(a_download(3600, project="eggs"))
        self.assertEqual(self.by_day(), [(first, 3), (first + day, 1), (first + 2 * day, 1)])
        self.assertEqual(self.by_day(since=first + day), [(first + day, 1), (first + 2 * day, 1)])
        self.assertEqual(self.by_day(since=first + 3 * day), [])
        self.assertEqual(self.by_day("eggs", since=date.min), [(first, 1)])
        for unknown in ("", "ham", "\0", "\ud800"):
            self.assertEqual(self.by_day(unknown), [])

    def test_by_day_elsewhere(self) -> None:
        """The day is that of UTC, in any time zone."""
        east = datetime(2026, 1, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
        self.downloads.note(evolve(a_download(0), when=east))
        self.assertEqual(self.by_day(), [(date(2026, 1, 1), 1)])

    def test_many_by_day(self) -> None:
        """Thousands are counted, in whatever order they come; and more of them later."""
        for number in range(2500):
            self.downloads.note(a_download(86400 * (number % 3), project=f"spam{number % 5}"))
        days = [BEGINNING.date() + timedelta(days=number) for number in range(3)]
        for project in range(5):
            counted = [
                sum(1 for number in range(project, 2500, 5) if number % 3 == day)
                for day in range(3)
            ]
            self.assertEqual(self.by_day(f"spam{project}"), list(zip(days, counted, strict=True)))
        self.downloads.note(a_download(0, project="spam1"))
        self.assertEqual(self.by_day("spam1")[0], (days[0], 168))

    def test_by_user(self) -> None:
        """The downloads of files since a time are counted for each file and user."""
        one, other = "ab" * 32, "cd" * 32
        hour = timedelta(hours=1)
        for number, (who, digest) in enumerate(
            [("bob", one), ("ann", one), ("bob", one), ("bob", other), ("bob", "ef" * 32)]
        ):
            self.downloads.note(evolve(a_download(3600 * number, sha256=digest), who=who))

        def by_user(*digests: str, since: datetime = BEGINNING) -> set[tuple[str, str, int]]:
            return set(self.have(self.downloads.by_user(digests, since)))

        self.assertEqual(by_user(one, other), {(one, "bob", 2), (one, "ann", 1), (other, "bob", 1)})
        later = {(one, "bob", 1), (other, "bob", 1)}
        self.assertEqual(by_user(one, other, since=BEGINNING + 2 * hour), later)
        self.assertEqual(by_user(one, since=BEGINNING + 9 * hour), set())
        self.assertEqual(by_user(), set())
        self.assertEqual(by_user("\0", "\ud800", "12" * 32), set())
        many = [f"{number:064x}" for number in range(2500)]
        self.assertEqual(len(by_user(one, *many, other)), 3)
