"""``/local/``: only what is stored, and nobody else is asked for anything."""

from __future__ import annotations

import re
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, Rules
from pypid.core.policy import Policy
from tests.distributions import metadata, sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import HOST, PRIVATE, RULES, Answer, J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere

CACHE = Policy(mode=Mode.CACHE)
HAM = wheel_filename("ham")


class LocalCase(WholeCase):
    """A pypid in front of an index that has ham, of which nothing is stored yet."""

    policy = CACHE

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        self.ham = wheel("ham")
        self.upstream.has("ham", HAM, self.ham)
        self.pypid = self.another()

    def another(
        self, policy: Policy | None = None, *, at: Pypid | None = None, rules: Rules | None = None
    ) -> Pypid:
        """A pypid whose storage has been compared; `at`: on that one's storage, and with its
        catalog.
        """
        made = Pypid(
            Path(self.mktemp()),
            rules=rules or self.rules,
            policy=policy or self.policy,
            upstream=self.upstream,
            blobs=None if at is None else at.blobs,
            catalog=None if at is None else at.catalog,
        )
        self.have(made.catalog.complete())
        return made

    def keep(self, filename: str = HAM) -> bytes:
        """Have a file of theirs through pypid, which keeps it; its bytes."""
        project = filename.partition("-")[0]
        answer = self.pypid.get(f"/packages/{project}/{filename}", user="alice")
        self.assertEqual(answer.status, 200, answer)
        return answer.body

    def local(self, path: str = "", accept: str | None = J, user: str | None = None) -> Answer:
        """What is below /local/; whatever it is, nobody upstream has heard of it."""
        before = list(self.upstream.heard)
        answer = self.pypid.get(f"/local/{path}", accept, user=user)
        self.assertEqual(self.upstream.heard, before)
        return answer

    def names(self, user: str | None = None) -> list[str]:
        """The list."""
        return [project["name"] for project in self.local(user=user).json["projects"]]

    def files(self, project: str) -> dict[str, dict[str, Any]]:
        """What the page says of each file."""
        answer = self.local(f"{project}/")
        self.assertEqual(answer.status, 200, answer)
        return {file["filename"]: file for file in answer.json["files"]}

    def missing(self, *paths: str) -> None:
        """Nothing is there."""
        for path in paths:
            answer = self.local(path)
            self.assertEqual(answer.status, 404, (path, answer))


class PageTests(LocalCase):
    """The list and the pages."""

    def test_theirs(self) -> None:
        """A project of theirs is there as soon as a file of it is kept, with the
        kept files only.
        """
        other = "ham-2.0.tar.gz"
        self.upstream.has("ham", other, sdist("ham", "2.0"))
        self.missing("ham/", f"ham/{HAM}", f"ham/{other}")
        self.assertEqual(self.names(), [])
        self.assertEqual(
            {file["filename"] for file in self.pypid.page("ham")["files"]}, {HAM, other}
        )
        self.assertEqual(self.names(), [])
        self.missing("ham/", f"ham/{HAM}", f"ham/{other}")
        self.keep()
        self.assertEqual(self.names(), ["ham"])
        self.assertEqual(set(self.files("ham")), {HAM})
        self.missing(f"ham/{other}", f"ham/{other}.metadata")
        self.keep(other)
        self.assertEqual(set(self.files("ham")), {HAM, other})
        self.assertEqual(
            {file["filename"] for file in self.pypid.page("ham")["files"]}, {HAM, other}
        )


class FileTests(LocalCase):
    """Files below /local/."""

    def linked(self, project: str, filename: str) -> str:
        """The path that the page's link leads to, by either representation."""
        there = f"http://{HOST}/local/{project}/"
        in_json = urljoin(there, self.files(project)[filename]["url"])
        [href] = re.findall(
            rf'href="([^"]*{re.escape(filename)})#', self.local(f"{project}/", None).text
        )
        self.assertEqual(urljoin(there, href), in_json)
        path = in_json.removeprefix(f"http://{HOST}")
        self.assertTrue(path.startswith("/local/"), path)
        return path

    def test_linked(self) -> None:
        """The links lead to the bytes, of ours and of theirs, whole and in parts, without asking
        anybody.
        """
        filename, data = self.have_wheel()
        self.keep()
        for project, name, expected in (("spam", filename, data), ("ham", HAM, self.ham)):
            path = self.linked(project, name)
            before = list(self.upstream.heard)
            answer = self.pypid.get(path)
            self.assertEqual((answer.status, answer.body), (200, expected))
            usual = self.pypid.get(f"/packages/{project}/{name}")
            self.assertEqual(
                {n: v for n, v in answer.head if n != "Date"},
                {n: v for n, v in usual.head if n != "Date"},
            )
            part = self.pypid.ask("GET", path, ("Range", "bytes=-5"))
            self.assertEqual((part.status, part.body), (206, expected[-5:]))
            head = self.pypid.ask("HEAD", path)
            self.assertEqual((head.status, head["content-length"]), (200, str(len(expected))))
            self.assertEqual(self.upstream.heard, before)

    def test_metadata_that_is_not_stored(self) -> None:
        """Metadata that upstream would have, and that is not stored, is not promised here, and not
        fetched.
        """
        name = "eggs-1.0.tar.gz"
        described = metadata("eggs", metadata_version="2.4")
        self.upstream.has_beside(self.upstream.has("eggs", name, sdist("eggs")), described)
        self.keep(name)
        self.assertIn("core-metadata", self.pypid.file_on("eggs", name))
        self.assertNotIn("core-metadata", self.files("eggs")[name])
        self.missing(f"eggs/{name}.metadata")
        self.assertEqual(self.pypid.get(f"/packages/eggs/{name}.metadata").body, described)
        self.assertEqual(
            self.files("eggs")[name]["core-metadata"], {"sha256": sha256(described).hexdigest()}
        )
        self.assertEqual(self.local(f"eggs/{name}.metadata").body, described)


