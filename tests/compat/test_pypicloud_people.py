"""pypicloud's ``/api/user/`` and ``/acct/``: what its documentation says to send works. And the
import of its dump of users.

Where the answer is pypicloud 1.3.12's own it was compared with one; where it is not, the test says
so.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from urllib.parse import urlencode

from attrs import evolve

from pypid.core.accounts.rights import Account, AccountStatus, Right, Whom
from pypid.core.accounts.sessions import AccountSettings
from pypid.core.configuration.choices import Registration
from pypid.core.packaging.names import project_name
from pypid.web.app.app import Configured
from tests.support.accounts import an_account
from tests.web.app_with_accounts import Peopled, have
from tests.web.full_app import CHEAP, HOST, Answer, WholeCase, basic

PASSWORD = "secret of some length"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
SPAM = project_name("spam")


class PypicloudCase(WholeCase):
    """A pypid with an accounts database, whose administrator is ada."""

    registration = Registration.CLOSED
    sql = True
    configured = Configured()

    def setUp(self) -> None:
        super().setUp()
        self.people = Peopled(
            self.pypid, Path(self.mktemp()), configured=self.configured, sql=self.sql
        )
        self.pypid.app.settings = evolve(
            self.pypid.app.settings, people=AccountSettings(registration=self.registration)
        )

    def sent(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        user: str | None = "ada",
        **said: str,
    ) -> Answer:
        """The answer to a form with these fields."""
        body = urlencode(said).encode() if said else None
        return self.pypid.ask(
            method, path, *headers, *([FORM] if said else []), body=body, user=user
        )

    def refused_as(self, answer: Answer, status: int, *words: str) -> None:
        """Refused in JSON, with pypicloud's keys."""
        self.assertEqual(answer.status, status, answer)
        document = answer.json
        self.assertIn("error", document)
        for word in words:
            self.assertIn(word, document["message"])

    def have_user(self, name: str, **fields: object) -> Account:
        """An account with the usual password."""
        account = an_account(name, hash=CHEAP.hash(PASSWORD), **fields)
        have(self.people.accounts.add_user(account))
        return account

    def me(self, user: str, password: str = PASSWORD) -> int:
        """What who logs in is answered."""
        return self.pypid.get("/api/me", None, basic(user, password)).status


class FixedTests(PypicloudCase):
    """Where people stand in the file alone, as with pypicloud's own configuration backend."""

    sql = False

    def test_password(self) -> None:
        """One's own password: after a wrong one 403, after the right one 501 with what to do."""
        wrong = self.sent(
            "POST", "/api/user/password", user="bob", old_password="wrong", new_password=PASSWORD
        )
        self.refused_as(wrong, 403)
        right = self.sent(
            "POST", "/api/user/password", user="bob", old_password="bob's", new_password=PASSWORD
        )
        self.refused_as(right, 501, "[users]")


class PasswordTests(PypicloudCase):
    """``POST /api/user/password``."""

    def change(self, user: str = "carol", by: str = PASSWORD, **said: str) -> Answer:
        """The answer to such a form."""
        return self.pypid.ask(
            "POST", "/api/user/password", basic(user, by), FORM, body=urlencode(said).encode()
        )

    def test_change(self) -> None:
        """The new password holds at once, and the old one no longer."""
        self.have_user("carol")
        answer = self.change(old_password=PASSWORD, new_password="another long one")
        self.assertEqual((answer.status, answer.json), (200, {"name": "carol"}))
        self.assertEqual((self.me("carol"), self.me("carol", "another long one")), (401, 200))
        self.assertEqual(self.people.done(), [("carol", "user set-password", "carol")])

    def test_refused(self) -> None:
        """A wrong old one is 403, a missing one 400, nobody 401; somebody of the file changes it
        there.
        """
        self.have_user("carol")
        self.refused_as(
            self.change(old_password="wrong", new_password="another long one"), 403, "old_password"
        )
        self.refused_as(self.change(old_password=PASSWORD), 400, "Missing argument 'new_password'")
        self.refused_as(self.change(old_password=PASSWORD, new_password="short"), 400)
        self.assertEqual(
            self.sent(
                "POST", "/api/user/password", user=None, old_password="x", new_password="y"
            ).status,
            401,
        )
        self.refused_as(
            self.change("bob", "bob's", old_password="bob's", new_password=PASSWORD), 409, "[users]"
        )
        made = self.pypid.ask(
            "POST",
            "/api/tokens",
            basic("carol", PASSWORD),
            body=b'{"name": "x", "actions": ["read"]}',
        )
        header = ("Authorization", f"Bearer {made.json['secret']}")
        by_token = self.sent(
            "POST",
            "/api/user/password",
            header,
            user=None,
            old_password=PASSWORD,
            new_password="a long one",
        )
        self.refused_as(by_token, 403, "token")
        self.assertEqual(self.me("carol"), 200)


