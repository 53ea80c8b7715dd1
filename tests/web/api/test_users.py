"""``/api/users``, ``/api/groups``, ``/api/rights`` and ``/api/me``: who may, what becomes of it,
and what is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from pypid.core.accounts.rights import Right, Whom
from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, Rules
from pypid.web.app.app import Configured
from tests.distributions import wheel_filename
from tests.web.app_with_accounts import Peopled, have
from tests.web.full_app import Answer, Pypid, WholeCase, basic, spelled


class PeopleCase(WholeCase):
    """A pypid with an accounts database."""

    configured: Configured | None = None
    sql = True
    directory = False
    durable = False
    named = False

    def setUp(self) -> None:
        super().setUp()
        if self.named:
            self.pypid = Pypid(Path(self.mktemp()), rules=self.rules, indexes=())
        self.people = Peopled(
            self.pypid,
            Path(self.mktemp()),
            configured=self.configured,
            sql=self.sql,
            directory=self.directory,
            durable=self.durable,
        )

    def add(self, name: str, password: str = "secret of some length", **fields: object) -> Answer:
        """Make an account; it has to go well."""
        answer = self.pypid.api(
            "POST", "/api/users", {"name": name, "password": password, **fields}
        )
        self.assertEqual(answer.status, 201, answer)
        return answer

    def me(self, user: str, password: str = "secret of some length") -> Answer:
        """The answer to who one is."""
        return self.pypid.get("/api/me", None, basic(user, password))

    def by(self, user: str, method: str, path: str, document: object = None) -> Answer:
        """A request by somebody with the usual password."""
        body = None if document is None else json.dumps(document).encode()
        return self.pypid.ask(method, path, basic(user, "secret of some length"), body=body)


class UserTests(PeopleCase):
    """Accounts."""

    def test_life(self) -> None:
        """An account is made, logs in, is disabled, opened again, and removed; the audit log tells
        it all, without a secret.
        """
        document = self.add("carol").json
        self.assertEqual(
            (
                document["name"],
                document["admin"],
                document["status"],
                document["source"],
                document["warnings"],
            ),
            ("carol", False, "active", "database", []),
        )
        self.assertNotIn("password", document)
        self.assertEqual(self.me("carol").json["user"], "carol")
        self.assertEqual(
            self.pypid.api("PATCH", "/api/users/carol", {"status": "disabled"}).json["status"],
            "disabled",
        )
        self.assertEqual(self.me("carol").status, 401)
        self.assertFalse(self.pypid.api("GET", "/api/users/carol").json["can_log_in"])
        self.assertEqual(
            self.pypid.api("PATCH", "/api/users/carol", {"status": "active"}).status, 200
        )
        self.assertEqual(self.me("carol").status, 200)
        self.assertEqual(
            self.pypid.api("DELETE", "/api/users/carol").json, {"name": "carol", "removed": True}
        )
        self.assertEqual(self.me("carol").status, 401)
        self.assertEqual(self.pypid.api("GET", "/api/users/carol").status, 404)
        told = ["user create", "user disable", "user enable", "user delete"]
        self.assertEqual(self.people.done(), [("ada", what, "carol") for what in told])
        self.assertNotIn("secret of some length", repr(self.people.deeds()))
        self.assertEqual(self.people.deeds()[0].where, "192.0.2.7")

    def test_made_password(self) -> None:
        """Without a password one is made, told once, and right; it stands nowhere else."""
        answer = self.pypid.api("POST", "/api/users", {"name": "carol"})
        password = answer.json["password"]
        self.assertGreaterEqual(len(password), 24)
        self.assertEqual(self.me("carol", password).status, 200)
        for path in ("/api/users", "/api/users/carol", "/api/audit"):
            said = self.pypid.api("GET", path).text
            self.assertNotIn(password, said)
            self.assertNotIn("argon2", said)

    def test_list(self) -> None:
        """The list has the accounts and the users of the configuration, and of none a hash."""
        self.add("carol", admin=True)
        users = {user["name"]: user for user in self.pypid.api("GET", "/api/users").json["users"]}
        self.assertEqual(
            {name: user["source"] for name, user in users.items()}["carol"], "database"
        )
        self.assertEqual(
            (users["alice"]["source"], users["ada"]["admin"], users["carol"]["admin"]),
            ("configuration", True, True),
        )
        self.assertNotIn("argon2", self.pypid.api("GET", "/api/users").text)

    def test_names_refused(self) -> None:
        """A name that cannot be is 400 with the reason, and nothing is made."""
        bad = (
            "",
            "a b",
            "a:b",
            "a=b",
            "a;b",
            "a\nb",
            "a\0b",
            "x" * 101,
            "__token__",
            "__x",
            "everyone",
            "admins",
            "a/b",
            "..",
        )
        for name in (*bad, "a\\b", "e\u0301", "\ud800", "a\u202eb", "tab\t"):
            answer = self.pypid.ask("POST", "/api/users", body=_json(name), user="ada")
            self.assertEqual(answer.status, 400, (name, answer))
        self.assertEqual(have(self.people.accounts.users()), ())
        self.assertEqual(self.people.done(), [])

    def test_names_taken(self) -> None:
        """A name that somebody has, or one that looks the same, is 409."""
        self.add("carol")
        for name in (
            "carol",
            "Carol",
            "CAROL",
            "\uff43arol",
            "alice",
            "Alice",
            "anonymous",
            "operator",
        ):
            self.assertEqual(self.pypid.api("POST", "/api/users", {"name": name}).status, 409, name)

    def test_removed_with_all(self) -> None:
        """With an account go its tokens, rights and memberships: another one of the name inherits
        nothing, and what only they could read stays closed.
        """
        self.add("carol")
        secret = self.by("carol", "POST", "/api/tokens", {"name": "t", "actions": ["read"]}).json[
            "secret"
        ]
        self.pypid.api("POST", "/api/groups", {"name": "devs"})
        self.pypid.api("PUT", "/api/groups/devs/members/carol")
        self.pypid.api("PUT", "/api/projects/spam/rights/user/carol", {"right": "rw"})
        self.assertEqual(self.pypid.api("DELETE", "/api/users/carol").status, 200)
        self.assertEqual(
            self.pypid.get("/api/me", None, ("Authorization", f"Bearer {secret}")).status, 401
        )
        self.add("carol")
        self.assertEqual(self.me("carol").json["groups"], [])
        rights = self.pypid.api("GET", "/api/projects/spam/rights").json["rights"]
        self.assertEqual([right["kind"] for right in rights], ["admins"])
        self.assertEqual(self.pypid.get("/simple/spam/").status, 401)
        self.assertEqual(self.by("carol", "GET", "/simple/spam/").status, 403)


class InheritTests(PeopleCase):
    """Names to which something was given before anybody had them."""

    configured = Configured(mentioned=frozenset({"erin"}))

    def test_mentioned(self) -> None:
        """An account under a name that has rights or is in a group already is made only where that
        is meant.
        """
        self.pypid.api(
            "PUT", "/api/projects/spam/rights/user/frank", {"right": "r", "new_name": True}
        )
        self.pypid.api("POST", "/api/groups", {"name": "devs"})
        self.pypid.api("PUT", "/api/groups/devs/members/gina", {"new_name": True})
        for name, where in (
            ("erin", "configuration"),
            ("frank", "right of a project"),
            ("gina", "devs"),
        ):
            self.refused(
                self.pypid.api("POST", "/api/users", {"name": name}), 409, where, "inherit"
            )
            self.add(name, inherit=True)
        self.assertEqual(self.me("gina").json["groups"], ["devs"])


class DirectoryTests(PeopleCase):
    """Another source knows people, too."""

    directory = True

    def test_known_elsewhere(self) -> None:
        """Whom a directory knows cannot be made or changed here, also not to inherit; they can be
        in groups.
        """
        for inherit in False, True:
            self.assertEqual(
                self.pypid.api("POST", "/api/users", {"name": "dora", "inherit": inherit}).status,
                409,
            )
        self.refused(self.pypid.api("DELETE", "/api/users/dora"), 409, "directory")
        self.pypid.api("POST", "/api/groups", {"name": "devs"})
        self.assertEqual(
            self.pypid.api("PUT", "/api/groups/devs/members/dora").json["members"], ["dora"]
        )
        document = self.pypid.api("GET", "/api/users/dora").json
        self.assertEqual(
            (document["source"], document["groups"], document["can_log_in"]),
            ("elsewhere", ["devs", "staff"], True),
        )

    def test_gone(self) -> None:
        """Who left the directory logs in by no token or session of before, once somebody else has
        an account of the name.
        """
        token = self.pypid.api(
            "POST", "/api/tokens", {"name": "t", "actions": ["read"], "user": "dora"}
        ).json["secret"]
        begun = self.pypid.ask(
            "POST", "/api/session", body=json.dumps({"user": "dora", "password": "dora's"}).encode()
        )
        old = (
            ("Authorization", f"Bearer {token}"),
            ("Cookie", str(begun["set-cookie"]).partition(";")[0]),
        )
        for by in old:
            self.assertEqual(self.pypid.get("/api/me", None, by).json["user"], "dora")
        self.people.chain.sources = self.people.chain.sources[:-1]
        self.add("dora")
        self.assertEqual(self.me("dora").json["user"], "dora")
        self.assertEqual(self.pypid.get("/api/me", None, old[0]).status, 401)
        self.assertIsNone(self.pypid.get("/api/me", None, old[1]).json["user"])

    def test_away(self) -> None:
        """While a directory is away no name is given away, for it may be somebody's: 503, and
        nothing is made.
        """
        self.people.directory.away = True
        answer = self.pypid.api("POST", "/api/users", {"name": "carol"})
        self.assertEqual((answer.status, answer["retry-after"]), (503, "10"))
        self.assertEqual(have(self.people.accounts.users()), ())


class AdminTests(PeopleCase):
    """Somebody is always left who may administer the index."""

    def setUp(self) -> None:
        super().setUp()
        self.add("carol", admin=True)

    def only_carol(self) -> None:
        """The configuration has no administrator any more."""
        self.people.configured = evolve(self.people.configured, admins=frozenset())
        self.people.chain.admins = frozenset()

    def test_last(self) -> None:
        """The last one is not removed, disabled, or made none, by nobody; with a second one the
        first may go.
        """
        self.only_carol()
        for method, document in (
            ("PATCH", {"admin": False}),
            ("PATCH", {"status": "disabled"}),
            ("DELETE", None),
        ):
            self.refused(
                self.by("carol", method, "/api/users/carol", document), 409, "last administrator"
            )
        self.assertTrue(self.me("carol").json["admin"])
        self.by(
            "carol",
            "POST",
            "/api/users",
            {"name": "erin", "admin": True, "password": "secret of some length"},
        )
        self.assertEqual(
            self.by("carol", "PATCH", "/api/users/carol", {"admin": False}).status, 200
        )
        self.refused(self.by("erin", "DELETE", "/api/users/erin"), 409)

    def test_one_without_a_password_does_not_count(self) -> None:
        self.by("carol", "POST", "/api/users", {"name": "ci", "admin": True, "no_password": True})
        self.only_carol()
        self.refused(self.by("carol", "PATCH", "/api/users/carol", {"admin": False}), 409)

    def test_disabled_does_not_count(self) -> None:
        """An administrator who cannot log in is none for this; such a one may go, though."""
        self.by("carol", "POST", "/api/users", {"name": "erin", "admin": True})
        self.by("carol", "PATCH", "/api/users/erin", {"status": "disabled"})
        self.only_carol()
        self.refused(self.by("carol", "PATCH", "/api/users/carol", {"admin": False}), 409)
        self.assertEqual(self.by("carol", "DELETE", "/api/users/erin").status, 200)

    def test_both_at_once(self) -> None:
        """Of two administrators who remove each other at the same time one is left."""
        self.add("erin", admin=True)
        self.only_carol()
        waiting: list[Deferred[None]] = []
        remove = self.people.accounts.remove_user

        async def slowly(name: str) -> None:
            waiting.append(Deferred())
            await waiting[-1]
            await remove(name)

        self.patch(self.people.accounts, "remove_user", slowly)
        first, second = self.pypid.connect(), self.pypid.connect()
        for connection, user, other in ((first, "carol", "erin"), (second, "erin", "carol")):
            connection.send(
                spelled("DELETE", f"/api/users/{other}", basic(user, "secret of some length"))
            )
        self.assertEqual((len(waiting), first.answer(), second.answer()), (1, None, None))
        waiting[0].callback(None)
        answers = first.answer(), second.answer()
        assert answers[0] is not None and answers[1] is not None
        self.assertEqual([answer.status for answer in answers if answer], [200, 409])
        self.assertTrue(self.me("carol").json["admin"])


class PasswordTests(PeopleCase):
    """New passwords."""

    PATH = "/api/users/carol/password"

    def setUp(self) -> None:
        super().setUp()
        self.add("carol")
        self.add("erin")

    def test_own(self) -> None:
        """People change their own with the current one."""
        answer = self.by(
            "carol",
            "PUT",
            self.PATH,
            {"password": "another one", "current": "secret of some length"},
        )
        self.assertEqual((answer.status, answer.json), (200, {"name": "carol"}))
        self.assertEqual(
            (self.me("carol").status, self.me("carol", "another one").status), (401, 200)
        )
        self.assertEqual(self.people.done()[-1], ("carol", "user set-password", "carol"))

    def test_short(self) -> None:
        """It has eight characters at least, also one that an administrator sets."""
        said = {"password": "1234567", "current": "secret of some length"}
        self.refused(self.by("carol", "PUT", self.PATH, said), 400, "too short")
        self.refused(self.pypid.api("PUT", self.PATH, said), 400, "too short")
        wanted = {"name": "dora", "password": "1234567"}
        self.refused(self.pypid.api("POST", "/api/users", wanted), 400, "too short")
        self.assertEqual(self.me("carol", "1234567").status, 401)

    def test_current(self) -> None:
        """Without the current one, or with a wrong one, it is 400 and no challenge, and nothing
        changes.
        """
        for current in ({}, {"current": "wrong"}, {"current": ""}, {"current": None}):
            answer = self.by("carol", "PUT", self.PATH, {"password": "another one", **current})
            self.assertEqual((answer.status, answer["www-authenticate"]), (400, None), current)
        self.assertEqual(self.me("carol").status, 200)

    def test_two_at_once(self) -> None:
        """Who knows only the old one does not undo a new one that comes while his own is being
        hashed.
        """
        registry = self.people.registry

        async def slowly(password: str) -> str:
            if password == "his new one":
                self.pypid.clock.advance(0.1)
                hers = await registry.hash_password("hers")
                now = self.pypid.world.now()
                await self.people.accounts.edit_user(
                    "carol", lambda account: evolve(account, hash=hers, changed=now)
                )
            return await registry.hash_password(password)

        self.pypid.app.registry = evolve(registry, hash_password=slowly)
        said = {"password": "his new one", "current": "secret of some length"}
        self.refused(self.by("carol", "PUT", self.PATH, said), 400, "nothing was changed")
        self.assertEqual(
            (self.me("carol", "his new one").status, self.me("carol", "hers").status), (401, 200)
        )

    def test_others(self) -> None:
        """Nobody but an administrator sets somebody else's; an administrator needs no current one,
        and may have one made.
        """
        said = {"password": "mine now", "current": "secret of some length"}
        self.refused(self.by("erin", "PUT", self.PATH, said), 403)
        self.refused(self.pypid.ask("PUT", self.PATH, body=b"{}"), 401)
        made = self.pypid.api("PUT", self.PATH).json["password"]
        self.assertEqual((self.me("carol").status, self.me("carol", made).status), (401, 200))

    def test_by_token(self) -> None:
        """A token changes no password: who finds one must not become its user."""
        token = self.by(
            "carol", "POST", "/api/tokens", {"name": "t", "actions": ["read", "fetch"]}
        ).json["secret"]
        said = b'{"password": "mine now", "current": "secret of some length"}'
        answer = self.pypid.ask("PUT", self.PATH, ("Authorization", f"Bearer {token}"), body=said)
        self.refused(answer, 403, "token")
        self.assertEqual(self.me("carol").status, 200)


class RightTests(PeopleCase):
    """Rights on single projects."""

    configured = Configured(rights=(Right(project_name("eggs"), Whom.USER, "bob", True),))
    rules = Rules(write=AUTHENTICATED)

    def rights(self, project: str) -> dict[str, Any]:
        document: dict[str, Any] = self.pypid.api("GET", f"/api/projects/{project}/rights").json
        return document

    def test_first(self) -> None:
        """The first right takes a project out of the defaults, of which the answer warns; it holds
        at once.
        """
        self.have_wheel("spam")
        self.assertEqual(self.rights("spam")["takes_defaults"], True)
        answer = self.pypid.api("PUT", "/api/projects/Spam/rights/user/bob", {"right": "rw"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["effective"], {"read": "bob", "write": "bob"})
        self.assertIn("first right", answer.json["warnings"][0])
        self.assertIn("read: everyone; write: authenticated", answer.json["warnings"][0])
        self.assertIn("is local from now on", answer.json["warnings"][1])
        self.assertEqual(
            [self.pypid.get("/simple/spam/", user=user).status for user in (None, "alice", "bob")],
            [401, 403, 200],
        )
        second = self.pypid.api("PUT", "/api/projects/spam/rights/everyone", {"right": "r"}).json
        self.assertEqual((second["warnings"], second["effective"]["read"]), ([], "everyone bob"))
        self.assertEqual(self.pypid.get("/simple/spam/").status, 200)

    def test_withdrawn(self) -> None:
        """A right is taken away; after the last one the project is closed until it is opened, and the
        answers say so.
        """
        for kind in ("user/bob", "authenticated"):
            self.pypid.api("PUT", f"/api/projects/spam/rights/{kind}", {"right": "r"})
        self.assertEqual(
            self.pypid.api("DELETE", "/api/projects/spam/rights/user/bob").json["warnings"], []
        )
        last = self.pypid.api("DELETE", "/api/projects/spam/rights/authenticated").json
        self.assertIn("only administrators may use it", last["warnings"][0])
        self.assertFalse(last["takes_defaults"])
        self.assertEqual(self.pypid.get("/simple/spam/").status, 401)
        opened = self.pypid.api("DELETE", "/api/projects/spam/rights/admins").json
        self.assertIn("defaults (", opened["warnings"][0])
        self.assertTrue(opened["takes_defaults"])
        self.assertEqual(self.pypid.get("/simple/spam/").status, 404)
        told = ["right grant", "right grant", "right revoke", "right revoke", "right revoke"]
        self.assertEqual(self.people.done(), [("ada", what, "spam") for what in told])
        self.assertEqual(self.people.deeds()[0].details, {"whom": "user bob", "right": "r"})

    def test_unknown_names(self) -> None:
        """A right of a name that does not exist is refused unless the request says so: as a first
        right it would shut all users out. A name with another right needs no word.
        """
        self.add("carol")
        self.pypid.api("POST", "/api/groups", {"name": "data-platform"})
        for path, advice in (
            ("user/carrol", "did you mean 'carol'?"),
            ("user/q", "spelled right"),
            ("group/data-platfrm", "did you mean 'data-platform'?"),
        ):
            there = f"/api/projects/spam/rights/{path}"
            self.refused(self.pypid.api("PUT", there, {"right": "r"}), 400, advice, "--new-name")
            self.assertEqual(have(self.people.accounts.rights()), ())
        granted = self.pypid.api("PUT", there, {"right": "r", "new_name": True})
        self.assertEqual((granted.status, len(granted.json["warnings"])), (200, 1))
        other = there.replace("spam", "eggs")
        self.assertEqual(self.pypid.api("PUT", other, {"right": "rw"}).status, 200)


class LostTests(PeopleCase):
    """The database goes away, or the client does."""

    durable = True

    def test_database_gone(self) -> None:
        """Without its database an account can neither log in nor be changed, 503; the users of the
        configuration can.
        """
        self.add("carol")
        path = self.people.accounts.current.database.place.path  # type: ignore[union-attr]
        path.rename(path.with_suffix(".away"))
        have(self.people.accounts.current.poll())
        self.assertEqual(self.pypid.api("GET", "/api/users").status, 503)
        self.assertEqual(self.me("carol").status, 503)
        self.assertEqual(self.pypid.api("GET", "/api/me").status, 200)
        path.with_suffix(".away").rename(path)
        have(self.people.accounts.current.poll())
        self.assertEqual(self.me("carol").status, 200)

    def test_client_gone(self) -> None:
        """Who closes the connection at once does not escape the audit log: what is done is written
        down.
        """
        waiting: Deferred[None] = Deferred()
        delete = self.pypid.index.manager.delete
        self.have_wheel("spam")

        async def slowly(*words: Any) -> Any:
            await waiting
            return await delete(*words)

        self.patch(type(self.pypid.index.manager), "delete", lambda _, *words: slowly(*words))
        connection = self.pypid.connect()
        connection.send(
            spelled("DELETE", f"/api/projects/spam/files/{wheel_filename('spam')}", user="ada")
        )
        connection.lose(ConnectionError("gone"))
        waiting.callback(None)
        self.assertEqual(
            self.people.done()[-1], ("ada", "project delete", f"spam/{wheel_filename('spam')}")
        )
        self.assertEqual(self.pypid.page("spam")["files"], [])


def _json(name: str) -> bytes:
    return json.dumps({"name": name}).encode()
