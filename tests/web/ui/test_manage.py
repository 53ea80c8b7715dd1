"""The administration's first page."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred

from pypid.advisories.service import Advisories
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.errors import CatalogDown, PeopleUnknown, UpstreamDown
from pypid.flow import start
from pypid.index.store.reconcile import ReconcileProgress
from pypid.testing.worlds import BEGINNING
from pypid.web.app import measures
from pypid.web.app.measures import Disk, Disks
from tests.web.ui.administered import NASTY, AdministeredCase

PAGES = ("", "why", "upstream", "storage", "configuration")


class WhoTests(AdministeredCase):
    def test_address(self) -> None:
        """The links hold below any path: each begins with the relative way to the root."""
        text = self.page("/manage/")
        for page in (
            "users",
            "groups",
            "rights",
            "tokens",
            "audit",
            "upstream",
            "storage",
            "configuration",
        ):
            self.assertIn(f'href="../manage/{page}"', text)
        self.assertIn('<a href="../manage/" aria-current="page">Overview</a>', text)
        self.assertIn(
            '<a href="../manage/storage" aria-current="page">Storage</a>',
            self.page("/manage/storage"),
        )


class HealthTests(AdministeredCase):
    def has(self, name: str, word: str, *words: str) -> None:
        """The page says this word of the part, and these words."""
        text = self.page("/manage/")
        self.assertRegex(text, rf"<h3>{name} <span class=\"badge[^>]*>{word}</span></h3>")
        for each in words:
            self.assertIn(each, text)

    def test_well(self) -> None:
        """All is well: no part says what to do."""
        self.has("Traffic", "ready", "Up since")
        for part in ("Accounts", "Catalog", "Storage", "Upstream", "State disk"):
            self.has(part, "OK")
        self.has("Storage scan", "complete")
        self.has("Processes", "1")
        self.assertNotIn("What to do", self.page("/manage/"))

    def test_away(self) -> None:
        """Each part that is away says so in a word, and what to do next."""
        condition = self.pypid.app.condition
        condition.access = condition.cache = condition.storage = condition.shows = lambda: False
        self.has("Traffic", "not ready", "What to do")
        self.has("Accounts", "unreachable", "[access] url")
        self.has("Catalog", "unreachable", "[catalog] url")
        self.has("Storage", "unreachable", "Is the disk mounted")
        condition.stopping = True
        self.has("Traffic", "stopping")

    def test_upstream(self) -> None:
        """An outage is told with its beginning and the error; offline is no outage."""
        self.pypid.clock.advance(90)
        self.pypid.index.gate.breaker.failed(UpstreamDown(NASTY, unreachable=True))
        self.has(
            "Upstream",
            "unreachable",
            NASTY,
            f"Since {BEGINNING + timedelta(seconds=91):%-d %b %Y %H:%M} UTC",
        )
        self.assertNotIn("<script>alert", self.look("/manage/").text)

    def test_advisories(self) -> None:
        """The state of their source: off, not read yet, read, and away with what to do."""
        self.has("Advisories", "off", "[advisories] source")
        self.pypid.app.advisories = known = Advisories(self.pypid.world, Path("state"), "all.zip")
        self.has("Advisories", "not read yet", "all.zip")
        known.failure = "source: it refuses connections."
        says = "[advisories] source: it refuses connections. They were never read."
        self.has("Advisories", "unreachable", says, "can read all.zip")
        known.loaded = BEGINNING
        self.has("Advisories", "unreachable", "Last read 1 Jan 2026 00:00 UTC", "Installs work")
        known.failure = ""
        self.has("Advisories", "OK", "Last read 1 Jan 2026 00:00 UTC from all.zip")

    def test_comparing(self) -> None:
        """A comparison tells how far it is; one that never came to its end, what to do."""
        self.pypid.index.maintenance.comparing = ReconcileProgress(41000, 812)
        self.has("Storage scan", "in progress", "41,000 objects", "812 projects")
        self.pypid.index.maintenance.comparing = None
        self.pypid.catalog._serials.is_complete = False
        self.has("Storage scan", "incomplete", "See the log")

    def test_disks(self) -> None:
        """A disk that is nearly full is told as such, with what to do."""
        self.patch(measures, "_disk_of", lambda folder: Disk(1 << 40, 1 << 29))
        self.has("State disk", "low", "512.0 MiB of 1.0 TiB free", "Free some space")
        self.patch(measures, "_disk_of", lambda folder: None)
        self.has("State disk", "unknown")

    def test_numbers(self) -> None:
        """How much is ours, and how much is kept."""
        text = self.page("/manage/")
        self.assertIn("1 project, 1 file, ", text)
        self.assertEqual(text.count("1 project, 1 file, "), 2)

    def test_no_catalog(self) -> None:
        """The page is there also where nobody knows what there is, nor who did what."""

        async def away(*asked: object, **more: object) -> None:
            raise CatalogDown()

        async def unknown(*asked: object, **more: object) -> None:
            raise PeopleUnknown("the accounts database")

        self.patch(self.pypid.catalog.local, "summaries", away)
        self.patch(self.peopled.journal, "entries", unknown)
        self.patch(self.peopled.accounts, "users", unknown)
        text = self.page("/manage/")
        self.assertIn("Unknown.", text)
        self.assertIn("The audit log is unavailable.", text)


class PeopleTests(AdministeredCase):
    def test_deeds(self) -> None:
        """The last ten deeds, the newest first; whatever they are about is text."""
        for number in range(12):
            self.pypid.api("POST", "/api/groups", {"name": f"group{number:02}"})
        text = self.page("/manage/")
        self.assertEqual([f"group{n:02}" in text for n in range(12)], [False] * 2 + [True] * 10)
        self.assertLess(text.index("group11"), text.index("group10"))

    def test_pending(self) -> None:
        """Who has registered and waits is told, with the way to the users."""
        self.assertNotIn("waits for approval", self.page("/manage/"))
        account = Account(
            name="newcomer",
            hash="x",
            status=AccountStatus.PENDING,
            created=BEGINNING,
            changed=BEGINNING,
        )
        self.have(self.peopled.accounts.add_user(account))
        self.assertIn("1 registration waits for approval", self.page("/manage/"))


class WhyTests(AdministeredCase):
    def test_redirect(self) -> None:
        """Any spelling of a name leads to the page that tells why it is as it is."""
        answer = self.look("/manage/why?name=Ham_Spam")
        self.assertEqual((answer.status, answer["location"]), (303, "../project/ham-spam/-/why"))

    def test_no_name(self) -> None:
        """Without a name there is the form; with what is none the form again, and what is wrong
        with it.
        """
        self.assertIn('name="name"', self.page("/manage/why"))
        answer = self.look("/manage/why?name=%3Cb%3E")
        self.assertEqual(answer.status, 400)
        self.assertNotIn("<b>", answer.text)
        self.assertIn("&lt;b&gt;", answer.text)
        self.assertEqual(self.look("/manage/why?" + "a=1&" * 60).status, 200)


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

    def test_gone(self) -> None:
        """A folder that is not there has no disk."""
        disks = Disks(self.pypid.world)
        self.assertIsNone(self.have(disks.of(self.spool / "nothing")))
        self.assertIsNone(self.have(disks.of(None)))
        disk = self.have(disks.of(self.spool))
        assert disk is not None
        self.assertGreater(disk.total, disk.free)