class RegisterTests(PypicloudCase):
    """Making an account for oneself."""

    registration = Registration.APPROVAL

    def test_both_ways(self) -> None:
        """Both addresses make an account that waits for approval; who has registered already is
        400.
        """
        first = self.sent("PUT", "/api/user/carol", user=None, password=PASSWORD)
        self.assertEqual((first.status, first.json["status"]), (200, "pending"))
        second = self.sent("PUT", "/acct/login", user=None, username=" dan ", password=PASSWORD)
        self.assertEqual((second.status, second.json["user"]), (200, "dan"))
        waiting = {account.name: account.status for account in have(self.people.accounts.users())}
        self.assertEqual(waiting, dict.fromkeys(("carol", "dan"), AccountStatus.PENDING))
        self.refused_as(
            self.sent("PUT", "/api/user/carol", user=None, password=PASSWORD), 400, "carol"
        )
        self.assertEqual(
            self.sent("PUT", "/acct/login", user=None, username="dan", password=PASSWORD).status,
            400,
        )
        self.assertEqual(self.people.done()[0], ("anonymous", "user register", "carol"))

    def test_nobody_is_an_admin(self) -> None:
        """The first who registers is no administrator, as with pypicloud: pypid has one from its
        first run.
        """
        self.sent("PUT", "/api/user/carol", user=None, password=PASSWORD)
        self.assertFalse(have(self.people.accounts.user("carol")).admin)

    def test_refused(self) -> None:
        """Names and passwords that cannot be are 400."""
        for name, password in (
            ("%20", PASSWORD),
            ("a%3Ab", PASSWORD),
            ("x" * 65, PASSWORD),
            ("dan", "x" * 101),
            ("dan", "short"),
        ):
            self.refused_as(
                self.sent("PUT", f"/api/user/{name}", user=None, password=password), 400
            )
        self.refused_as(
            self.sent("PUT", "/api/user/dan", user=None), 400, "Missing argument 'password'"
        )
        self.assertEqual(have(self.people.accounts.users()), ())

    def test_arguments(self) -> None:
        """Arguments come in a form, also one of several parts as curl -F sends it, or in JSON; an
        unknown or odd one is 400.
        """
        parts = b'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n%s\r\n--x--\r\n'
        for name, kind, body in (
            ("eve", "application/json", json.dumps({"password": PASSWORD}).encode()),
            ("flo", "multipart/form-data; boundary=x", parts % PASSWORD.encode()),
        ):
            header = ("Content-Type", kind)
            answer = self.pypid.ask("PUT", f"/api/user/{name}", header, body=body)
            self.assertEqual(answer.status, 200, answer)
        other = self.sent("PUT", "/api/user/dan", user=None, password=PASSWORD, other="x")
        self.refused_as(other, 400, "'other'")
        for kind, body in (
            ("application/json", b"[]"),
            ("application/json", b"{"),
            ("text/plain", b"x"),
            ("multipart/form-data", b""),
        ):
            header = ("Content-Type", kind)
            self.refused_as(self.pypid.ask("PUT", "/api/user/dan", header, body=body), 400)
        big = self.pypid.ask("PUT", "/api/user/dan", FORM, body=b"password=" + b"x" * 70_000)
        self.assertIn(big.status, (400, 413))
        names = [account.name for account in have(self.people.accounts.users())]
        self.assertEqual(names, ["eve", "flo"])

    def test_other_site(self) -> None:
        """A page of another site registers nobody, and logs nobody in."""
        evil = ("Origin", "https://evil.example")
        for method, path, said in (
            ("PUT", "/api/user/carol", {"password": PASSWORD}),
            ("PUT", "/acct/login", {"username": "carol", "password": PASSWORD}),
            ("POST", "/acct/login", {"username": "bob", "password": "bob's"}),
        ):
            self.assertEqual(self.sent(method, path, evil, user=None, **said).status, 403)


