"""How upstream is, what may be asked of it, and what is kept: seen, and taken away."""

from __future__ import annotations

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.values import COOLDOWN
from pypid.core.errors import CatalogDown, UpstreamDown
from pypid.core.policy import Policy
from pypid.wiring.upstreams import indexes_of
from tests.distributions import sdist, sdist_filename
from tests.support.configuration import parse
from tests.web.full_app import Answer
from tests.web.ui.administered import HAM, NASTY, AdministeredCase

EGGS = sdist_filename("eggs")


class PageTests(AdministeredCase):
    policy = Policy(
        mode=Mode.CACHE,
        reserved=("acme-*",),
        deny=("evil",),
        allow_mixed=("mixed",),
        cooldown=COOLDOWN.parse("0 ham=0 acme-*=14d"),
    )

    def test_outage(self) -> None:
        """An outage, since when and why; once it answers again there is none."""
        self.pypid.index.gate.breaker.failed(UpstreamDown(NASTY, unreachable=True))
        answer = self.look("/manage/upstream")
        self.assertIn("unreachable", answer.text)
        self.assertNotIn("<script>alert", answer.text)
        document = self.pypid.api("GET", "/api/upstream").json
        self.assertIn(NASTY, document["outage"]["error"])
        self.assertIsNotNone(document["outage"]["since"])
        self.pypid.index.gate.breaker.answered()
        self.assertIsNone(self.pypid.api("GET", "/api/upstream").json["outage"])

    def test_catalog_away(self) -> None:
        """The page is there also where it is not known how much is kept."""

        async def away() -> None:
            raise CatalogDown()

        self.patch(self.pypid.catalog.local, "summaries", away)
        self.assertIn("cache is unknown", self.page("/manage/upstream"))
        self.assertEqual(self.pypid.api("GET", "/api/upstream").status, 503)

    def test_no_password(self) -> None:
        """Of the indexes no name and no password is told."""
        config = parse(
            "[upstream]\nurl = https://u:hunter2@a.example/simple http://b:hunter2@b.example\n",
            filename="x",
        )
        self.assertEqual(
            indexes_of(config), ("https://(set)@a.example/simple", "http://(set)@b.example")
        )


class PurgeTests(AdministeredCase):
    def setUp(self) -> None:
        super().setUp()
        self.upstream.has("eggs", EGGS, sdist("eggs"))
        self.pypid.clock.advance(3600)
        self.assertEqual(self.pypid.get(f"/packages/eggs/{EGGS}").status, 200)
        self.ours = [key for key in self.keys() if not key.startswith(".kept/")]

    def kept(self) -> set[str]:
        """Of which projects something is kept."""
        self.assertLessEqual(set(self.ours), set(self.keys()))
        return {use["name"] for use in self.pypid.api("GET", "/api/cache").json["projects"]}

    def mistaken(self, **fields: str) -> None:
        """The form is shown again with what is wrong with it, and all stays."""
        answer: Answer = self.send("/manage/upstream/purge", **fields)
        self.assertEqual(answer.status, 400)
        self.assertIn('role="alert"', answer.text)
        self.assertEqual(self.kept(), {"ham", "eggs"})

    def test_project(self) -> None:
        """Of one project, in any spelling; it is in the audit log as a DELETE is."""
        text = self.done("/manage/upstream/purge", what="project", project=" HAM ")
        self.assertIn("1 file of 1 project was deleted", text)
        self.assertEqual(self.kept(), {"eggs"})
        self.assertIn(
            "no cached files to delete",
            self.done("/manage/upstream/purge", what="project", project="ham"),
        )
        [first, _] = self.peopled.deeds(what="cache purge")
        self.assertEqual(
            (first.who, first.subject, first.details["files"]), ("ada", "ham", f"ham/{HAM}")
        )

    def test_all(self) -> None:
        """All of it, where the word was typed."""
        self.mistaken(what="all")
        self.mistaken(what="all", confirm="yes")
        text = self.done("/manage/upstream/purge", what="all", confirm="everything")
        self.assertIn("2 files of 2 projects were deleted", text)
        self.assertEqual(self.kept(), set())

    def test_mistakes(self) -> None:
        """A form that leaves out what it is about takes nothing away: least of all everything."""
        self.mistaken(what="project", project="")
        self.mistaken(what="project", project="  ", older_than="30d")
        self.mistaken(what="project", project="<script>")
        self.mistaken(what="older", older_than="")
        self.mistaken(what="older", older_than="a month")
        self.mistaken(what="older", older_than="0d 1h")
        self.mistaken(what="")
        self.mistaken()
        self.mistaken(what="everything", confirm="everything")
