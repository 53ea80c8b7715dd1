"""The contract of `Journal`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType

from attrs import evolve

from pypid.core.accounts.entries import AuditEntry
from pypid.ports import Journal
from pypid.testing.worlds import BEGINNING, Timed


def a_deed(number: int, **fields: object) -> AuditEntry:
    """Return an audit entry, one of many."""
    values: dict[str, object] = {
        "who": "alice",
        "what": "publish-file",
        "subject": f"spam/spam-{number}.tar.gz",
    }
    return AuditEntry(when=BEGINNING + timedelta(seconds=number), **{**values, **fields})  # type: ignore[arg-type]


class JournalContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives a new, empty journal in `self.world`."""

    async def make(self) -> Journal:
        """Return a new, empty journal."""
        raise NotImplementedError

    async def again(self) -> Journal:
        """Return another journal on the data of the last one that was made."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.have(self.make())

    def test_empty(self) -> None:
        """A new journal has no entries."""
        self.assertEqual(list(self.have(self.journal.deeds())), [])

    def test_every_field(self) -> None:
        """Every field of an entry comes back, also after a restart, with its serial."""
        details = MappingProxyType({"from": "r", "to": "rw", "\u8de8": '"'})
        deed = a_deed(1, where="2001:db8::1", token="abc", details=details)
        self.have(self.journal.note(deed))
        for journal in (self.journal, self.have(self.again())):
            self.assertEqual(list(self.have(journal.deeds())), [evolve(deed, serial=1)])

    def test_order_and_pages(self) -> None:
        """Serials grow by one, the newest comes first, and pages follow each other without a gap,
        with several writers.
        """
        journals = (self.journal, self.have(self.again()))
        for number in range(7):
            self.have(journals[number % 2].note(a_deed(number)))
        found: list[AuditEntry] = []
        before = None
        while page := self.have(self.journal.deeds(before=before, most=3)):
            self.assertTrue(len(page) <= 3)
            found += page
            before = found[-1].serial
        self.assertEqual([deed.serial for deed in found], [7, 6, 5, 4, 3, 2, 1])
        self.assertEqual(
            [deed.when for deed in found], [a_deed(number).when for number in range(6, -1, -1)]
        )
        for most in (0, -1):
            self.assertEqual(list(self.have(self.journal.deeds(most=most))), [])
        for before in (0, -5):
            self.assertEqual(list(self.have(self.journal.deeds(before=before))), [])
        self.assertEqual(len(self.have(self.journal.deeds(before=10**30, most=10**30))), 7)

    def test_filters(self) -> None:
        """Who, what and subject are compared exactly, all together; a project's entries include
        those of its files.
        """
        for number, (who, what, subject) in enumerate(
            [
                ("alice", "publish-file", "spam/spam-1.tar.gz"),
                ("Alice", "publish-file", "spam/spam-2.tar.gz"),
                ("alice", "set-right", "spam"),
                ("alice", "set-right", "spam-two"),
            ]
        ):
            self.have(self.journal.note(a_deed(number, who=who, what=what, subject=subject)))

        def serials(**asked: str) -> list[int]:
            return [deed.serial for deed in self.have(self.journal.deeds(**asked))]  # type: ignore[arg-type]

        self.assertEqual(serials(who="alice"), [4, 3, 1])
        self.assertEqual(serials(who="alice", what="set-right"), [4, 3])
        self.assertEqual(serials(subject="spam"), [3, 2, 1])
        self.assertEqual(serials(subject="spam/spam-2.tar.gz"), [2])
        self.assertEqual(serials(subject="spam", what="set-right"), [3])
        for hostile in ("", "%", "sp_m", "x' OR 1=1 --", "\0", "\ud800", "x" * 100_000):
            self.assertEqual(serials(subject=hostile), [])
            self.assertEqual(serials(who=hostile), [])

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
        self.assertEqual(len(self.have(self.journal.deeds())), 5)
        self.assertEqual(self.have(self.journal.deeds(most=1))[0].who, "\U0001f600")
        self.assertTrue(
            sum(len(value) for value in self.have(self.journal.deeds())[2].details.values())
            < 100_000
        )