class RuleTests(LocalCase):
    """The rules of what may be shown hold here too."""

    def test_ours_hides_theirs(self) -> None:
        """A name that has become ours shows nothing of theirs, unless it may be blended."""
        self.keep()
        filename = sdist_filename("ham", "3.0")
        self.published(self.publish(filename, sdist("ham", "3.0"), user="ada"))
        self.assertEqual(self.names(), ["ham"])
        self.assertEqual(set(self.files("ham")), {filename})
        self.missing(f"ham/{HAM}")
        self.pypid = self.another(Policy(mode=Mode.CACHE, allow_mixed=("ham",)), at=self.pypid)
        self.assertEqual(self.names(), ["ham"])
        self.assertEqual(set(self.files("ham")), {HAM, filename})

    def test_hidden_names(self) -> None:
        """A name that is reserved, denied or not allowed is in no list and has no page, though
        files of it are kept.
        """
        self.keep()
        for rules in ({"reserved": ("ha*",)}, {"deny": ("ham",)}, {"allow": ("spam",)}):
            self.pypid = self.another(Policy(mode=Mode.CACHE, **rules), at=self.pypid)  # type: ignore[arg-type]
            self.assertEqual(self.names(), [])
            self.missing("ham/", f"ham/{HAM}", f"ham/{HAM}.metadata")

    def test_quarantined(self) -> None:
        """What is quarantined, by us or by them, is not listed and offers no files (C28)."""
        self.keep()
        filename, _ = self.have_wheel()
        self.assertEqual(
            self.pypid.api("PUT", "/api/projects/spam/status", {"status": "quarantined"}).status,
            200,
        )
        self.upstream.statuses["ham"] = Status.QUARANTINED
        self.have(self.pypid.index.listings.state(project_name("ham"), renewed=True))
        self.assertEqual(self.names(), [])
        self.missing("ham/", f"ham/{HAM}", f"spam/{filename}")
        self.assertEqual(self.files("spam"), {})

    def test_cooldown(self) -> None:
        """A file that was kept before it had to be older is hidden until it is."""
        self.keep()
        policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=3650)))
        self.pypid = self.another(policy, at=self.pypid)
        self.missing("ham/", f"ham/{HAM}")

    def test_not_known_yet(self) -> None:
        """Before the storage has been compared there is no list, in which a kept name would be
        missing; afterwards there is.
        """
        self.keep()
        begun = Pypid(
            Path(self.mktemp()), policy=CACHE, upstream=self.upstream, blobs=self.pypid.blobs
        )
        heard = self.have(self.pypid.catalog.upstream.get(project_name("ham")))
        self.have(begun.catalog.upstream.edit(project_name("ham"), lambda _: heard))
        self.pypid = begun
        answer = self.local()
        self.assertEqual(
            (answer.status, answer["retry-after"], answer["cache-control"]), (503, "5", "no-store")
        )
        self.assertEqual(
            set(self.files("ham")), {HAM}
        )  # this name was looked for in the storage itself
        self.have(begun.catalog.complete())
        self.assertEqual(self.names(), ["ham"])


class RightsTests(LocalCase):
    """Who may read what is stored."""

    rules = PRIVATE

    def test_may_not_fetch(self) -> None:
        """Who may not make us fetch has all that is stored, and what is not stored is 404, not a
        matter of rights.
        """
        rules = Rules(write=RULES.write, fetch=AUTHENTICATED)
        self.pypid = self.another(rules=rules)
        self.assertEqual(self.local("ham/").status, 404)
        self.keep()
        self.assertEqual(set(self.files("ham")), {HAM})
        self.assertEqual(self.local(f"ham/{HAM}").body, self.ham)
        self.assertEqual(self.local("nothing/").status, 404)