class ClosedTests(PypicloudCase):
    """Where nobody registers."""

    def test_closed(self) -> None:
        """Both addresses are 403, before anything is read."""
        self.refused_as(self.sent("PUT", "/api/user/carol", user=None), 403)
        self.assertEqual(self.sent("PUT", "/acct/login", user=None).status, 403)


class SessionTests(PypicloudCase):
    """Logging in and out."""

    def test_login(self) -> None:
        """A login says where to go on and gives a cookie; with it and the token beside it things
        are changed; then it ends.
        """
        answer = self.sent("POST", "/acct/login", user=None, username="ada", password="pa:ss wörd")
        self.assertEqual((answer.status, answer.json["next"]), (200, f"http://{HOST}/"))
        cookie = ("Cookie", (answer["set-cookie"] or "").partition(";")[0])
        self.assertEqual(self.sent("GET", "/api/users", cookie, user=None).status, 200)
        group = b'{"name": "devs"}'
        self.assertEqual(self.pypid.ask("POST", "/api/groups", cookie, body=group).status, 403)
        csrf = ("X-CSRF-Token", answer.json["csrf_token"])
        made = self.pypid.ask("POST", "/api/groups", cookie, csrf, body=group)
        self.assertEqual(made.status, 201, made)
        self.assertEqual(self.sent("POST", "/acct/logout", cookie, user=None).status, 403)
        out = self.sent("POST", "/acct/logout", cookie, csrf, user=None)
        self.assertEqual((out.status, out["location"]), (302, "../"))
        self.assertEqual(self.sent("GET", "/api/users", cookie, user=None).status, 401)

    def test_refused(self) -> None:
        """A wrong name or password is 403, as there, and gives no cookie; a missing one is 400."""
        for said in (
            {"username": "ada", "password": "wrong"},
            {"username": "zoe", "password": "x"},
        ):
            answer = self.sent("POST", "/acct/login", user=None, **said)
            self.refused_as(answer, 403)
            self.assertIsNone(answer["set-cookie"])
        in_browser = self.sent(
            "POST",
            "/acct/login",
            ("Accept", "text/html"),
            user=None,
            username="ada",
            password="wrong",
        )
        self.assertEqual(
            (in_browser.status, in_browser["content-type"]), (403, "text/html; charset=utf-8")
        )
        self.assertEqual(self.sent("POST", "/acct/login", user=None, username="ada").status, 400)

    def test_page(self) -> None:
        """A browser that has logged in goes on to the first page."""
        html = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        answer = self.sent("POST", "/acct/login", html, user=None, username="bob", password="bob's")
        self.assertEqual((answer.status, answer["location"]), (302, "../"))
        self.assertIsNotNone(answer["set-cookie"])

    def test_out_twice(self) -> None:
        """Whoever is logged out is logged out; the cookie of a session that has
        ended is forgotten.
        """
        self.assertEqual(self.sent("POST", "/acct/logout", user=None).status, 302)
        answer = self.sent(
            "POST", "/acct/logout", ("Cookie", f"pypid_session={'x' * 43}"), user=None
        )
        self.assertIn("Max-Age=0", answer["set-cookie"] or "")

    def test_out_by_another_site(self) -> None:
        """A form on another site, with which no cookie comes (SameSite), logs nobody out."""
        answer = self.sent(
            "POST", "/acct/logout", ("Origin", "https://elsewhere.example"), user=None
        )
        self.assertIsNone(answer["set-cookie"])


