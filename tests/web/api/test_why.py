"""``/api/why/``: which rule hides a project or a file, and until when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import StorageDown, UpstreamDown
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy, UpstreamChoice
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.support import BEGINNING
from tests.web.full_app import J, Pypid, WholeCase, basic
from tests.web.memory_upstream import Elsewhere
from tests.web.named_upstream import with_upstream

CACHE = Policy(mode=Mode.CACHE)
HAM = wheel_filename("ham")
NEWER = sdist_filename("ham", "2.0")


class WhyCase(WholeCase):
    """A pypid in front of an index that has two files of ham."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.upstream.has("ham", HAM, wheel("ham"))
        self.upstream.has("ham", NEWER, sdist("ham", "2.0"))
        self.pypid = self.another(CACHE)

    def another(self, policy: Policy) -> Pypid:
        """A pypid with other rules on the same storage."""
        old = self.pypid
        return Pypid(
            Path(self.mktemp()),
            policy=policy,
            upstream=self.upstream,
            blobs=old.blobs,
            catalog=old.catalog,
        )

    def ask_for(self, path: str, user: str = "alice") -> dict[str, Any]:
        """What is told; nobody upstream hears of it."""
        before = list(self.upstream.heard)
        answer = self.pypid.api("GET", f"/api/why/{path}", user=user)
        self.assertEqual((answer.status, answer["cache-control"]), (200, "no-store"), answer)
        self.assertEqual(self.upstream.heard, before)
        document: dict[str, Any] = answer.json
        return document

    def look(self, name: str = "ham") -> list[str]:
        """The files that a client sees."""
        answer = self.pypid.get(f"/simple/{name}/", J)
        return [file["filename"] for file in answer.json["files"]] if answer.status == 200 else []

    def agrees(self, name: str = "ham") -> dict[str, Any]:
        """What is told, once it is the same that a client sees, file by file."""
        seen = self.look(name)
        told = self.ask_for(name)
        self.assertEqual(sum(told["visible"].values()), len(seen))
        self.assertFalse(
            {file["filename"] for file in told["hidden"] if not file["ours"]}
            & set(seen) - self.ours(name)
        )
        for filename in (HAM, NEWER):
            self.assertEqual(
                self.ask_for(f"{name}/{filename}")["file"]["visible"], filename in seen, filename
            )
        return told

    def ours(self, name: str) -> set[str]:
        """The names of our files."""
        return {key.partition("/")[2] for key in self.keys() if key.startswith(f"{name}/")}


class NameTests(WhyCase):
    """What is said of a name."""

    def test_rules(self) -> None:
        """Each rule about names is told by its word and its line in the configuration, with what
        was kept before it.
        """
        self.assertEqual(self.pypid.get(f"/packages/ham/{HAM}").status, 200)
        for policy, word in (
            (Policy(mode=Mode.CACHE, reserved=("h*",)), "reserved"),
            (Policy(mode=Mode.CACHE, deny=("ham",)), "denied"),
            (Policy(mode=Mode.CACHE, allow=("spam",)), "not-allowed"),
        ):
            self.pypid = self.another(policy)
            told = self.agrees()
            self.assertEqual(told["status"], word)
            self.assertIn("[upstream]", told["not_asked"])
            self.assertEqual(told["not_asked"], told["not_shown"])
            self.assertEqual({file["rule"] for file in told["hidden"]}, {word})
            self.assertEqual([file["filename"] for file in told["hidden"] if file["kept"]], [HAM])

    def test_ours(self) -> None:
        """A name of ours hides all of theirs; where it may be blended only files of
        the same name.
        """
        self.look()
        filename, data = wheel_filename("ham"), wheel("ham")
        self.published(self.publish(filename, data, user="ada"))
        told = self.agrees()
        self.assertEqual((told["status"], told["ours"]), ("ours", {"status": "active", "files": 1}))
        self.assertEqual({file["rule"] for file in told["hidden"]}, {"ours"})
        self.pypid = self.another(Policy(mode=Mode.CACHE, allow_mixed=("ham",)))
        told = self.agrees()
        self.assertEqual(told["status"], "blended")
        self.assertEqual(
            [(file["filename"], file["rule"], file["ours"]) for file in told["hidden"]],
            [(HAM, "ours", False)],
        )
        self.assertTrue(self.ask_for(f"ham/{HAM}")["file"]["ours"])

    def test_not_known_yet(self) -> None:
        """While the storage is away nobody knows whether a name is ours, and that is
        what is told.
        """
        self.pypid = Pypid(
            Path(self.mktemp()), policy=CACHE, upstream=self.upstream, compared=False
        )
        heard = self.have(
            self.pypid.index.listings.state(project_name("ham"))
        )  # once, so that it is not looked for
        self.assertTrue(heard.reachable)
        self.pypid.blobs.away = StorageDown("the disk is gone.")
        told = self.ask_for("ham")
        self.assertEqual(told["status"], "unknown")
        self.assertEqual({file["rule"] for file in told["hidden"]}, {"unknown"})
        self.assertEqual(self.pypid.api("GET", "/api/why/eggs").status, 503)


