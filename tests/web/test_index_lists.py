"""The lists of named indexes over HTTP: nothing in them that their reader may not read in the index
that has it.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock

from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings
from pypid.core.permissions import Grants, Principals, Visibility
from pypid.core.policy import Policy
from pypid.core.simple_api.render import Format
from pypid.web.app.page_cache import ProjectPages
from tests.distributions import metadata, wheel, wheel_filename
from tests.index.nodes import Told
from tests.web.full_app import RULES, J, Pypid, WholeCase

ALICE = Principals.parse("alice")


class IndexListTests(WholeCase):
    """A pypid with the index `base`, where alice alone may read, the index `team`, which everyone
    may read and which has `base` and the default index as bases, and `lab` above `team`.
    """

    def setUp(self) -> None:
        super().setUp()
        base = IndexSettings(name="base", bases=(), read=ALICE, write=ALICE)
        team = IndexSettings(name="team", bases=("base", "default"), deny=("denied",))
        lab = IndexSettings(name="lab", bases=("team",))
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=(base, team, lab),
            policy=Policy(mode=Mode.CACHE),
            upstream=Told(Clock()),
        )
        for index, name in (("/base", "secret"), ("/team", "ours"), ("", "shared"), ("", "denied")):
            self.put(index, name)

    def put(self, index: str, name: str) -> None:
        """Publish a project in the index."""
        answer = self.publish(wheel_filename(name), wheel(name), target=f"{index}/legacy/")
        self.published(answer)

    def simple(self, index: str, user: str | None, path: str = "/simple/") -> list[str]:
        """The names on the page with the list of projects."""
        answer = self.pypid.get(f"{index}{path}", J, user=user)
        return [each["name"] for each in answer.json["projects"]]

    def test_lists_follow_the_rights_of_a_base(self) -> None:
        """A right that is given or taken in a layer counts at once."""
        self.assertEqual(self.simple("/lab", "bob"), ["ours", "shared"])
        settings = self.pypid.indexes.settings
        base = evolve(settings["base"], read=None)
        self.pypid.configure(base, settings["team"], settings["lab"])
        self.assertEqual(self.simple("/lab", "bob"), ["ours", "secret", "shared"])
        grants = {"shared": Grants(read=ALICE, write=ALICE), "secret": Grants(ALICE, ALICE)}
        self.pypid.app.rules = evolve(RULES, projects=grants)
        self.assertEqual(self.simple("/lab", "bob"), ["ours"])
        self.assertEqual(self.simple("/lab", "alice"), ["ours", "secret", "shared"])

    def test_a_hidden_project_hides_those_of_later_bases(self) -> None:
        """A project that a reader may not read in a layer is in no list of theirs, though a later
        base has one of its name that they may read: as on the page.
        """
        self.put("", "secret")
        self.assertEqual(self.simple("", "bob"), ["denied", "secret", "shared"])
        self.assertEqual(self.simple("/team", "bob"), ["ours", "shared"])
        self.assertEqual(self.pypid.get("/team/simple/secret/", J, user="bob").status, 404)

    def test_a_list_is_made_again_for_a_project_that_is_new_in_it(self) -> None:
        """A project that is published in a base between the decision what a reader may see and the
        list is not in it.
        """
        names, late = ProjectPages.names, ["later"]

        async def page(pages: ProjectPages, format: Format, by: Visibility) -> object:
            while late:
                self.put("/base", late.pop())
            return await names(pages, format, by)

        self.patch(ProjectPages, "names", page)
        self.assertEqual(self.simple("/team", "bob"), ["ours", "shared"])
        self.assertEqual(late, [])
        self.assertIn("later", self.simple("/team", "alice"))

    def test_search_finds_own_projects(self) -> None:
        """A search finds the projects of the index that the user may read, by name and by the words
        of their metadata, and none of a base.
        """
        self.describe("/base", "secret", "a hidden spice")
        self.describe("/team", "ours", "team spice")
        self.describe("", "ours", "another spice")
        self.describe("", "shared", "common spice")
        for user in ("alice", "bob", None):
            self.assertEqual(self.found("/team", user, "spice"), ["ours"])
            self.assertEqual(self.found("/team", user, "another"), [])
            self.assertEqual(self.found("/lab", user, "spice"), [])
            self.assertEqual(self.found("", user, "spice"), ["ours", "shared"])
        self.assertEqual(self.found("/base", "alice", "spice"), ["secret"])
        self.assertEqual(self.pypid.get("/base/api/search?q=spice", user="bob").status, 403)

    def test_feeds_have_own_projects(self) -> None:
        """The feeds and the news of an index have the releases of its own projects; the feed of one
        project exists as far as the user may read its page.
        """
        for path in ("/rss/updates.xml", "/rss/packages.xml", "/api/news", "/"):
            for user in ("alice", None):
                text = self.pypid.get(f"/team{path}", "text/html", user=user).text
                self.assertIn("ours", text)
                for name in ("secret", "shared", "denied"):
                    self.assertNotIn(name, text, (user, path))
            self.assertIn("secret", self.pypid.get(f"/base{path}", "text/html", user="alice").text)
        for user, status in (("alice", 200), ("bob", 404), (None, 404)):
            of_project = self.pypid.get("/team/rss/project/secret/releases.xml", user=user)
            self.assertEqual(of_project.status, status)

    def describe(self, index: str, name: str, summary: str) -> None:
        """Publish a release with a summary."""
        data = wheel(name, "1.1", metadata_bytes=metadata(name, "1.1", summary=summary))
        answer = self.publish(wheel_filename(name, "1.1"), data, target=f"{index}/legacy/")
        self.published(answer)

    def found(self, index: str, user: str | None, words: str) -> list[str]:
        """The names that a search finds, and the site's page of it too."""
        found = self.pypid.get(f"{index}/api/search?q={words}", user=user).json
        names = sorted(each["name"] for each in found["found"])
        self.assertEqual(found["total"], len(names))
        return names


class PrivateNameTests(WholeCase):
    """Lists of the default index, beside a named one."""

    def test_a_cached_project_leaves_the_lists_when_its_name_becomes_private(self) -> None:
        """After a user published the name of a cached project in a named index, no list and no
        search of the default index has it, also for a client that gets the list again and again.
        """
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=(),
            policy=Policy(mode=Mode.CACHE),
            upstream=Told(Clock()),
        )
        self.assertEqual(self.pypid.api("POST", "/api/indexes", {"name": "lab"}).status, 201)
        page = self.pypid.get("/simple/numpy/", J).json
        filename = page["files"][0]["filename"]
        self.assertEqual(self.pypid.get(f"/packages/numpy/{filename}").status, 200)
        places = ("/simple/", "/local/", "/api/search?q=numpy")
        for _ in range(3):
            for place in places:
                self.assertIn("numpy", self.pypid.get(place, J).text, place)
        grants = {"numpy": Grants(read=ALICE, write=ALICE)}
        self.pypid.app.rules = evolve(RULES, projects=grants)
        filename = wheel_filename("numpy")
        self.published(self.publish(filename, wheel("numpy"), target="/lab/legacy/"))
        self.pypid.app.rules = RULES
        for _ in range(3):
            for place in places:
                self.assertNotIn("numpy", self.pypid.get(place, J).text, place)
            self.assertEqual(self.pypid.get("/simple/numpy/", J).status, 404)
        self.assertIn("numpy", self.pypid.get("/lab/local/", J).text)
