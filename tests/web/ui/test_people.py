"""The administration of people: users, groups, rights, tokens and the audit log."""

from __future__ import annotations

import re

from attrs import evolve

from pypid.core.accounts.entries import AccountStatus
from pypid.core.accounts.rights import Right, Whom
from pypid.core.configuration.choices import Owners
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, Rules
from pypid.web.app.registry import Configured
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import have
from tests.web.full_app import RULES, basic
from tests.web.ui.browsing import HOSTILE, BrowsedCase

PAGES = (
    "/manage/users",
    "/manage/users/bob",
    "/manage/users/zoe",
    "/manage/groups",
    "/manage/groups/devs",
    "/manage/groups/ops",
    "/manage/rights",
    "/manage/tokens",
    "/manage/audit",
    "/project/spam/-/rights",
)
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


class DoorTests(AdminCase):
    """Who may come in."""

    rules = Rules(read=AUTHENTICATED, write=RULES.write)

    def test_nothing_there(self) -> None:
        """What is not there is 404, for administrators."""
        for path in ("/manage/users/nobody", "/manage/groups/none", "/project/-/-/rights"):
            self.assertEqual(self.browser.get(path).status, 404, path)
        self.assertEqual(
            self.browser.post("/manage/users/nobody/change", status="disabled").status, 404
        )
        self.assertEqual(self.browser.post("/manage/groups/none/join", user="bob").status, 404)
        self.assertEqual(self.browser.post("/manage/tokens/revoke", id="x").status, 404)


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

    def test_list(self) -> None:
        """A hundred on a page, found by a part of the name; those of the configuration are among
        them.
        """
        for n in range(120):
            self.have_account(f"user{n:03}")
        page = self.browser.get("/manage/users").text
        self.assertEqual(page.count("<tr>"), 101)
        self.assertIn("124 users", page)
        self.assertIn("user119", self.browser.get("/manage/users?page=2").text)
        found = self.browser.get("/manage/users?q=USER11&page=7").text
        self.assertEqual(found.count("<tr>"), 11)
        self.assertIn("No users with", self.browser.get("/manage/users?q=%3Cnone%3E").text)

    def test_change(self) -> None:
        """Disabled, enabled, made an administrator and no longer; the sessions of who is disabled
        end.
        """
        zoe = self.as_user("zoe", "zoe's")
        there = "../../../manage/users/zoe?done=user-changed"
        self.went(self.browser.post("/manage/users/zoe/change", status="disabled"), there)
        self.assertEqual(zoe.get("/account/").status, 303)
        for said in ({"status": "active"}, {"admin": "yes"}, {"admin": "no"}):
            self.went(self.browser.post("/manage/users/zoe/change", **said), there)
        for said in ({}, {"status": "pending"}, {"status": "<b>"}):
            self.said_wrong(self.browser.post("/manage/users/zoe/change", **said), 400)
        self.assertEqual(
            [what for _, what, _ in self.done()],
            ["user disable", "user enable", "user set-admin", "user set-admin"],
        )

    def test_password(self) -> None:
        """A new password, made or typed; the sessions end."""
        zoe = self.as_user("zoe", "zoe's")
        answer = self.browser.post("/manage/users/zoe/password", password="")
        [password] = MADE.findall(answer.text)
        self.assertEqual(answer["cache-control"], "private, no-store")
        self.assertEqual(zoe.get("/account/").status, 303)
        self.as_user("zoe", password)
        typed = self.browser.post("/manage/users/zoe/password", password="typed-one")
        self.went(typed, "../../../manage/users/zoe?done=password-set")
        self.as_user("zoe", "typed-one")
        self.never_told(password, "typed-one")

    def test_remove(self) -> None:
        """Whoever removes an account has to type its name."""
        for confirm in ("", "Zoe", "bob"):
            self.said_wrong(
                self.browser.post("/manage/users/zoe/remove", confirm=confirm), 400, "type zoe"
            )
        self.said_wrong(self.browser.post("/manage/users/zoe/remove", waiting="yes"), 400)
        self.went(
            self.browser.post("/manage/users/zoe/remove", confirm="zoe"),
            "../../../manage/users?done=user-removed",
        )
        self.assertIsNone(self.standing("zoe"))

    def test_pending(self) -> None:
        """Who waits stands at the top, is let in, or refused without typing anything."""
        for name in ("max", "eve"):
            self.have_account(name, status=AccountStatus.PENDING)
        self.assertIn("2 registrations wait", self.browser.get("/manage/users").text)
        approved = self.browser.post("/manage/users/max/change", status="active", waiting="yes")
        self.went(approved, "../../../manage/users?done=user-approved")
        self.went(
            self.browser.post("/manage/users/eve/remove", waiting="yes"),
            "../../../manage/users?done=user-refused",
        )
        self.assertEqual((self.standing("max"), self.standing("eve")), (AccountStatus.ACTIVE, None))
        self.assertEqual(
            self.done(), [("ada", "user enable", "max"), ("ada", "user delete", "eve")]
        )

    def test_elsewhere(self) -> None:
        """Who stands in the configuration is shown, with where that is changed,
        and without forms.
        """
        page = self.browser.get("/manage/users/bob").text
        self.assertIn("[users] of the configuration", page)
        self.assertNotIn("/users/bob/", page.replace('href="../../manage/users/bob"', ""))
        for path, said in (
            ("change", {"status": "disabled"}),
            ("password", {}),
            ("remove", {"confirm": "bob"}),
        ):
            self.said_wrong(
                self.browser.post(f"/manage/users/bob/{path}", **said),
                409,
                "cannot be changed here",
            )
        self.assertEqual(self.done(), [])


