"""Releases that rules withhold, as readers see them: with a mark and the reason, and without a file."""

from __future__ import annotations

from html import unescape
from pathlib import Path

from pypid.core.configuration.choices import Mode
from pypid.core.policy import Policy
from tests.distributions import wheel, wheel_filename
from tests.web.api.test_indexes import IndexesCase
from tests.web.full_app import J, Pypid
from tests.web.ui.administered import AS_PAGE, NASTY, AdministeredCase


class WithheldTests(AdministeredCase):
    """An administrator blocks releases; bob, who may read only, and visitors look for them."""

    def setUp(self) -> None:
        self.policy = Policy(mode=Mode.CACHE)  # with rules of its own
        super().setUp()

    def block(self, spec: str, reason: str = "steals tokens") -> str:
        """Block what is named; return the id."""
        answer = self.pypid.api("POST", "/api/blocks", {"spec": spec, "reason": reason})
        self.assertEqual(answer.status, 200, answer)
        id: str = answer.json["id"]
        return id

    def seen(self, path: str, filename: str = wheel_filename("spam")) -> list[str]:
        """What each user sees; no page has the file."""
        pages = []
        for user in ("ada", "bob", None):
            answer = self.look(path, user)
            self.assertEqual(answer.status, 200, (path, user))
            self.assertNotIn(filename, answer.text)
            pages.append(unescape(answer.text))
        return pages

    def test_version(self) -> None:
        """A blocked version is in the tables, and has a page, in any spelling; the block ends, and
        so does the mark.
        """
        self.have_wheel("spam", "2.0")
        id = self.block("spam==1.0", NASTY)
        for path in ("/project/spam/", "/project/spam/-/versions"):
            for page in self.seen(path):
                row = page.partition('/spam/1.0/"')[2].partition("</tr>")[0]
                self.assertIn('<span class="badge bad">blocked</span>', row)
                self.assertIn(NASTY, row)
        self.assertNotIn("<script>alert", self.look("/project/spam/").text)
        for spelling in ("1.0", "1.0.0", "v1"):
            for page in self.seen(f"/project/spam/{spelling}/"):
                self.assertIn("This release is blocked:</strong> " + NASTY, page)
                self.assertIn('href="../../../project/spam/-/why"', page)
                self.assertIn('href="../../../project/spam/">2.0</a>', page)
        self.assertEqual(self.look("/project/spam/3.0/").status, 404)
        path = f"/packages/spam/{wheel_filename('spam')}"
        self.assertEqual(self.pypid.get(path, user="ada").status, 403)
        self.assertEqual(len(self.pypid.get("/simple/spam/", J).json["files"]), 1)
        self.assertIn("blocked", self.page("/project/spam/-/settings?version=1.0"))
        self.pypid.api("DELETE", f"/api/blocks/{id}")
        self.assertNotIn("blocked", self.page("/project/spam/-/versions"))
        self.assertNotIn("-/why", self.look("/project/spam/", None).text)

    def test_quarantined(self) -> None:
        """The versions of a local project in quarantine are on its page, and its files in the answer
        of the API and on the page of reasons, marked as hidden; installers have none.
        """
        status = {"status": "quarantined", "reason": "looks odd"}
        self.assertEqual(self.pypid.api("PUT", "/api/projects/spam/status", status).status, 200)
        for page in self.seen("/project/spam/"):
            row = page.partition('/spam/1.0/"')[2].partition("</tr>")[0]
            self.assertIn('<span class="badge bad">quarantined</span>', row)
        for page in self.seen("/project/spam/1.0/"):
            self.assertIn("This release is quarantined:</strong> looks odd", page)
        self.assertIn(wheel_filename("spam"), self.look("/project/spam/-/why").text)
        document = self.pypid.api("GET", "/api/projects/spam").json
        because = "it is quarantined: looks odd"
        hidden = {"filename": wheel_filename("spam"), "version": "1.0", "because": because}
        self.assertEqual((document["files"], document["hidden"]), ([], [hidden]))
        reader = self.pypid.api("GET", "/api/projects/spam", user="bob").json
        self.assertEqual((reader["files"], reader["hidden"]), ([], []))
        self.assertEqual(self.pypid.get("/simple/spam/", J).json["files"], [])


class WithheldInIndexTests(IndexesCase):
    """Named indexes, which block versions of their bases."""

    def test_block_of_the_index(self) -> None:
        """A version that an index blocks is marked there, in indexes above it, and not below it;
        projects of a base that the user may not read are not there.
        """
        self.pypid = Pypid(Path(self.mktemp()), indexes=())
        self.have_index("secret", bases="none", read="alice", write="alice")
        self.have_index("base", bases="none", write="alice")
        self.have_index("strict", bases="base secret", block="spam==1.0 hush==1.0")
        self.have_index("above", bases="strict")
        for index, name in (("base", "spam"), ("base", "eggs"), ("secret", "hush")):
            for version in ("1.0", "2.0"):
                data, target = wheel(name, version), f"/{index}/legacy/"
                filename = wheel_filename(name, version)
                self.published(self.publish(filename, data, target=target, user="alice"))
        for index, marked in (("strict", True), ("above", True), ("base", False)):
            for path in ("", "-/versions"):
                page = self.pypid.get(f"/{index}/project/spam/{path}", AS_PAGE, user="bob")
                self.assertEqual("badge bad" in page.text, marked, (index, path))
            page = self.pypid.get(f"/{index}/project/spam/1.0/", AS_PAGE, user="bob")
            self.assertEqual(page.status, 200)
            self.assertEqual("the index strict" in page.text, marked)
            page = self.pypid.get(f"/{index}/project/eggs/", AS_PAGE, user="bob")
            self.assertNotIn("badge bad", page.text)
        for path in ("", "1.0/", "-/versions"):
            answer = self.pypid.get(f"/strict/project/hush/{path}", AS_PAGE, user="bob")
            self.assertEqual(answer.status, 404, path)
        answer = self.pypid.get("/strict/project/hush/1.0/", AS_PAGE, user="alice")
        self.assertIn("the index strict", answer.text)
