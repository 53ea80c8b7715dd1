"""pypicloud's ``/api/user/``, ``/acct/`` and ``/admin/``: what its documentation says to send
works.

Where the answer is pypicloud 1.3.12's own it was compared with one; where it is not, the test says
so.
"""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet.defer import Deferred

from pypid.core.accounts.acl_dump import read_dump
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.accounts.registration import AccountSettings
from pypid.core.accounts.rights import Right, Whom
from pypid.core.configuration.choices import Registration
from pypid.core.packaging.globs import project_glob
from pypid.core.packaging.names import project_name
from pypid.web.app.registry import Configured
from tests.support.accounts import an_account
from tests.web.app_with_accounts import Peopled, have
from tests.web.full_app import CHEAP, HOST, Answer, WholeCase, basic, spelled

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

    def ok(self, method: str, path: str, **said: str) -> None:
        """It is done, and nothing is said about it."""
        answer = self.sent(method, path, **said)
        self.assertEqual((answer.status, answer.body), (200, b""), (method, path, answer))

    def refused_as(self, answer: Answer, status: int, *words: str) -> None:
        """Refused in JSON, with pypicloud's keys."""
        self.assertEqual(answer.status, status, answer)
        document = answer.json
        self.assertIn("error", document)
        for word in words:
            self.assertIn(word, document["message"])

    def get(self, path: str) -> object:
        """What it says."""
        answer = self.sent("GET", path)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def have_user(self, name: str, **fields: object) -> Account:
        """An account with the usual password."""
        account = an_account(name, hash=CHEAP.hash(PASSWORD), **fields)
        have(self.people.accounts.add_user(account))
        return account

    def me(self, user: str, password: str = PASSWORD) -> int:
        """What who logs in is answered."""
        return self.pypid.get("/api/me", None, basic(user, password)).status

    def rights(self) -> list[tuple[str, str, str]]:
        """What the database says of spam."""
        return [
            (right.whom.value, right.name, right.text)
            for right in have(self.people.accounts.rights())
        ]