class FileTests(WhyCase):
    """What is said of files."""

    def test_cooldown(self) -> None:
        """A file that is too young has the time from which it is visible; then it is."""
        self.upstream.has("ham", NEWER, sdist("ham", "2.0"), uploaded=BEGINNING - timedelta(days=1))
        self.upstream.has("ham", HAM, wheel("ham"), uploaded=BEGINNING - timedelta(days=9))
        self.pypid = self.another(Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=3))))
        told = self.agrees()
        [file] = told["hidden"]
        self.assertEqual(
            (file["filename"], file["rule"], file["until"]),
            (NEWER, "cooldown", "2026-01-03T00:00:00Z"),
        )
        self.assertIn("[upstream] cooldown", file["because"])
        self.pypid.clock.advance(2 * 86400 - self.pypid.clock.seconds() - 1)
        self.assertEqual(len(self.agrees()["hidden"]), 1)
        self.pypid.clock.advance(1)
        self.assertEqual(self.agrees()["hidden"], [])

    def test_quarantine(self) -> None:
        """Quarantine is told, theirs and ours."""
        self.upstream.statuses["ham"] = Status.QUARANTINED
        told = self.agrees()
        self.assertEqual(
            ({file["rule"] for file in told["hidden"]}, told["upstream"]["status"]),
            ({"quarantined"}, "quarantined"),
        )
        filename, _ = self.have_wheel("spam")
        self.assertEqual(
            self.pypid.api("PUT", "/api/projects/spam/status", {"status": "quarantined"}).status,
            200,
        )
        self.assertEqual(self.look("spam"), [])
        file = self.ask_for(f"spam/{filename}")["file"]
        self.assertEqual((file["rule"], file["visible"], file["ours"]), ("closed", False, True))


class NamedUpstreamTests(WhyCase):
    """Names of `[upstream:NAME]`."""

    def setUp(self) -> None:
        super().setUp()
        self.gpu = Elsewhere()
        self.named = with_upstream(self.pypid.index, "gpu", self.gpu, "torch*")
        self.pypid.index.choice = UpstreamChoice.of(None, {"gpu": ("torch*",)})

    def test_requested_from(self) -> None:
        """The answer names the upstream of a name, and explains by its listing and its outage."""
        self.assertEqual(self.ask_for("ham")["requested_from"], "public")
        told = self.ask_for("torch")
        self.assertEqual((told["requested_from"], told["upstream"]), ("gpu", None))
        self.gpu.has("torch", "torch-1.0.tar.gz", b"torch")
        self.have(self.named.listings.state(project_name("torch")))
        self.assertEqual(self.ask_for("torch")["upstream"]["files"], 1)
        self.named.gate.breaker.failed(UpstreamDown("no answer", unreachable=True))
        self.assertIn("no answer", self.ask_for("torch")["outage"]["error"])
        self.assertIsNone(self.ask_for("ham")["outage"])
        self.assertIn("[upstream:gpu]", self.page("torch"))

    def page(self, name: str) -> str:
        """The page for people."""
        answer = self.pypid.ask(
            "GET", f"/project/{name}/-/why", basic("alice"), ("Accept", "text/html")
        )
        self.assertEqual(answer.status, 200)
        return answer.text
