"""``/at/<moment>/``, as clients meet it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from attrs import evolve
from msgspec.structs import replace

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.policy import Policy
from pypid.web.app.project_page_cache import MOST_PAGES
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import HTML, J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere

DAY = 86_400
FIRST = "2026-01-01"


class MomentsCase(WholeCase):
    """A pypid in front of an index; its clock begins on the first of January."""

    policy = Policy(mode=Mode.CACHE)

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.pypid = Pypid(self.spool, policy=self.policy, upstream=self.upstream)
        self.upstream.now = self.pypid.world.now
        self.pypid.clock.advance(600 - self.pypid.clock.seconds())  # the day before is over
        self.have(self.pypid.catalog.complete())

    def later(self, days: float = 1) -> None:
        """Time goes by."""
        self.pypid.clock.advance(days * DAY)

    def json(self, path: str, project: str = "spam") -> dict[str, Any]:
        """A project's page."""
        answer = self.pypid.get(f"{path}simple/{project}/", J)
        self.assertEqual(answer.status, 200, answer)
        document: dict[str, Any] = answer.json
        return document

    def files(self, path: str, project: str = "spam") -> dict[str, Any]:
        """What the page says of each file's yank; each can be downloaded by its link."""
        page = self.json(path, project)
        for file in page["files"]:
            got = self.pypid.get(urljoin(f"{path}simple/{project}/", file["url"]))
            self.assertEqual(got.status, 200, (path, file, got))
        return {file["filename"]: file["yanked"] for file in page["files"]}

    def names(self, path: str) -> list[str]:
        """The list of projects."""
        return [project["name"] for project in self.pypid.get(f"{path}simple/", J).json["projects"]]

    def yank(self, filename: str, method: str = "PUT") -> None:
        self.assertEqual(
            self.pypid.api(
                method, f"/api/projects/spam/files/{filename}/yank", {"reason": "bad"}
            ).status,
            200,
        )


class OursTests(MomentsCase):
    """A project of ours."""

    def test_history(self) -> None:
        """A page shows what was published and yanked by then, its links lead to the files of now,
        and it says which moment.
        """
        one, _ = self.have_wheel()
        self.later()
        self.yank(one)
        two, _ = self.have_sdist(version="2.0")
        self.later()
        self.yank(one, "DELETE")
        self.later()
        self.assertEqual(self.files("/at/2025-12-31/"), {})
        self.assertEqual(self.files(f"/at/{FIRST}/"), {one: False})
        self.assertEqual(self.files("/at/2026-01-02/"), {one: "bad", two: False})
        self.assertEqual(self.files("/at/2026-01-03/"), {one: False, two: False})
        self.assertEqual(self.files("/"), {one: False, two: False})
        page = self.json(f"/at/{FIRST}/")
        self.assertEqual(
            page["meta"],
            {"api-version": "1.4", "_last-serial": page["meta"]["_last-serial"], "_moment": FIRST},
        )
        self.assertEqual(page["versions"], ["1.0"])
        self.assertEqual(page["files"][0]["url"], f"../../../../packages/spam/{one}")
        html = self.pypid.get(f"/at/{FIRST}/simple/spam/", HTML).text
        self.assertIn(f'<meta name="pypid:moment" content="{FIRST}">', html)
        self.assertIn(f"As of {FIRST}.", html)
        self.assertEqual(self.names(f"/at/{FIRST}/"), ["spam"])
        self.assertEqual(self.names("/at/2025-12-31/"), [])

    def test_deleted(self) -> None:
        """Deleted files are counted and not shown, and the project is on the list for what is left
        of it; back, they are.
        """
        one, data = self.have_wheel()
        two, _ = self.have_sdist(version="2.0")
        self.later()
        self.assertEqual(self.pypid.api("DELETE", f"/api/projects/spam/files/{one}").status, 200)
        self.later()
        page = self.json(f"/at/{FIRST}/")
        self.assertEqual(
            ([file["filename"] for file in page["files"]], page["meta"]["_deleted-since"]),
            ([two], 1),
        )
        html = self.pypid.get(f"/at/{FIRST}/simple/spam/", HTML).text
        self.assertIn("Deleted since, and so not here: 1 files.", html)
        self.assertNotIn("_deleted-since", self.json("/at/2026-01-02/")["meta"])
        self.assertEqual(self.pypid.api("DELETE", f"/api/projects/spam/files/{two}").status, 200)
        self.assertEqual(self.names(f"/at/{FIRST}/"), [])
        self.assertEqual(self.files(f"/at/{FIRST}/"), {})
        self.published(self.publish(one, data))
        self.later()
        self.assertEqual(self.files(f"/at/{FIRST}/"), {one: False})
        self.assertEqual(self.files("/at/2026-01-02/"), {})
        self.assertEqual(self.names(f"/at/{FIRST}/"), ["spam"])

    def test_refused(self) -> None:
        """What is not over, or no moment, is 400 with advice; a project that is not there is 404 as
        on ``/simple/``.
        """
        self.have_wheel()
        for moment in (
            FIRST,
            "2026-01-01T00:09:01Z",
            "2030-01-01",
            "yesterday",
            "2026-02-30",
            "%20",
            "2026-01-01T00:00:00.5Z",
        ):
            for rest in ("simple/", "simple/spam/", "packages/spam/spam-1.0.tar.gz"):
                self.refused(
                    self.pypid.get(f"/at/{moment}/{rest}"),
                    400,
                    "2025-12-3" if "30" in moment[:4] else "is",
                )
        self.later(2)
        for path in ("eggs/", "eggs"):
            self.assertIn(self.pypid.get(f"/at/{FIRST}/simple/{path}", J).status, (301, 404))
        self.refused(self.pypid.get(f"/at/{FIRST}/simple/eggs/", J), 404, "eggs")
        self.refused(self.pypid.get(f"/at/{FIRST}/simple/spam/", "image/png"), 406)
        for path in ("/at/", f"/at/{FIRST}", f"/at/{FIRST}/", f"/at/{FIRST}/simple/spam/x"):
            self.assertEqual(self.pypid.get(path).status, 404, path)

    def test_bounded(self) -> None:
        """Whoever asks for a thousand moments leaves no more than `MOST` pages, and drives no page
        of now out.
        """
        self.have_wheel()
        self.later(20)
        self.pypid.page("spam")
        kept = len(self.pypid.app.pages._pages.memory)
        for number in range(MOST_PAGES + 100):
            path = f"/at/2026-01-0{1 + number % 9}T{number // 60 % 24:02}:{number % 60:02}:{number // 1440:02}Z/simple/"
            self.assertEqual(self.pypid.get(path + ("spam/" if number % 2 else "")).status, 200)
        self.assertLessEqual(len(self.pypid.app.as_of_pages._pages.memory), MOST_PAGES)
        self.assertEqual(len(self.pypid.app.pages._pages.memory), kept)


