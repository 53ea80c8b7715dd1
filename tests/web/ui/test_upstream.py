"""How upstream is, what may be asked of it, and what is kept: seen, and taken away."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.parse import parse
from pypid.core.configuration.value_kinds import COOLDOWN
from pypid.core.errors import CatalogDown, UpstreamDown
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.index.views import DIRECT
from pypid.wiring.upstreams import indexes_of
from tests.distributions import sdist, sdist_filename
from tests.web.full_app import Answer
from tests.web.named_upstream import with_upstream
from tests.web.ui.administered import HAM, NASTY, AdministeredCase, unchunked

EGGS = sdist_filename("eggs")


class PageTests(AdministeredCase):
    policy = Policy(
        mode=Mode.CACHE,
        reserved=("acme-*",),
        deny=("evil",),
        allow_mixed=("mixed",),
        cooldown=COOLDOWN.parse("0 ham=0 acme-*=14d"),
    )

    def test_in_force(self) -> None:
        """Mode, indexes, freshness, cooldown and rules are told in words; what is not restricted is
        not listed.
        """
        self.pypid.app.settings = evolve(
            self.pypid.app.settings, indexes=("https://a.example/simple", "https://b.example/")
        )
        text = self.page("/manage/upstream")
        for words in (
            "are fetched from upstream",
            "https://a.example/simple",
            "in this order",
            "refreshed after 10m",
        ):
            self.assertIn(words, text)
        for words in ("acme-*=14d</span>", "Never requested from upstream:", "evil", "mixed"):
            self.assertIn(words, text)
        self.assertNotIn("Only these can come from upstream", text)
        self.assertNotIn("wait for <a", text)
        self.assertLess(text.index("a.example"), text.index("b.example"))

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

    def test_kept(self) -> None:
        """How much is kept, of which limit, and by which projects."""
        self.pypid.app.settings = evolve(self.pypid.app.settings, max_cache=10**6)
        text = self.page("/manage/upstream")
        self.assertIn("1 file of 1 project, ", text)
        self.assertIn("of at most 976.6 KiB", text)
        self.assertIn("<progress", text)
        self.assertIn("project/ham/", text)
        self.assertNotIn("project/spam/", text)

    def test_catalog_away(self) -> None:
        """The page is there also where it is not known how much is kept."""

        async def away() -> None:
            raise CatalogDown()

        self.patch(self.pypid.catalog.local, "summaries", away)
        self.assertIn("cache is unknown", self.page("/manage/upstream"))
        self.assertEqual(self.pypid.api("GET", "/api/upstream").status, 503)

    def test_twin(self) -> None:
        """The same as JSON."""
        document = self.pypid.api("GET", "/api/upstream").json
        self.assertEqual(
            (document["mode"], document["ttl"], document["cooldown"]),
            ("cache", "10m", "0 ham=0 acme-*=14d"),
        )
        self.assertEqual(
            (document["reserved"], document["allow"], document["deny"]),
            (["acme-*"], ["*"], ["evil"]),
        )
        self.assertEqual((document["kept"], document["limit"]), (1, None))

    def test_no_password(self) -> None:
        """Of the indexes no name and no password is told."""
        config = parse(
            "[upstream]\nurl = https://u:hunter2@a.example/simple http://b:hunter2@b.example\n",
            filename="x",
        )
        self.assertEqual(
            indexes_of(config), ("https://(set)@a.example/simple", "http://(set)@b.example")
        )


class NamedTests(AdministeredCase):
    """Further upstreams on the page, in the API, and among the parts of the machine."""

    def setUp(self) -> None:
        super().setUp()
        self.gpu = with_upstream(self.pypid.index, "gpu", self.upstream, "torch*", "ham", NASTY)
        self.pypid.app.settings = evolve(
            self.pypid.app.settings, named_upstreams={"gpu": ("https://gpu.example/whl",)}
        )

    def document(self) -> dict[str, Any]:
        """The named upstream, as JSON."""
        [found] = self.pypid.api("GET", "/api/upstream").json["upstreams"]
        return dict(found)

    def test_facts(self) -> None:
        """Its address, its names, and what is cached of it."""
        text = self.page("/manage/upstream")
        for words in ("Further upstreams", "https://gpu.example/whl", "torch*"):
            self.assertIn(words, text)
        self.assertNotIn("<script>alert", self.look("/manage/upstream").text)
        found = self.document()
        self.assertEqual((found["name"], found["only"]), ("gpu", ["torch*", "ham", NASTY]))
        self.assertEqual((found["kept"], found["outage"]), (0, None))
        self.assertEqual(self.pypid.api("GET", "/api/upstream").json["kept"], 1)

    def test_limit_is_for_all(self) -> None:
        """The sizes beside the limit, and those of the storage, count the caches of all
        upstreams.
        """
        file = self.have(self.gpu.own_view(project_name("ham"), DIRECT)).view.project.files[0]
        self.have(self.gpu.file_cache.store(file, ()))
        self.assertEqual((self.document()["kept"], self.cached("/api/upstream")), (1, 1))
        self.assertEqual(self.cached("/api/storage"), 2)
        self.assertIn("2 files of 1 project, ", self.page("/manage/upstream"))
        [ham] = [
            use
            for use in self.pypid.api("GET", "/api/storage").json["projects"]
            if use["name"] == "ham"
        ]
        self.assertEqual(ham["kept"], 2)

    def cached(self, path: str) -> int:
        """The number of cached files in a document."""
        return int(self.pypid.api("GET", path).json["kept"])

    def test_outage(self) -> None:
        """An outage is of the one upstream only."""
        self.gpu.gate.breaker.failed(UpstreamDown("no answer", unreachable=True))
        self.assertIn("no answer", self.document()["outage"]["error"])
        self.assertIsNone(self.pypid.api("GET", "/api/upstream").json["outage"])
        self.assertIn("Upstream gpu", self.page("/manage/"))
        self.assertIn("no answer", self.page("/manage/upstream"))

    def test_without_further_upstreams(self) -> None:
        """Without sections the page does not speak of them."""
        self.pypid.index.upstreams.clear()  # type: ignore[attr-defined]
        self.assertNotIn("Further upstreams", self.page("/manage/upstream"))


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

    def test_older(self) -> None:
        """What nobody wanted for so long, of all or of one project."""
        self.assertIn(
            "Only files unused for 30m",
            self.done("/manage/upstream/purge", what="older", older_than="30m"),
        )
        self.assertEqual(self.kept(), {"eggs"})
        self.done("/manage/upstream/purge", what="project", project="eggs", older_than="1d")
        self.assertEqual(self.kept(), {"eggs"})

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

    def test_values_kept(self) -> None:
        """What was typed is there again, as text."""
        answer = self.send(
            "/manage/upstream/purge", what="project", project=NASTY, older_than=NASTY
        )
        self.assertNotIn("<b onmouse", answer.text)
        self.assertEqual(answer.text.count("&lt;b onmouseover=alert(1)&gt;"), 2)

    def test_streamed(self) -> None:
        """The page begins at once: to take a hundred thousand files away takes its time."""
        text = unchunked(
            self.begin("/manage/upstream/purge", what="project", project="ham").rest()
        )[2]
        self.assertLess(text.index("Listing the cached files."), text.index("Done"))
