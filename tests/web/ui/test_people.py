"""The administration of people: users, groups, rights, tokens and the audit log."""

from __future__ import annotations

import re

from attrs import evolve

from pypid.core.accounts.rights import Right, Whom
from pypid.core.configuration.choices import Owners
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED
from pypid.web.app.app import Configured
from tests.web.app_with_accounts import have
from tests.web.full_app import RULES, basic
from tests.web.ui.browsing import HOSTILE, BrowsedCase

MADE = re.compile(r"<code>([A-Za-z0-9_=-]{24,})</code>")


class AdminCase(BrowsedCase):
    """Ada administers; zoe has an account, and is in devs; the configuration has ops."""

    configured = Configured(
        groups=frozenset({"ops"}),
        members={"ops": frozenset({"bob"})},
        rights=(Right(project_name("eggs"), Whom.GROUP, "ops", True),),
    )

    def setUp(self) -> None:
        super().setUp()
        self.have_account("zoe")
        have(self.peopled.accounts.add_group("devs"))
        have(self.peopled.accounts.join("devs", "zoe"))
        self.browser = self.as_user("ada")


class UserTests(AdminCase):
    """Users."""

    def test_new(self) -> None:
        """A password that pypid makes is shown once, and holds; one that was typed is shown
        nowhere.
        """
        answer = self.browser.post("/manage/users", name="eve", password="")
        self.assertEqual((answer.status, answer["cache-control"]), (201, "private, no-store"))
        [password] = MADE.findall(answer.text)
        self.as_user("eve", password)
        self.assertNotIn(password, self.browser.get("/manage/users/eve").text)
        self.went(
            self.browser.post("/manage/users", name="max", password="my-own-one", admin="yes"),
            "../manage/users/max?done=user-added",
        )
        self.assertEqual(
            self.done(), [("ada", "user create", "eve"), ("ada", "user create", "max")]
        )
        self.never_told(password, "my-own-one")
        for name, status in (("zoe", 409), ("bob", 409), ("a:b", 400), ("", 400), ("<i>a/b", 400)):
            answer = self.browser.post("/manage/users", name=name, password="my-own-one")
            self.said_wrong(answer, status)
            self.assertNotIn("my-own-one", answer.text)
            self.assertNotIn("<i>", answer.text)

    def test_password(self) -> None:
        """A new password, made or typed; the sessions end."""
        zoe = self.as_user("zoe", "zoe's")
        answer = self.browser.post("/manage/users/zoe", do="set-password", password="")
        [password] = MADE.findall(answer.text)
        self.assertEqual(answer["cache-control"], "private, no-store")
        self.assertEqual(zoe.get("/account/").status, 303)
        self.as_user("zoe", password)
        typed = self.browser.post("/manage/users/zoe", do="set-password", password="typed-one")
        self.went(typed, "../../manage/users/zoe?done=password-set")
        self.as_user("zoe", "typed-one")
        self.never_told(password, "typed-one")

    def test_remove(self) -> None:
        """Whoever removes an account has to type its name."""
        for confirm in ("", "Zoe", "bob"):
            self.said_wrong(
                self.browser.post("/manage/users/zoe", do="remove", confirm=confirm),
                400,
                "type zoe",
            )
        self.said_wrong(self.browser.post("/manage/users/zoe", do="remove", waiting="yes"), 400)
        self.went(
            self.browser.post("/manage/users/zoe", do="remove", confirm="zoe"),
            "../../manage/users?done=user-removed",
        )
        self.assertIsNone(self.standing("zoe"))


class OwnerTests(AdminCase):
    """The owner of a project on its pages."""

    rules = evolve(RULES, write=AUTHENTICATED, ownership=Owners.UPLOADER)

    def setUp(self) -> None:
        super().setUp()
        self.have_wheel("spam")  # by alice
        self.zoe = self.as_user("zoe", "zoe's")

    def test_shown(self) -> None:
        """The project page names the owner, and leads the owner to the rights; nobody else."""
        page = self.zoe.get("/project/spam/").text
        self.assertIn("<dt>Owner</dt>\n<dd>alice</dd>", page)
        self.assertNotIn("-/rights", page)
        self.assertIn("-/rights", self.as_user("alice").get("/project/spam/").text)


class RightTests(AdminCase):
    """Rights."""

    def test_typo_changes_nothing(self) -> None:
        """A name that does not exist is granted a right by a second button only."""
        page, second = "/project/spam/-/rights", 'value="grant-new"'
        self.published(self.publish(*self.have_wheel("spam")))
        self.assertNotIn(second, self.browser.get(page).text)
        words = {"kind": "group", "name": "dvs", "right": "rw"}
        refused = self.browser.post(page, **words, do="grant")
        self.said_wrong(refused, 400, "did you mean &#39;devs&#39;?")
        self.assertIn(second, refused.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 200)
        granted = self.browser.post(page, **words, do="grant-new")
        self.assertIn("This is the first right of spam", granted.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 403)


class HostileTests(AdminCase):
    """Names that nobody can take here, but that a configuration may have."""

    configured = Configured(
        users=frozenset({HOSTILE}),
        groups=frozenset({HOSTILE}),
        members={HOSTILE: frozenset({HOSTILE})},
        rights=(Right(project_name("eggs"), Whom.USER, HOSTILE),),
    )

    def test_escaped(self) -> None:
        """They are texts on every page."""
        have(self.peopled.accounts.join("devs", HOSTILE))
        for path in (
            "/manage/users",
            "/manage/groups",
            "/manage/groups/devs",
            "/manage/rights",
            "/project/eggs/-/rights",
        ):
            page = self.browser.get(path)
            self.assertEqual(page.status, 200)
            self.assertNotIn("<svg", page.text, path)
            self.assertIn("&#34;&#39;&lt;svg/onload&gt;&amp;amp", page.text, path)
            self.assertNotIn("%3Csvg%2F", page.text, path)