class GroupTests(AdminCase):
    """Groups."""

    def test_life(self) -> None:
        """Made, joined, left, removed."""
        self.went(
            self.browser.post("/manage/groups", name="cooks"),
            "../manage/groups/cooks?done=group-added",
        )
        there = "../../../manage/groups/cooks?done="
        self.went(self.browser.post("/manage/groups/cooks/join", user="zoe"), there + "joined")
        self.assertIn("zoe", self.browser.get("/manage/groups/cooks").text)
        path = "/manage/groups/cooks/join"
        self.assertNotIn("add-new", self.browser.get("/manage/groups/cooks").text)
        for user, text in (("<b>typo</b>", "is it spelled right?"), ("zoo", "did you mean 'zoe'?")):
            unknown = self.browser.post(path, user=user)
            self.said_wrong(unknown, 400, text.replace("'", "&#39;"))
            self.assertNotIn("<b>typo", unknown.text)
            self.assertIn('value="add-new"', unknown.text)
        self.went(self.browser.post(path, user="later", do="add-new"), there + "joined")
        self.said_wrong(
            self.browser.post("/manage/groups/cooks/leave", user="zoo"), 400, "not a member"
        )
        self.went(self.browser.post("/manage/groups/cooks/leave", user="zoe"), there + "left")
        self.said_wrong(
            self.browser.post("/manage/groups/cooks/join", user="a b"), 400, 'value="a b"'
        )
        self.said_wrong(
            self.browser.post("/manage/groups/cooks/remove", confirm="cook"), 400, "type cooks"
        )
        removed = self.browser.post("/manage/groups/cooks/remove", confirm="cooks")
        self.went(removed, "../../../manage/groups?done=group-removed")
        whats = [what for _, what, _ in self.done()]
        self.assertEqual(
            whats,
            [
                "group create",
                "group add-user",
                "group add-user",
                "group remove-user",
                "group delete",
            ],
        )
        for name, status in (("devs", 409), ("ops", 409), ("a:b", 400)):
            self.said_wrong(self.browser.post("/manage/groups", name=name), status)

    def test_elsewhere(self) -> None:
        """A group of the configuration is shown with its members and rights, without forms."""
        page = self.browser.get("/manage/groups/ops").text
        for words in ("[groups] of the configuration", "bob", "eggs"):
            self.assertIn(words, page)
        self.assertNotIn("/groups/ops/", page)
        self.said_wrong(
            self.browser.post("/manage/groups/ops/join", user="zoe"), 409, "cannot be changed here"
        )


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

    def test_owner_manages_rights(self) -> None:
        """The owner sees and changes the rights of the project: not those of others, not for
        everyone, and without learning which users and groups exist.
        """
        alice = self.as_user("alice")
        page = alice.get("/project/spam/-/rights").text
        self.assertIn("alice, since ", page)
        for hidden in (
            "zoe",
            "devs",
            "manage/rights",
            "manage/audit",
            "New owner",
            "everyone</opt",
        ):
            self.assertNotIn(hidden, page)
        self.assertEqual(alice.get("/project/eggs/-/rights").status, 403)
        self.assertEqual(self.zoe.get("/project/spam/-/rights").status, 403)
        words = {"kind": "user", "name": "zoe", "right": "rw"}
        self.assertEqual(self.zoe.post("/project/spam/-/rights", **words).status, 403)
        for name in ("zoe", "missing"):
            answer = alice.post("/project/spam/-/rights", **{**words, "name": name})
            self.assertNotIn("No user can log in", answer.text)
        self.said_wrong(
            alice.post("/project/spam/-/rights", kind="everyone", right="r"), 400, "Only administr"
        )
        self.published(
            self.publish(
                wheel_filename("spam", "2.0"),
                wheel("spam", "2.0"),
                user=None,
                headers=(basic("zoe", "zoe's"),),
            )
        )
        self.assertIn(("alice", "right grant", "spam"), self.done())

    def test_set(self) -> None:
        """An administrator hands a project to another owner, or to none; the owner may not."""
        there = "/project/spam/-/rights/owner"
        self.assertEqual(self.as_user("alice").post(there, user="zoe").status, 403)
        self.said_wrong(self.browser.post(there, user="missing"), 400, "No user can log in")
        went = "../../../../project/spam/-/rights?done=owner-set"
        self.assertIn("<dd>alice</dd>", self.pypid.get("/project/spam/").text)
        self.went(self.browser.post(there, user="zoe"), went)
        self.assertIn("<dd>zoe</dd>", self.pypid.get("/project/spam/").text)
        self.assertEqual(self.zoe.get("/project/spam/-/rights").status, 200)
        self.assertEqual(self.as_user("alice").get("/project/spam/-/rights").status, 403)
        self.went(self.browser.post(there, user=""), went)
        self.assertNotIn("<dt>Owner</dt>", self.zoe.get("/project/spam/").text)
        self.assertEqual(self.done().count(("ada", "project set-owner", "spam")), 2)