class TheirsTests(MomentsCase):
    """A project of the other index."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = wheel_filename("ham"), sdist_filename("ham", "2.0")
        self.upstream.has("ham", self.one, wheel("ham"))
        self.later(10)

    def has(self, filename: str, **fields: Any) -> None:
        """The other index says something else of a file."""
        files = self.upstream._files["ham"]
        files[filename] = replace(files[filename], **fields)

    def test_yanked(self) -> None:
        """A yank is of the moment from when on pypid saw it."""
        self.pypid.page("ham")
        self.later()
        self.has(self.one, yanked="broken")
        self.pypid.page("ham")
        self.later()
        self.has(self.one, yanked=None)
        self.pypid.page("ham")
        self.later()
        days = ("2026-01-10", "2026-01-11", "2026-01-12", "2026-01-13")
        self.assertEqual(
            [self.files(f"/at/{day}/", "ham")[self.one] for day in days],
            [False, False, "broken", False],
        )

    def test_taken_away(self) -> None:
        """What upstream has taken away is shown if it is kept here, below the moment; nowhere else,
        and else it is counted.
        """
        self.upstream.has("ham", self.two, sdist("ham", "2.0"))
        for name in (self.one, self.two):
            self.has(name, uploaded=self.pypid.world.now() - timedelta(days=30))
        self.assertEqual(self.pypid.get(f"/packages/ham/{self.one}").status, 200)
        self.later()
        kept = dict(self.upstream._files["ham"])
        self.upstream.has(
            "ham", "ham-3.0.tar.gz", sdist("ham", "3.0"), uploaded=self.pypid.world.now()
        )
        for name in (self.one, self.two):
            del self.upstream._files["ham"][name]
        self.assertEqual(list(self.files("/", "ham")), ["ham-3.0.tar.gz"])
        self.later()
        page = self.json("/at/2026-01-11/", "ham")
        self.assertEqual(
            [file["url"] for file in page["files"]], [f"../../packages/ham/{self.one}"]
        )
        self.assertEqual(page["meta"]["_deleted-since"], 1)
        self.assertEqual(list(self.files("/at/2026-01-11/", "ham")), [self.one])
        self.assertEqual(list(self.files("/at/2026-01-12/", "ham")), ["ham-3.0.tar.gz"])
        self.assertEqual(self.pypid.get(f"/packages/ham/{self.one}").status, 404)
        self.assertEqual(self.pypid.get(f"/at/2026-01-12/packages/ham/{self.one}").status, 404)
        self.assertEqual(self.pypid.get(f"/at/2026-01-11/packages/ham/{self.two}").status, 404)
        self.assertEqual(self.names("/at/2026-01-11/"), ["ham"])
        self.upstream._files["ham"].update(kept)  # both come back
        self.later(0.1)  # so that upstream is asked again
        self.pypid.page("ham")
        self.later()
        self.assertEqual(list(self.files("/at/2026-01-11/", "ham")), [self.one, self.two])
        self.assertEqual(list(self.files("/at/2026-01-12/", "ham")), ["ham-3.0.tar.gz"])
        self.assertEqual(len(self.files("/at/2026-01-13/", "ham")), 3)

    def test_release_that_upstream_removed_as_malware_stays_removed(self) -> None:
        """A release that was removed days after its upload, and is stored, is in no as-of view; an
        administrator can restore that file.
        """
        malicious = sdist_filename("ham", "1.82.7")
        self.upstream.has("ham", malicious, sdist("ham", "1.82.7"), uploaded=self.pypid.world.now())
        self.assertEqual(self.pypid.get(f"/packages/ham/{malicious}").status, 200)
        self.later(0.5)
        view = "/at/2026-01-12/"
        self.later(2)
        self.assertIn(malicious, self.files(view, "ham"))
        del self.upstream._files["ham"][malicious]
        self.later(0.1)  # so that upstream is asked again
        self.assertEqual(list(self.files("/", "ham")), [self.one])
        self.later()
        page = self.json(view, "ham")
        self.assertEqual([file["filename"] for file in page["files"]], [self.one])
        self.assertEqual(page["meta"]["_deleted-since"], 1)
        self.assertEqual(self.pypid.get(f"{view}packages/ham/{malicious}").status, 404)
        old = self.pypid
        policy = evolve(self.policy, restored=(malicious,))
        self.pypid = Pypid(
            Path(self.mktemp()),
            policy=policy,
            upstream=self.upstream,
            blobs=old.blobs,
            catalog=old.catalog,
        )
        self.pypid.clock.advance(old.clock.seconds() - self.pypid.clock.seconds())
        self.assertEqual(list(self.files(view, "ham")), [self.one, malicious])
        self.assertEqual(self.pypid.get(f"{view}packages/ham/{malicious}").status, 200)

    def test_removed(self) -> None:
        """A project that upstream has taken away as a whole is at no moment: that is how it removes
        malware.
        """
        self.assertEqual(self.pypid.get(f"/packages/ham/{self.one}").status, 200)
        self.later()
        self.upstream.has_not("ham")
        self.later()
        self.refused(self.pypid.get("/at/2026-01-11/simple/ham/", J), 404)
        self.assertEqual(self.pypid.get(f"/at/2026-01-11/packages/ham/{self.one}").status, 404)

    def test_ours_by_now(self) -> None:
        """A name that has become ours shows nothing of theirs, at no moment: not from before,
        either.
        """
        self.assertEqual(self.files("/at/2026-01-10/", "ham"), {self.one: False})
        self.published(self.publish(self.two, sdist("ham", "2.0"), user="ada"))
        self.later()
        self.assertEqual(self.files("/at/2026-01-10/", "ham"), {})
        self.assertEqual(self.files("/at/2026-01-11/", "ham"), {self.two: False})


class CooldownTests(MomentsCase):
    """``[upstream] cooldown`` is of today."""

    policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(wait=timedelta(days=7)))

    def test_young(self) -> None:
        """A file that is too young now is at no moment, yanked or not."""
        name = wheel_filename("ham")
        self.later(10)
        self.upstream.has("ham", name, wheel("ham"), uploaded=self.pypid.world.now(), yanked="no")
        self.assertEqual(self.files("/", "ham"), {})
        self.later()
        self.assertEqual(self.files("/at/2026-01-11/", "ham"), {})
        self.upstream._files["ham"][name] = replace(self.upstream._files["ham"][name], yanked=None)
        self.later(0.1)  # so that upstream is asked again
        self.assertEqual(self.files("/", "ham"), {})
        self.assertEqual(self.files("/at/2026-01-11/", "ham"), {})
        self.later(8)
        self.assertEqual(self.files("/at/2026-01-11/", "ham"), {name: "no"})