class AclTests(PypicloudCase):
    """The dump."""

    configured = Configured(
        groups=frozenset({"staff"}),
        members={"staff": frozenset({"bob"})},
        rights=(Right(SPAM, Whom.GROUP, "staff", True), Right(SPAM, Whom.EVERYONE)),
        hashes={"ada": "$6$ada", "alice": "$6$alice", "bob": "$6$bob"},
    )

    def test_no_token(self) -> None:
        """No token brings people, whatever else it may."""
        made = self.pypid.api(
            "POST", "/api/tokens", {"name": "all", "actions": ["admin"], "projects": ["*"]}
        )
        header = ("Authorization", f"Bearer {made.json['secret']}")
        answer = self.pypid.ask("POST", "/api/acl", header, body=b"{}")
        self.assertEqual(answer.status, 403, (made, answer))
        self.assertIn("token", answer.text)

    def test_import(self) -> None:
        """What is missing is added, and what the file has stays; the second time nothing is new."""
        users = [
            {"username": "carol", "password": CHEAP.hash(PASSWORD), "admin": False},
            {"username": "ada", "password": "$6$x", "admin": True},
            {"username": "bob", "password": "$6$x", "admin": True},
        ]
        packages = {"users": {"Spam": {"carol": ["read", "write"]}}, "groups": {}}
        document = {
            "users": users,
            "groups": {"staff": ["bob", "zoe"], "devs": ["carol"]},
            "packages": packages,
        }
        answer = self.pypid.api("POST", "/api/acl", document)
        self.assertEqual(answer.status, 200, answer)
        said = answer.json
        oddities = {oddity["what"]: oddity["loss"] for oddity in said.pop("oddities")}
        self.assertEqual(
            said, {"users": 1, "users_there": 0, "groups": 1, "members": 1, "rights": 1}
        )
        self.assertEqual(oddities["the user 'ada' is defined in the configuration"], False)
        self.assertEqual(oddities["the user 'bob' is defined in the configuration"], True)
        self.assertEqual(oddities["the group 'staff' is defined in the configuration"], True)
        self.assertEqual(self.me("carol"), 200)
        again = self.pypid.api("POST", "/api/acl", document).json
        self.assertEqual({again[key] for key in ("users", "groups", "members", "rights")}, {0})
        self.assertEqual(self.people.done(), [("ada", "user import", "pypicloud")])

    def test_names_that_are_one(self) -> None:
        """Where a group of the dump is one of the file with other members, they are told to get its
        rights; one that shall be empty and is not is refused.
        """
        self.people.configured = evolve(
            self.people.configured, groups=frozenset({"devs"}), members={"devs": frozenset({"bob"})}
        )
        packages = {"users": {}, "groups": {"spam": {"devs": ["read"]}}}
        document = {"users": [], "groups": {"devs": ["carol"]}, "packages": packages}
        said = self.pypid.api("POST", "/api/acl", document).json
        gains = [oddity["what"] for oddity in said["oddities"] if oddity["gain"]]
        self.assertEqual(gains, ["bob is in the group 'devs' here, and not by the dump"])
        held = {"kept-closed": frozenset({"bob"})}
        self.people.configured = evolve(
            self.people.configured, groups=frozenset(held), members=held
        )
        packages = {"users": {}, "groups": {"eggs": {"kept-closed": ["read"]}}}
        answer = self.pypid.api(
            "POST", "/api/acl", {"users": [], "groups": {"kept-closed": []}, "packages": packages}
        )
        self.assertEqual(answer.status, 400)
        self.assertIn("kept-closed", answer.text)
        self.assertEqual({right.project for right in have(self.people.accounts.rights())}, {"spam"})

    def test_packed(self) -> None:
        """The file that ppc-export wrote may be sent as it is; what is no dump is 400, and nothing
        is done.
        """
        packed = gzip.compress(
            json.dumps({"users": [{"username": "carol", "password": "$6$x"}]}).encode()
        )
        self.assertEqual(
            self.pypid.ask("POST", "/api/acl", body=packed, user="ada").json["users"], 1
        )
        for body in (b"", b"{}", b"[]", packed[:-3]):
            self.assertEqual(self.pypid.ask("POST", "/api/acl", body=body, user="ada").status, 400)