class RightTests(AdminCase):
    """Rights."""

    def test_one_gains(self) -> None:
        """The first right takes the project out of the defaults, which is said before and after;
        who was given it gains.
        """
        self.published(self.publish(*self.have_wheel("spam")))
        zoe = self.as_user("zoe", "zoe's")
        page = self.browser.get("/project/spam/-/rights").text
        self.assertIn('href="../../../project/spam/"', page)
        self.assertIn("everyone", page)
        self.assertIn("the defaults no longer apply", page)
        answer = self.browser.post(
            "/project/spam/-/rights", kind="group", name="devs", right="rw", do="grant"
        )
        self.assertEqual(answer.status, 200)
        for words in ("This is the first right of spam", ">devs<", "read and write"):
            self.assertIn(words, answer.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 403)
        self.assertEqual(zoe.get("/simple/spam/").status, 200)
        there = "../../../project/spam/-/rights?done="
        given = self.browser.post(
            "/project/spam/-/rights", kind="authenticated", name="ignored", right="r"
        )
        self.went(given, there + "right-given")
        taken = self.browser.post("/project/spam/-/rights", kind="authenticated", do="withdraw")
        self.went(taken, there + "right-taken")
        last = self.browser.post("/project/spam/-/rights", kind="group", name="devs", do="withdraw")
        self.assertIn("That was the last right of spam", last.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 403)
        opening = {"kind": "admins", "do": "withdraw"}
        opened = self.browser.post("/project/spam/-/rights", **opening)
        self.said_wrong(opened, 400, "without this right the defaults apply")
        self.assertIn("the project can be read by", opened.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 403)
        opened = self.browser.post("/project/spam/-/rights", **opening, last="yes")
        self.assertIn("apply to it from now on", opened.text)
        self.assertEqual(self.pypid.get("/simple/spam/", None, basic("bob")).status, 200)
        whats = [deed for deed in self.done() if deed[0] == "ada"]
        self.assertEqual(
            [what for _, what, _ in whats],
            ["right grant", "right grant", "right revoke", "right revoke", "right revoke"],
        )

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

    def test_mistakes(self) -> None:
        """What is wrong is said, and what was typed stays."""
        for said, status, words in (
            ({"kind": "user", "name": "", "right": "r"}, 400, "Enter the name of the user"),
            ({"kind": "user", "name": "a:<b>", "right": "r"}, 400, "a:&lt;b&gt;"),
            ({"kind": "moon", "name": "x", "right": "r"}, 400, "one of"),
            ({"kind": "user", "name": "zoe", "right": "rwx"}, 400, "read and write"),
            ({}, 400, "one of"),
        ):
            answer = self.browser.post("/project/spam/-/rights", **said)
            self.said_wrong(answer, status, words)
            self.assertNotIn("<b>", answer.text)
        self.assertEqual(self.done(), [])
        fixed = self.browser.post("/project/eggs/-/rights", kind="group", name="ops", do="withdraw")
        self.said_wrong(fixed, 409, "[projects]")
        page = self.browser.get("/project/Eggs/-/rights").text
        self.assertIn("set in [projects]", page)
        self.assertIn("No project of this name is published", page)
        self.assertNotIn('href="../../../project/eggs/"', page)

    def test_globs(self) -> None:
        """A glob has a page like a project: it is found by its name, rights are granted and removed
        there, and they apply to the projects that match it.
        """
        self.have_wheel("acme-data-core")
        zoe = self.as_user("zoe", "zoe's")
        there = "../manage/rights/acme-data-%2A"
        self.went(self.browser.get("/manage/rights?project=Acme_Data-*"), there)
        self.went(self.browser.get("/manage/rights?project=Spam"), "../project/spam/-/rights")
        self.said_wrong(self.browser.get("/manage/rights?project=*"), 400, "has a letter")
        page = self.browser.get("/manage/rights/acme-data-%2A").text
        for words in ("It has no rights yet", "apply to projects that match it"):
            self.assertIn(words, page)
        self.assertNotIn("No project of this name", page)
        words = {"kind": "group", "name": "devs", "right": "rw"}
        given = self.browser.post("/manage/rights/acme-data-%2A", **words)
        self.assertIn("This is the first right of acme-data-*", given.text)
        self.assertEqual(zoe.get("/simple/acme-data-core/").status, 200)
        self.assertEqual(self.pypid.get("/simple/acme-data-core/", None, basic("bob")).status, 403)
        page = self.browser.get("/project/acme-data-core/-/rights").text
        self.assertIn("The rights on acme-data-* apply", page)
        self.assertIn(
            'href="../manage/rights/acme-data-%2A"', self.browser.get("/manage/rights").text
        )
        for whom in ({"kind": "group", "name": "devs"}, {"kind": "admins"}):
            gone = {**whom, "do": "withdraw", "last": "yes"}
            self.assertEqual(self.browser.post("/manage/rights/acme-data-%2A", **gone).status, 200)
        self.assertEqual(list(have(self.peopled.accounts.rights())), [])
        self.assertEqual(zoe.get("/manage/rights/acme-data-%2A").status, 403)
        self.assertEqual(zoe.post("/manage/rights/acme-data-%2A", **words).status, 403)

    def test_all(self) -> None:
        """All of them, by project, narrowed by a part of any name; and the defaults in words."""
        have(self.peopled.accounts.grant(Right(project_name("spam"), Whom.USER, "zoe")))
        page = self.browser.get("/manage/rights").text
        for words in ("spam", "eggs", "user alice", "administrators only"):
            self.assertIn(words, page)
        self.assertNotIn("eggs", self.browser.get("/manage/rights?q=Zoe").text)