class UserTests(PypicloudCase):
    """Users, as an administrator manages them."""

    def test_life(self) -> None:
        """A user is made, listed, shown, made an administrator, and removed; the audit log has each
        of it, and no password.
        """
        self.ok("PUT", "/admin/user/carol", password=PASSWORD)
        self.assertEqual(self.me("carol"), 200)
        listed = [
            {"username": name, "admin": name == "ada"} for name in ("ada", "alice", "bob", "carol")
        ]
        self.assertEqual(self.get("/admin/user/"), listed)
        self.assertEqual(self.get("/admin/user"), listed)
        self.assertEqual(
            self.get("/admin/user/carol"), {"username": "carol", "admin": False, "groups": []}
        )
        for word in ("true", "1", "on"):
            self.ok("POST", "/admin/user/carol/admin", admin=word)
        self.assertEqual(
            self.get("/admin/user/carol/"), {"username": "carol", "admin": True, "groups": []}
        )
        self.ok("POST", "/admin/user/carol/admin", admin="false")
        self.ok("DELETE", "/admin/user/carol/")
        self.assertEqual(self.me("carol"), 401)
        self.assertIsNone(self.get("/admin/user/carol"))
        did = ["user create", "user set-admin", "user set-admin", "user delete"]
        self.assertEqual(self.people.done(), [("ada", what, "carol") for what in did])
        self.assertNotIn(PASSWORD, repr(self.people.deeds()))

    def test_json(self) -> None:
        """The arguments may come in JSON, with true and false, or in a form of several parts, as
        curl -F sends it.
        """
        kind = ("Content-Type", "application/json")
        asked = self.pypid.ask(
            "PUT",
            "/admin/user/carol",
            kind,
            body=json.dumps({"password": PASSWORD}).encode(),
            user="ada",
        )
        self.assertEqual(asked.status, 200)
        asked = self.pypid.ask(
            "POST", "/admin/user/carol/admin", kind, body=b'{"admin": true}', user="ada"
        )
        self.assertEqual(asked.status, 200)
        body = b'--x\r\nContent-Disposition: form-data; name="admin"\r\n\r\nfalse\r\n--x--\r\n'
        parts = ("Content-Type", "multipart/form-data; boundary=x")
        self.assertEqual(
            self.pypid.ask("POST", "/admin/user/carol/admin", parts, body=body, user="ada").status,
            200,
        )
        self.assertFalse(have(self.people.accounts.user("carol")).admin)

    def test_arguments(self) -> None:
        """A missing argument is 400 in pypicloud's words; an unknown or odd one is 400, too."""
        self.have_user("carol")
        self.refused_as(self.sent("PUT", "/admin/user/dan"), 400, "Missing argument 'password'")
        self.refused_as(
            self.sent("PUT", "/admin/user/dan", password=PASSWORD, other="x"), 400, "'other'"
        )
        self.refused_as(
            self.sent("POST", "/admin/user/carol/admin"), 400, "Missing argument 'admin'"
        )
        self.refused_as(self.sent("POST", "/admin/user/carol/admin", admin="maybe"), 400, "admin")
        for kind, body in (
            ("application/json", b"[]"),
            ("application/json", b"{"),
            ("text/plain", b"x"),
            ("multipart/form-data", b""),
        ):
            answer = self.pypid.ask(
                "PUT", "/admin/user/dan", ("Content-Type", kind), body=body, user="ada"
            )
            self.refused_as(answer, 400)
        big = self.pypid.ask(
            "PUT", "/admin/user/dan", FORM, body=b"password=" + b"x" * 70_000, user="ada"
        )
        self.assertIn(big.status, (400, 413))
        self.assertEqual(
            [account.name for account in have(self.people.accounts.users())], ["carol"]
        )

    def test_taken(self) -> None:
        """A name that is taken, also by somebody of the file or by what looks alike, is refused
        (500 there).
        """
        self.have_user("carol")
        for name in ("carol", "Carol", "ada"):
            self.refused_as(self.sent("PUT", f"/admin/user/{name}", password=PASSWORD), 409, name)
        for name in ("everyone", "a:b", "__token__"):
            self.refused_as(self.sent("PUT", f"/admin/user/{name}", password=PASSWORD), 400)

    def test_given_before(self) -> None:
        """A name to which something was given is not handed to whoever is made under it."""
        have(self.people.accounts.grant(Right(SPAM, Whom.USER, "carol", True)))
        self.refused_as(self.sent("PUT", "/admin/user/carol", password=PASSWORD), 409, "inherit")

    def test_removing_nobody(self) -> None:
        """Who is not there is removed already; who stands in the file, and the last administrator,
        are not.
        """
        self.ok("DELETE", "/admin/user/nobody-of-that-name")
        self.refused_as(self.sent("DELETE", "/admin/user/bob"), 409, "[users]")
        self.refused_as(self.sent("POST", "/admin/user/ada/admin", admin="false"), 409)
        self.assertEqual(self.people.done(), [])

    def test_nobody(self) -> None:
        """To approve somebody who is not there, or make him an administrator, is an error, which
        pypicloud swallowed.
        """
        self.refused_as(self.sent("POST", "/admin/user/zoe/approve"), 404, "zoe")
        self.refused_as(self.sent("POST", "/admin/user/zoe/admin", admin="true"), 404, "zoe")

    def test_waiting(self) -> None:
        """Who waits is in a list of its own, is null until approved, and then can log in."""
        self.have_user("carol", status=AccountStatus.PENDING)
        self.assertEqual(self.get("/admin/pending_users/"), ["carol"])
        self.assertIsNone(self.get("/admin/user/carol"))
        self.ok("POST", "/admin/user/carol/approve")
        self.ok("POST", "/admin/user/carol/approve/")
        self.assertEqual((self.me("carol"), self.get("/admin/pending_users")), (200, []))
        self.assertEqual(self.people.done(), [("ada", "user enable", "carol")])

    def test_disabled(self) -> None:
        """Who was disabled is in no list, and is not opened again by an approval."""
        self.have_user("carol", status=AccountStatus.DISABLED)
        self.assertNotIn(
            "carol", repr(self.get("/admin/user")) + repr(self.get("/admin/pending_users"))
        )
        self.refused_as(self.sent("POST", "/admin/user/carol/approve"), 400, "enable")
        self.assertEqual(self.me("carol"), 401)

    def test_who(self) -> None:
        """All of it is for administrators: 401 for nobody, with the challenge, 403 for others, in
        JSON whatever they accept.
        """
        for path in (
            "/admin/user",
            "/admin/group",
            "/admin/acl.json.gz",
            "/admin/package/spam",
            "/admin/user/bob",
        ):
            anonymous = self.sent("GET", path, ("Accept", "text/html"), user=None)
            self.refused_as(anonymous, 401)
            self.assertEqual(anonymous["www-authenticate"], 'Basic realm="pypi", charset="UTF-8"')
            self.refused_as(self.sent("GET", path, user="bob"), 403, "bob")

    def test_methods(self) -> None:
        """What changes something is not done by GET: 405 names the method."""
        for path, method in (
            ("/admin/rebuild", "POST"),
            ("/admin/rebuild/", "POST"),
            ("/admin/register", "POST"),
            ("/admin/user/bob/approve", "POST"),
            ("/acct/logout", "POST"),
            ("/acct/logout/", "POST"),
        ):
            answer = self.sent("GET", path)
            self.assertEqual((answer.status, answer["allow"]), (405, method), path)
            self.assertIn(method, answer.text)

    def test_rebuild(self) -> None:
        """POST has the storage compared."""
        self.have_wheel()
        answer = self.sent("POST", "/admin/rebuild")
        self.assertEqual((answer.status, answer.json["projects"]), (200, 1))


