"""The administration's first page."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from pypid.flow import start
from pypid.web.app.measures import Disk, Disks
from tests.web.ui.administered import AdministeredCase


class HealthTests(AdministeredCase):
    def has(self, name: str, word: str, *words: str) -> None:
        """The page says this word of the part, and these words."""
        text = self.page("/manage/")
        self.assertRegex(text, rf"<h3>{name} <span class=\"badge[^>]*>{word}</span></h3>")
        for each in words:
            self.assertIn(each, text)

    def test_away(self) -> None:
        """Each part that is away says so in a word, and what to do next."""
        condition = self.pypid.app.condition
        condition.access = condition.cache = condition.storage = condition.shows = lambda: False
        self.has("Traffic", "not ready", "What to do")
        self.has("Accounts", "unreachable", "[database] url")
        self.has("Catalog", "unreachable", "[database] url")
        self.has("Storage", "unreachable", "Is the disk mounted")
        condition.stopping = True
        self.has("Traffic", "stopping")


class PeopleTests(AdministeredCase):
    def test_deeds(self) -> None:
        """The last ten deeds, the newest first; whatever they are about is text."""
        for number in range(12):
            self.pypid.api("POST", "/api/groups", {"name": f"group{number:02}"})
        text = self.page("/manage/")
        self.assertEqual([f"group{n:02}" in text for n in range(12)], [False] * 2 + [True] * 10)
        self.assertLess(text.index("group11"), text.index("group10"))


class DiskTests(AdministeredCase):
    def test_hanging(self) -> None:
        """A disk that hangs takes one thread, however many ask, and nobody waits for
        it for long.
        """
        calls: list[Deferred[Disk | None]] = []

        def blocking(call: object, *arguments: object) -> Deferred[Disk | None]:
            calls.append(Deferred())
            return calls[-1]

        disks = Disks(evolve(self.pypid.world, blocking=blocking))
        asking = [start(disks.of(self.spool)) for _ in range(5)]
        self.pypid.clock.advance(1)
        self.assertEqual([self.successResultOf(each) for each in asking], [None] * 5)
        self.assertEqual(len(calls), 1)
        late = start(disks.of(self.spool))
        calls[0].callback(Disk(10, 5))
        self.assertEqual(self.successResultOf(late), Disk(10, 5))
        start(disks.of(self.spool)).addErrback(lambda _: None).cancel()
        self.assertEqual(len(calls), 2)