class TokenTests(AdminCase):
    """Everybody's tokens."""

    def test_revoke(self) -> None:
        """Found by user, name or id, and revoked by an administrator, under the administrator's
        name.
        """
        zoe = self.as_user("zoe", "zoe's")
        said = {"name": "lap<b>top", "actions": "read", "expires": "never"}
        self.assertEqual(zoe.post("/account/tokens", **said).status, 201)
        [token] = have(self.peopled.accounts.tokens())
        for path in (
            "/manage/tokens",
            f"/manage/tokens?q={token.id}",
            "/manage/tokens?q=ZOE",
            "/manage/users/zoe",
        ):
            page = self.browser.get(path).text
            self.assertIn(token.id, page)
            self.assertNotIn("<b>top", page)
        self.went(
            self.browser.post("/manage/tokens/revoke", id=token.id),
            "../../manage/tokens?done=token-revoked",
        )
        self.assertNotIn(token.id, self.browser.get("/manage/tokens").text)
        self.assertIn(token.id, self.browser.get("/manage/tokens?state=all").text)
        self.assertEqual(self.done()[-1], ("ada", "token delete", token.id))


class AuditTests(AdminCase):
    """The audit log."""

    def test_pages(self) -> None:
        """The newest first, a hundred on a page, narrowed by who, what and to what."""
        for n in range(105):
            self.browser.post("/manage/groups/devs/join", user=f"somebody{n}", do="add-new")
        page = self.browser.get("/manage/audit")
        self.assertEqual(page.text.count("<tr>"), 101)
        self.assertIn("devs/somebody104", page.text)
        older = re.search(r'rel="next" href="(\?before=\d+)"', page.text)
        assert older is not None
        second = self.browser.get("/manage/audit" + older[1]).text
        self.assertIn("devs/somebody0<", second)
        self.assertNotIn("somebody104", second)
        self.assertNotIn('rel="next"', second)
        found = self.browser.get(
            "/manage/audit?action=group%20add-user&who=ada&subject=devs%2Fsomebody7"
        ).text
        self.assertEqual(found.count("<tr>"), 2)
        self.assertIn(
            "No matching entries", self.browser.get("/manage/audit?who=%3Cscript%3E").text
        )
        for odd in (
            "before=x",
            "before=99999999999999999999999",
            "before=-1",
            "who=%00",
            "%ff=%fe",
            "a=" + "b" * 5000,
        ):
            self.assertEqual(self.browser.get(f"/manage/audit?{odd}").status, 200, odd)
        unknown = self.browser.get("/manage/audit?action=group%20adduser")
        self.assertEqual(unknown.status, 400)
        self.assertIn("group add-user", unknown.text)


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