class GroupTests(PypicloudCase):
    """Groups."""

    configured = Configured(groups=frozenset({"staff"}), members={"staff": frozenset({"bob"})})

    def test_life(self) -> None:
        """A group is made, joined, shown with its packages, left and removed."""
        self.ok("PUT", "/admin/group/devs")
        self.assertEqual(self.get("/admin/group"), ["devs", "staff"])
        for name in ("bob", "alice"):
            self.ok("PUT", f"/admin/user/{name}/group/devs")
        self.ok("PUT", "/admin/package/Spam/group/devs/read")
        expected = {
            "members": ["alice", "bob"],
            "packages": [{"package": "spam", "permissions": ["read"]}],
        }
        self.assertEqual(self.get("/admin/group/devs/"), expected)
        self.assertEqual(
            self.get("/admin/user/bob"), {"username": "bob", "admin": False, "groups": ["devs"]}
        )
        self.ok("DELETE", "/admin/user/bob/group/devs")
        self.ok("DELETE", "/admin/user/bob/group/devs")
        self.ok("DELETE", "/admin/group/devs")
        self.ok("DELETE", "/admin/group/devs")
        self.assertEqual(
            (self.get("/admin/group/devs"), self.rights()),
            ({"members": [], "packages": []}, [("admins", "", "rw")]),
        )
        did = [
            "group create",
            "group add-user",
            "group add-user",
            "right grant",
            "group remove-user",
            "group delete",
        ]
        self.assertEqual([what for _, what, _ in self.people.done()], did)

    def test_reserved(self) -> None:
        """everyone and authenticated are no groups: 400, as there; nor are the words that pypid has
        besides.
        """
        for name in ("everyone", "authenticated"):
            self.refused_as(
                self.sent("PUT", f"/admin/group/{name}"), 400, f"'{name}' is a reserved name"
            )
        for name in ("admins", "nobody", "a b"):
            self.refused_as(self.sent("PUT", f"/admin/group/{name.replace(' ', '%20')}"), 400)

    def test_twice(self) -> None:
        """A group that is there is not made again (500 there); one that is not cannot be joined
        (200 there, nothing done).
        """
        self.ok("PUT", "/admin/group/devs")
        self.refused_as(self.sent("PUT", "/admin/group/devs"), 409)
        self.refused_as(self.sent("PUT", "/admin/user/bob/group/none"), 404, "none")
        self.ok("DELETE", "/admin/user/bob/group/none")

    def test_configured(self) -> None:
        """A group of the file is shown, and changed there."""
        self.assertEqual(self.get("/admin/group/staff"), {"members": ["bob"], "packages": []})
        for method, path in (
            ("PUT", "/admin/group/staff"),
            ("DELETE", "/admin/group/staff"),
            ("PUT", "/admin/user/ada/group/staff"),
        ):
            self.refused_as(self.sent(method, path), 409, "[groups]")


