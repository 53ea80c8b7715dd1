"""The form of a release's settings that promotes it to another index."""

from __future__ import annotations

from tests.web.api.test_promotion_requests import PromotedCase
from tests.web.full_app import Answer
from tests.web.ui.browsing import Browser

SETTINGS = "/staging/project/spam/-/settings?version=1.0"


class PromotingTests(PromotedCase):
    """alice may publish in staging, in the default index, and not in the index closed."""

    def setUp(self) -> None:
        super().setUp()
        for name, values in (
            ("closed", {"bases": "none", "read": "ada", "write": "ada"}),
            ("live", {"bases": "none", "write": "alice"}),
        ):
            made = self.pypid.api("POST", "/api/indexes", {"name": name, "values": values})
            self.assertEqual(made.status, 201, made.text)
        self.alice = self.browser("alice")

    def browser(self, user: str) -> Browser:
        browser = Browser(self.pypid)
        self.assertEqual(browser.log_in(user).status, 303)
        return browser

    def promote(self, target: str = "live", **fields: str) -> Answer:
        path = "/staging/project/spam/-/promote"
        return self.alice.post(path, version="1.0", target=target, back="1.0", **fields)

    def test_choice_of_indexes(self) -> None:
        """The indexes are offered in which the user may publish the project: not its own, and none
        that the user may not read.
        """
        page = self.alice.get(SETTINGS).text
        for name, is_offered in (("default", 1), ("live", 1), ("closed", 0), ("staging", 0)):
            self.assertEqual(page.count(f"<option>{name}</option>"), is_offered, name)
        self.assertIn("<option>closed</option>", self.browser("ada").get(SETTINGS).text)

    def test_release_is_promoted(self) -> None:
        """The browser goes back to the release, and the other index lists it."""
        answer = self.promote()
        self.assertEqual(answer.status, 303, answer.text)
        self.assertIn("settings", answer["location"] or "")
        self.assertTrue(self.is_listed("/live"))
        self.assertTrue(self.is_listed("/staging"))
        self.assertFalse(self.is_listed())
        found = self.pypid.api("GET", "/api/audit?action=promote").json["entries"]
        self.assertEqual([each["subject"] for each in found], ["live"])

    def test_refusals(self) -> None:
        """The form is shown again with the reason; an index that the user may not use is refused
        whether it exists or not.
        """
        path = f"/staging/api/projects/spam/files/{self.filename}/yank"
        self.assertEqual(self.pypid.api("PUT", path, {"reason": ""}).status, 200)
        refused = self.promote("default", move="yes")
        self.assertEqual(refused.status, 409)
        self.assertIn("it is yanked in the source index", refused.text)
        self.assertIn("<option selected>default</option>", refused.text)
        self.assertIn('value="yes" checked> Delete the files', refused.text)
        self.assertEqual(self.promote("closed").status, 403)
        self.assertEqual(self.promote("staging").status, 400)
        self.assertFalse(self.is_listed())

    def test_list(self) -> None:
        """The pages of the indexes list the newest promotions: of all indexes, or into one."""
        ada = self.browser("ada")
        self.assertIn("No release was promoted yet", ada.get("/manage/indexes").text)
        self.promote()
        self.promote("default")
        page = ada.get("/manage/indexes").text
        for target in "live", "default":
            row = ("spam==1.0", "staging", target, "alice")
            self.assertRegex(page, r"\s*".join(f"<td>{each}</td>" for each in row))
        self.assertEqual(page.count(">done</span>"), 2)
        self.assertEqual(ada.get("/manage/indexes/live").text.count("<td>spam==1.0</td>"), 1)
        self.assertIn("promoted to this index yet", ada.get("/manage/indexes/staging").text)
        self.assertEqual(self.alice.get("/manage/indexes").status, 403)
