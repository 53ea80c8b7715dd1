"""What every `Downloads` keeps, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

from pypid.core.people import Download
from pypid.ports import Downloads
from pypid.testing.worlds import BEGINNING, Timed


def a_download(number: int, **fields: object) -> Download:
    """One of many."""
    values: dict[str, object] = {"sha256": "ab" * 32, "project": "spam", "filename": "spam-1.tar.gz", "who": "alice"}
    return Download(when=BEGINNING + timedelta(seconds=number), **{**values, **fields})  # type: ignore[arg-type]


class DownloadsContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives new, empty downloads in `self.world`."""

    async def make(self) -> Downloads:
        """New ones with nothing in them."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.downloads = self.have(self.make())

    def test_of_a_file(self) -> None:
        """All of a download comes back, the newest first, and only those of the file."""
        first = a_download(1, where="2001:db8::1", token="abc")
        second = a_download(2, who="anonymous")
        for each in (first, a_download(1, sha256="cd" * 32), second):
            self.downloads.note(each)
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32))), [second, first])
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32, most=1))), [second])
        self.assertEqual(list(self.have(self.downloads.of("ab" * 32, most=0))), [])
        for unknown in ("", "\0", "\ud800", "ef" * 32):
            self.assertEqual(list(self.have(self.downloads.of(unknown))), [])

    def test_many(self) -> None:
        """Thousands at once are all there."""
        for number in range(2500):
            self.downloads.note(a_download(number))
        found = self.have(self.downloads.of("ab" * 32, most=10_000))
        self.assertEqual([each.when for each in found], [a_download(number).when for number in range(2499, -1, -1)])

    def test_hostile(self) -> None:
        """Whatever a client calls itself, its download is written down."""
        for text in ("\0", "\ud800", "x" * 1_000_000):
            self.downloads.note(a_download(1, who=text, where=text, token=text))
        self.assertEqual(len(self.have(self.downloads.of("ab" * 32))), 3)