class PermissionTests(PypicloudCase):
    """Rights on packages."""

    configured = Configured(rights=(Right(project_name("fixed"), Whom.USER, "bob", True),))

    def test_life(self) -> None:
        """Rights are given one by one, shown of users, groups and packages, and taken away one by
        one.
        """
        for path in (
            "user/bob/read",
            "user/bob/write",
            "group/devs/read",
            "group/everyone/read",
            "group/authenticated/read/",
        ):
            self.ok("PUT", f"/admin/package/S.P_am/{path}")
            self.ok("PUT", f"/admin/package/s-p-am/{path}")
        expected = {
            "user": [{"username": "bob", "permissions": ["read", "write"]}],
            "group": [
                {"group": "authenticated", "permissions": ["read"]},
                {"group": "everyone", "permissions": ["read"]},
                {"group": "devs", "permissions": ["read"]},
            ],
        }
        self.assertEqual(self.get("/admin/package/s-p-am"), expected)
        of_bob = [
            {"package": "fixed", "permissions": ["read", "write"]},
            {"package": "s-p-am", "permissions": ["read", "write"]},
        ]
        self.assertEqual(self.get("/admin/user/bob/permissions"), of_bob)
        everyone = {"members": [], "packages": [{"package": "s-p-am", "permissions": ["read"]}]}
        self.assertEqual(self.get("/admin/group/everyone"), everyone)
        for path in (
            "user/bob/write",
            "user/bob/write",
            "user/bob/read",
            "user/bob/read",
            "group/everyone/read",
        ):
            self.ok("DELETE", f"/admin/package/s-p-am/{path}")
        self.assertEqual(self.rights(), [("authenticated", "", "r"), ("group", "devs", "r")])
        self.assertEqual(self.get("/admin/package/nothing"), {"user": [], "group": []})
        did = [what for _, what, _ in self.people.done()]
        self.assertEqual(did, ["right grant"] * 6 + ["right revoke"] * 2)

    def test_write_alone(self) -> None:
        """To write without reading cannot be given: 409 says to give the right to read first, and
        nothing is changed.
        """
        self.refused_as(
            self.sent("PUT", "/admin/package/spam/user/bob/write"),
            409,
            "PUT /admin/package/spam/user/bob/read",
        )
        self.assertEqual(self.rights(), [])
        self.ok("PUT", "/admin/package/spam/group/authenticated/read")
        self.refused_as(self.sent("PUT", "/admin/package/spam/group/everyone/write"), 409)
        self.ok("PUT", "/admin/package/spam/user/bob/write")
        self.assertIn(("user", "bob", "rw"), self.rights())

    def test_read_goes_with_write(self) -> None:
        """Who may read no longer may write no longer."""
        for path in ("user/bob/read", "user/bob/write", "user/alice/read"):
            self.ok("PUT", f"/admin/package/spam/{path}")
        self.ok("DELETE", "/admin/package/spam/user/bob/read")
        self.assertEqual(self.rights(), [("user", "alice", "r")])

    def test_last_right(self) -> None:
        """Where the defaults would hold then, and pypicloud had left a right to write, nothing is
        changed: 409.
        """
        for word in ("read", "write"):
            self.ok("PUT", f"/admin/package/spam/user/bob/{word}")
        self.refused_as(self.sent("DELETE", "/admin/package/spam/user/bob/read"), 409, "last right")
        self.assertEqual(self.rights(), [("user", "bob", "rw")])
        for word in ("write", "read"):
            self.ok("DELETE", f"/admin/package/spam/user/bob/{word}")
        self.assertEqual(self.rights(), [("admins", "", "rw")])

    def test_last_rights_at_once(self) -> None:
        """Of two who take the last two rights away at the same moment one is refused, so that the
        defaults do not hold then.
        """
        for path in ("bob/read", "bob/write", "alice/read", "alice/write"):
            self.ok("PUT", f"/admin/package/spam/user/{path}")
        accounts = self.people.accounts
        gate: Deferred[None] = Deferred()
        withdraw = accounts.withdraw

        async def gated(*key: Any) -> None:
            await gate
            await withdraw(*key)

        self.patch(accounts, "withdraw", gated)
        asking = []
        for name in ("bob", "alice"):
            connection = self.pypid.connect()
            connection.send(spelled("DELETE", f"/admin/package/spam/user/{name}/read", user="ada"))
            self.assertIsNone(connection.answer())
            asking.append(connection)
        gate.callback(None)
        answers = [connection.answer() for connection in asking]
        self.assertEqual([answer and answer.status for answer in answers], [200, 409])
        self.assertEqual(self.rights(), [("user", "alice", "rw")])

    def test_in_the_file(self) -> None:
        """A right of the file is taken away there."""
        for word in ("read", "write"):
            self.refused_as(
                self.sent("DELETE", f"/admin/package/fixed/user/bob/{word}"), 409, "[projects]"
            )
            self.ok("PUT", f"/admin/package/fixed/user/bob/{word}")
        self.assertEqual(self.rights(), [])

    def test_odd(self) -> None:
        """What is no right of pypicloud's, no name and no package is refused."""
        for path in ("user/bob/other", "everyone/bob/read", "user/a%3Ab/read", "user/admins/read"):
            self.refused_as(self.sent("PUT", f"/admin/package/spam/{path}"), 400)
        self.refused_as(self.sent("PUT", "/admin/package/-x-/user/bob/read"), 400)


