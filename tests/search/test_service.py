"""The search index of a running pypid: from some moments after its start to its end."""

from __future__ import annotations

from pathlib import Path

from pypid.core.permissions import EVERYTHING
from pypid.core.search import SearchQuery
from pypid.search.search import FILE, Search
from pypid.search.service import AFTER, LOOK, Searching
from tests.web.full_app import WholeCase


class ServiceTests(WholeCase):
    """The service."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.made = 0
        self.prepared: list[int] = []

        def make() -> Search:
            self.made += 1
            return Search(self.pypid.index, self.folder, "here")

        self.service = Searching(self.pypid.clock, make, self.prepare)
        self.pypid.app.searching = lambda: self.service.search

    async def prepare(self) -> None:
        """Note what is made by then: nothing is made before this."""
        self.prepared.append(self.made)

    def names(self) -> list[str]:
        """What is found."""
        found = self.have(self.pypid.app.search.find(SearchQuery.read(""), EVERYTHING))
        return [each.name for each in found]

    def test_life(self) -> None:
        """It begins after the first page could be answered, finds what is published within a
        second, and ends tidily.
        """
        self.service.startService()
        self.pypid.clock.advance(AFTER / 2)
        self.assertEqual((self.made, list(self.folder.iterdir())), (0, []))
        self.have_wheel("spam")
        for _ in range(6):
            self.pypid.clock.advance(LOOK)
        self.assertEqual((self.names(), self.made, self.prepared), (["spam"], 1, [0]))
        self.have_wheel("eggs")
        self.assertEqual(self.names(), ["spam"])
        self.pypid.clock.advance(LOOK)
        self.assertEqual(set(self.names()), {"spam", "eggs"})
        self.successResultOf(self.service.stopService())
        self.assertEqual({path.name for path in self.folder.iterdir()}, {FILE, "search.lock"})

    def test_files_are_for_this_user_only(self) -> None:
        """Nobody else can open the database or hold the lock; a lock of an older pypid is closed to
        others, too.
        """
        (self.folder / "search.lock").touch(0o644)
        self.service.startService()
        self.pypid.clock.advance(2 * AFTER)
        self.assertEqual(self.names(), [])
        self.assertEqual(
            {path.name: path.stat().st_mode & 0o777 for path in self.folder.glob("search.*")}[
                "search.lock"
            ],
            0o600,
        )
        self.assertEqual({path.stat().st_mode & 0o077 for path in self.folder.iterdir()}, {0})
        self.successResultOf(self.service.stopService())

    def test_nobody_searched(self) -> None:
        """One that is stopped at once has made nothing."""
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.made, 0)