class FixedTests(PypicloudCase):
    """Where people stand in the file alone, as with pypicloud's own configuration backend."""

    sql = False
    registration = Registration.APPROVAL

    def test_changes(self) -> None:
        """What would change something is refused with what to do: 501, where pypicloud failed with
        500.
        """
        for method, path, said in (
            ("PUT", "/admin/user/carol", {"password": PASSWORD}),
            ("DELETE", "/admin/user/bob", {}),
            ("POST", "/admin/user/bob/approve", {}),
            ("POST", "/admin/user/bob/admin", {"admin": "true"}),
            ("PUT", "/admin/group/devs", {}),
            ("DELETE", "/admin/group/devs", {}),
            ("PUT", "/admin/user/bob/group/devs", {}),
            ("DELETE", "/admin/user/bob/group/devs", {}),
            ("PUT", "/admin/package/spam/user/bob/read", {}),
            ("DELETE", "/admin/package/spam/user/bob/read", {}),
            ("POST", "/admin/register", {"allow": "true"}),
            ("GET", "/admin/token/carol", {}),
        ):
            self.refused_as(self.sent(method, path, **said), 501, "[access] backend")
        self.assertEqual(self.people.done(), [])

    def test_dump(self) -> None:
        """Who has an account that nobody can log in by (sql is not listed) waits for approval where
        the dump goes.
        """
        self.have_user("carol", admin=True)
        self.assertEqual(self.me("carol"), 401)
        taken = read_dump(self.sent("GET", "/admin/acl.json.gz").body)
        carol = next(person for person in taken.dump.users if person.name == "carol")
        self.assertEqual((carol.admin, carol.pending), (False, True))

    def test_looking(self) -> None:
        """What is only looked at is answered as there."""
        self.assertEqual(
            [user["username"] for user in self.get("/admin/user")], ["ada", "alice", "bob"]
        )  # type: ignore[attr-defined]
        self.assertEqual(
            self.get("/admin/user/bob"), {"username": "bob", "admin": False, "groups": []}
        )
        self.assertEqual(self.get("/admin/package/spam"), {"user": [], "group": []})

    def test_password(self) -> None:
        """One's own password, too: after a wrong one 403, after the right one 501."""
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
        self.assertEqual(self.get("/admin/pending_users"), ["carol", "dan"])
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

    def test_other_site(self) -> None:
        """A page of another site registers nobody, and logs nobody in."""
        evil = ("Origin", "https://evil.example")
        for method, path, said in (
            ("PUT", "/api/user/carol", {"password": PASSWORD}),
            ("PUT", "/acct/login", {"username": "carol", "password": PASSWORD}),
            ("POST", "/acct/login", {"username": "bob", "password": "bob's"}),
        ):
            self.assertEqual(self.sent(method, path, evil, user=None, **said).status, 403)

    def test_allow(self) -> None:
        """Whether people may register says the file: what is so already is confirmed, what is not
        is 409.
        """
        self.ok("POST", "/admin/register", allow="true")
        self.refused_as(
            self.sent("POST", "/admin/register/", allow="false"),
            409,
            "[access] registration = closed",
        )

    def test_by_token(self) -> None:
        """Tokens are another way of registering, which the file has to say."""
        self.refused_as(self.sent("GET", "/admin/token/carol"), 400, "registration = token")
        self.assertEqual(
            self.sent("PUT", "/acct/tokenRegister", user=None, token="x", password=PASSWORD).status,
            403,
        )


class ClosedTests(PypicloudCase):
    """Where nobody registers."""

    def test_closed(self) -> None:
        """Both addresses are 403, before anything is read."""
        self.refused_as(self.sent("PUT", "/api/user/carol", user=None), 403)
        self.assertEqual(self.sent("PUT", "/acct/login", user=None).status, 403)
        self.ok("POST", "/admin/register", allow="no")
        self.refused_as(self.sent("POST", "/admin/register", allow="yes"), 409, "approval")


class TokenTests(PypicloudCase):
    """Registering by a token that an administrator has made."""

    registration = Registration.TOKEN

    def made(self, name: str = "carol") -> str:
        """A token for this name."""
        document = self.sent("GET", f"/admin/token/{name}").json
        self.assertEqual(
            document["token_url"], f"http://{HOST}/acct/login#/?token={document['token']}"
        )
        return str(document["token"])

    def register(self, token: str, password: str = PASSWORD) -> Answer:
        """By it."""
        return self.sent("PUT", "/acct/tokenRegister", user=None, token=token, password=password)

    def test_once(self) -> None:
        """It makes one account of that name, which is logged in and can be used at once; then it is
        used up.
        """
        token = self.made()
        self.assertTrue(token.startswith("carol:"))
        self.assertEqual(self.register(token, "short").status, 400)
        answer = self.register(token)
        self.assertEqual((answer.status, answer.json["next"]), (200, f"http://{HOST}/"))
        self.assertIn("HttpOnly", answer["set-cookie"] or "")
        self.assertEqual(self.me("carol"), 200)
        self.assertEqual(self.register(token).status, 400)
        have(self.people.accounts.remove_user("carol"))
        self.assertEqual(self.register(token).status, 400)
        told = repr(self.people.deeds())
        self.assertIn("invitation create", told)
        self.assertNotIn(token.partition(":")[2], told)

    def test_for_nobody_else(self) -> None:
        """With another name, a changed or an old token, or one of pypicloud's, nobody registers."""
        token = self.made()
        secret = token.partition(":")[2]
        for bad in (
            f"dan:{secret}",
            secret,
            token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:],
            "carol:1795295017:0d8a",
            "",
            ":",
            "x",
        ):
            self.assertEqual(self.register(bad).status, 400, bad)
        self.assertEqual(
            self.sent("PUT", "/api/user/dan", user=None, password=PASSWORD, token=secret).status,
            400,
        )
        self.pypid.clock.advance(timedelta(days=8).total_seconds())
        self.assertEqual(self.register(token).status, 400)
        self.assertEqual(have(self.people.accounts.users()), ())

    def test_names(self) -> None:
        """There is none for a name that nobody can choose."""
        for name in ("a%3Ab", "%C3%A9"):
            self.refused_as(self.sent("GET", f"/admin/token/{name}"), 400)


class SessionTests(PypicloudCase):
    """Logging in and out."""

    def test_login(self) -> None:
        """A login says where to go on and gives a cookie; with it and the token beside it things
        are changed; then it ends.
        """
        answer = self.sent("POST", "/acct/login", user=None, username="ada", password="pa:ss wörd")
        self.assertEqual((answer.status, answer.json["next"]), (200, f"http://{HOST}/"))
        cookie = ("Cookie", (answer["set-cookie"] or "").partition(";")[0])
        self.assertEqual(self.sent("GET", "/admin/user", cookie, user=None).status, 200)
        self.assertEqual(self.sent("PUT", "/admin/group/devs", cookie, user=None).status, 403)
        csrf = ("X-CSRF-Token", answer.json["csrf_token"])
        self.assertEqual(self.sent("PUT", "/admin/group/devs", cookie, csrf, user=None).status, 200)
        self.assertEqual(self.sent("GET", "/acct/login", cookie, user=None).status, 302)
        self.assertEqual(self.sent("POST", "/acct/logout", cookie, user=None).status, 403)
        out = self.sent("POST", "/acct/logout", cookie, csrf, user=None)
        self.assertEqual((out.status, out["location"]), (302, "../"))
        self.assertEqual(self.sent("GET", "/admin/user", cookie, user=None).status, 401)

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
        """Whoever comes is led to the page where one logs in; a browser that has logged in goes on
        to the first page.
        """
        for path, where in (
            ("/acct/login", "../account/login"),
            ("/acct/login/", "../../account/login"),
        ):
            page = self.sent("GET", path, user=None)
            self.assertEqual((page.status, page["location"]), (302, where))
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

    def fill(self) -> None:
        """Some people beside those of the file."""
        self.have_user("carol", admin=True)
        self.have_user("dan", status=AccountStatus.PENDING)
        self.have_user("eve", status=AccountStatus.DISABLED, admin=True)
        have(self.people.accounts.add_group("devs"))
        have(self.people.accounts.join("devs", "carol"))
        have(self.people.accounts.grant(Right(SPAM, Whom.USER, "bob", True)))

    def test_globs(self) -> None:
        """pypicloud has no globs: the dump has the right of the most specific glob on each local
        project, and the lists have no globs.
        """
        self.have_wheel("acme-data-core")
        self.have_wheel("acme-web")
        for text, user in (("acme-*", "bob"), ("acme-data-*", "carol"), ("sp*", "carol")):
            have(self.people.accounts.grant(Right(project_glob(text), Whom.USER, user, True)))
        taken = read_dump(self.sent("GET", "/admin/acl.json.gz").body)
        self.assertEqual(taken.oddities, ())
        found = {(right.project, right.name, right.write) for right in taken.dump.rights}
        expected = {("acme-data-core", "carol", True), ("acme-web", "bob", True)}
        self.assertEqual({each for each in found if each[0] != "spam"}, expected)
        self.assertNotIn(("spam", "carol", True), found)  # it has rights of its own
        self.assertNotIn("*", self.sent("GET", "/admin/user/carol/permissions").text)

    def test_download(self) -> None:
        """It holds everybody, of the file and of the database; who is disabled waits there. The
        audit log tells of it.
        """
        self.fill()
        answer = self.sent("GET", "/admin/acl.json.gz")
        self.assertEqual(answer["content-disposition"], 'attachment; filename="acl.json.gz"')
        taken = read_dump(answer.body)
        self.assertEqual(taken.oddities, ())
        users = {user.name: (user.admin, user.pending) for user in taken.dump.users}
        expected = {
            "ada": (True, False),
            "alice": (False, False),
            "bob": (False, False),
            "carol": (True, False),
        }
        self.assertEqual(users, {**expected, "dan": (False, True), "eve": (False, True)})
        self.assertEqual(taken.dump.groups, {"devs": {"carol"}, "staff": {"bob"}})
        document = json.loads(gzip.decompress(answer.body))
        self.assertEqual(
            document["packages"],
            {
                "users": {"spam": {"bob": ["read", "write"]}},
                "groups": {"spam": {"everyone": ["read"], "staff": ["read", "write"]}},
            },
        )
        self.assertEqual(
            document["users"][0], {"username": "ada", "admin": True, "password": "$6$ada"}
        )
        self.assertEqual(self.people.done(), [("ada", "acl export", "all")])
        self.assertEqual(self.pypid.api("GET", "/api/acl").json, document)

    def test_no_token(self) -> None:
        """No token gets the hashes, nor brings people, whatever else it may."""
        made = self.pypid.api(
            "POST", "/api/tokens", {"name": "all", "actions": ["admin"], "projects": ["*"]}
        )
        header = ("Authorization", f"Bearer {made.json['secret']}")
        for method, path in (
            ("GET", "/admin/acl.json.gz"),
            ("GET", "/api/acl"),
            ("POST", "/api/acl"),
        ):
            answer = self.pypid.ask(method, path, header, body=b"{}" if method == "POST" else None)
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
        self.assertEqual(self.people.done(), [("ada", "acl import", "pypicloud")])

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
