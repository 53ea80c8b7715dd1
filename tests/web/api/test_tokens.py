"""``/api/tokens``: made, used, listed, revoked; and what a token may not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.web.api.tokens import expiry_of
from tests.distributions import wheel, wheel_filename
from tests.web.api.test_users import PeopleCase
from tests.web.app_with_accounts import have
from tests.web.full_app import Answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class TokenCase(PeopleCase):
    """alice may publish; carol has an account."""

    def setUp(self) -> None:
        super().setUp()
        self.add("carol")

    def make(self, *actions: str, user: str = "alice", **fields: object) -> dict[str, Any]:
        """A token of somebody; it has to go well."""
        answer = self.pypid.api(
            "POST", "/api/tokens", {"name": "CI", "actions": list(actions), **fields}, user=user
        )
        self.assertEqual(answer.status, 201, answer)
        document: dict[str, Any] = answer.json
        return document

    def ask_by(self, secret: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """A request by a token."""
        return self.pypid.ask(method, path, ("Authorization", f"Bearer {secret}"), body=body)

    def listed(self, user: str, query: str = "") -> list[dict[str, Any]]:
        """The tokens that somebody sees."""
        answer = self.pypid.api("GET", f"/api/tokens{query}", user=user)
        self.assertEqual(answer.status, 200, answer)
        tokens: list[dict[str, Any]] = answer.json["tokens"]
        return tokens


class LifeTests(TokenCase):
    """From its making to its end."""

    def test_made(self) -> None:
        """The answer has the secret and all that was asked for; the secret and its digest stand
        nowhere else.
        """
        made = self.make("publish", "read", projects=["acme-*"], expires="30d")
        self.assertTrue(made["secret"].startswith("pypi-"))
        self.assertEqual(
            {
                key: made[key]
                for key in (
                    "name",
                    "user",
                    "actions",
                    "projects",
                    "state",
                    "created",
                    "expires",
                    "used",
                )
            },
            {
                "name": "CI",
                "user": "alice",
                "actions": ["read", "publish"],
                "projects": ["acme-*"],
                "state": "usable",
                "created": "2026-01-01T00:00:01.500000Z",
                "expires": "2026-01-31T00:00:01.500000Z",
                "used": None,
            },
        )
        [kept] = have(self.people.accounts.tokens())
        for path in ("/api/tokens?all", "/api/audit"):
            said = self.pypid.api("GET", path).text
            self.assertNotIn(made["secret"], said)
            self.assertNotIn(kept.digest, said)
        self.assertEqual(self.people.done()[-1], ("alice", "token create", made["id"]))

    def test_scope(self) -> None:
        """It publishes what it is for, as Bearer and as ``__token__``, and nothing else; uploads
        are by its user.
        """
        secret = self.make("publish", projects=["acme-*"])["secret"]
        header = ("Authorization", f"Bearer {secret}")
        mine, other = wheel_filename("acme_one"), wheel_filename("spam")
        self.published(self.publish(mine, wheel("acme_one"), user=None, headers=[header]))
        self.refused(self.publish(other, wheel("spam"), user=None, headers=[header]), 403)
        self.assertEqual(self.pypid.file_on("acme-one", mine)["filename"], mine)
        self.assertEqual(self.ask_by(secret, "DELETE", "/api/projects/acme-one").status, 403)
        deed = self.people.deeds()[-1]
        self.assertEqual(
            (deed.who, deed.what, deed.subject), ("alice", "project publish", f"acme-one/{mine}")
        )
        self.assertEqual(deed.token, self.listed("alice")[0]["id"])
        told = self.ask_by(secret, "GET", "/api/me").json
        self.assertEqual((told["user"], told["token"]["actions"]), ("alice", ["publish"]))

    def test_revoked(self) -> None:
        """Once it is revoked it is good for nothing, at once; it stays on the list as revoked."""
        made = self.make("read")
        self.assertEqual(self.ask_by(made["secret"], "GET", "/api/me").status, 200)
        answer = self.pypid.api("DELETE", f"/api/tokens/{made['id']}", user="alice")
        self.assertEqual((answer.status, answer.json["state"]), (200, "revoked"))
        self.assertEqual(self.ask_by(made["secret"], "GET", "/api/me").status, 401)
        self.assertEqual(self.listed("alice")[0]["state"], "revoked")
        self.assertEqual(self.people.done()[-1], ("alice", "token delete", made["id"]))

    def test_expired(self) -> None:
        """After its time it is good for nothing."""
        made = self.make("read", expires="1h")
        self.pypid.clock.advance(3601)
        self.assertEqual(self.ask_by(made["secret"], "GET", "/api/me").status, 401)
        self.assertEqual(self.listed("alice")[0]["state"], "expired")


class OthersTests(TokenCase):
    """Whose tokens one sees, makes and revokes."""

    def test_own(self) -> None:
        """People see and revoke their own; of others' they do not even learn that
        they are there.
        """
        made = self.make("read")
        self.assertEqual(self.listed("bob"), [])
        self.assertEqual(len(self.listed("alice")), 1)
        for id in made["id"], "nothing":
            self.refused(self.pypid.api("DELETE", f"/api/tokens/{id}", user="bob"), 404, id)
        self.assertEqual(self.ask_by(made["secret"], "GET", "/api/me").status, 200)
        for query in ("?all", "?user=alice"):
            self.assertEqual(self.pypid.api("GET", f"/api/tokens{query}", user="bob").status, 403)
        self.assertEqual(self.pypid.get("/api/tokens").status, 401)

    def test_admin(self) -> None:
        """An administrator makes them for others, sees all, and revokes any; others make none for
        others.
        """
        made = self.make("read", user="ada")
        theirs = self.pypid.api(
            "POST", "/api/tokens", {"name": "x", "actions": ["read"], "user": "carol"}
        )
        self.assertEqual((theirs.status, theirs.json["user"]), (201, "carol"))
        self.assertEqual({token["user"] for token in self.listed("ada", "?all")}, {"ada", "carol"})
        self.assertEqual([token["user"] for token in self.listed("ada", "?user=carol")], ["carol"])
        self.assertEqual(self.pypid.api("DELETE", f"/api/tokens/{theirs.json['id']}").status, 200)
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/tokens/{made['id']}", user="bob").status, 404
        )
        answer = self.pypid.api(
            "POST", "/api/tokens", {"name": "x", "actions": ["read"], "user": "carol"}, user="bob"
        )
        self.assertEqual(answer.status, 403)

    def test_never_more(self) -> None:
        """A token is for nothing that its user may not do anywhere, and may do nothing that its
        user no longer may.
        """
        for user, action in (
            ("bob", "publish"),
            ("alice", "admin"),
            ("alice", "delete"),
            ("ada", "overwrite"),
        ):
            answer = self.pypid.api(
                "POST", "/api/tokens", {"name": "x", "actions": ["read", action]}, user=user
            )
            self.assertEqual(answer.status, 403, (user, action))
        self.pypid.api("PUT", "/api/projects/spam/rights/user/carol", {"right": "rw"})
        secret = self.by(
            "carol", "POST", "/api/tokens", {"name": "x", "actions": ["publish"]}
        ).json["secret"]
        header = ("Authorization", f"Bearer {secret}")
        self.published(
            self.publish(wheel_filename("spam"), wheel("spam"), user=None, headers=[header])
        )
        self.pypid.api("DELETE", "/api/projects/spam/rights/user/carol")
        self.refused(
            self.publish(
                wheel_filename("spam", "2.0"), wheel("spam", "2.0"), user=None, headers=[header]
            ),
            403,
        )
        self.pypid.api("PATCH", "/api/users/carol", {"status": "disabled"})
        self.assertEqual(self.ask_by(secret, "GET", "/api/me").status, 401)

    def test_for_nobody(self) -> None:
        """For nobody there is no token."""
        for user in ("nobody-at-all", "", "__token__", "everyone"):
            answer = self.pypid.api(
                "POST", "/api/tokens", {"name": "x", "actions": ["read"], "user": user}
            )
            self.assertEqual(answer.status, 400, user)


class ByTokenTests(TokenCase):
    """What a token may do with tokens."""

    def test_makes_none(self) -> None:
        """A token makes no token, whatever it is for: what leaks is revoked once and gone."""
        secret = self.make("read", "publish", "delete", "fetch", "admin", user="ada")["secret"]
        answer = self.ask_by(secret, "POST", "/api/tokens", b'{"name": "x", "actions": ["read"]}')
        self.refused(answer, 403, "token")
        self.assertEqual(len(self.listed("ada", "?all")), 1)

    def test_sees_itself(self) -> None:
        """One that administers nothing sees itself only, and revokes itself only."""
        first, second = self.make("read"), self.make("read")
        self.assertEqual(
            [t["id"] for t in self.ask_by(first["secret"], "GET", "/api/tokens").json["tokens"]],
            [first["id"]],
        )
        self.assertEqual(
            self.ask_by(first["secret"], "DELETE", f"/api/tokens/{second['id']}").status, 404
        )
        self.assertEqual(
            self.ask_by(first["secret"], "DELETE", f"/api/tokens/{first['id']}").status, 200
        )
        self.assertEqual(self.ask_by(first["secret"], "GET", "/api/me").status, 401)

    def test_admin(self) -> None:
        """One of an administrator that is not for administering administers nothing."""
        weak = self.make("read", "publish", user="ada")["secret"]
        for method, path in (
            ("GET", "/api/users"),
            ("GET", "/api/tokens?all"),
            ("GET", "/api/audit"),
            ("POST", "/api/check"),
        ):
            self.assertEqual(self.ask_by(weak, method, path, b"{}").status, 403, path)
        self.assertFalse(self.ask_by(weak, "GET", "/api/me").json["admin"])
        strong = self.make("admin", user="ada")["secret"]
        self.assertEqual(self.ask_by(strong, "GET", "/api/users").status, 200)


class RefusedTests(TokenCase):
    """What cannot be asked for."""

    def test_documents(self) -> None:
        """400 with the reason, and nothing is made."""
        good = {"name": "x", "actions": ["read"]}
        for wrong in (
            {"name": ""},
            {"name": " "},
            {"name": "a\nb"},
            {"name": "x" * 101},
            {"name": None},
            {"actions": []},
            {"actions": ["write"]},
            {"actions": ["read"] * 8},
            {"actions": "read"},
            {"projects": []},
            {"projects": ["a b"]},
            {"projects": [""]},
            {"projects": ["x" * 201]},
            {"projects": ["x"] * 101},
            {"expires": "yesterday"},
            {"expires": "0d"},
            {"expires": "-1d"},
            {"expires": "2025-01-01T00:00:00Z"},
            {"expires": "2027-01-01"},
            {"expires": "2027-01-01T00:00:00"},
            {"expires": 30},
            {"secret": "mine"},
            {"digest": "mine"},
        ):
            self.assertEqual(
                self.pypid.api("POST", "/api/tokens", {**good, **wrong}, user="alice").status,
                400,
                wrong,
            )
        self.assertEqual(self.listed("ada", "?all"), [])

    def test_too_many(self) -> None:
        """Nobody fills the memory with tokens; those that are revoked do not count."""
        self.patch(__import__("pypid.web.api.tokens", fromlist=["MOST"]), "MOST", 2)
        first = self.make("read")
        self.make("read")
        self.refused(
            self.pypid.api("POST", "/api/tokens", {"name": "x", "actions": ["read"]}, user="alice"),
            400,
            "Revoke",
        )
        self.pypid.api("DELETE", f"/api/tokens/{first['id']}", user="alice")
        self.make("read")

    def test_many_a_day(self) -> None:
        """Who makes tokens and revokes them at once fills the memory with them neither; on the next
        day there is room again.
        """
        self.patch(__import__("pypid.web.api.tokens", fromlist=["MOST_A_DAY"]), "MOST_A_DAY", 3)
        for _ in range(3):
            self.pypid.api("DELETE", f"/api/tokens/{self.make('read')['id']}", user="alice")
        wanted = {"name": "x", "actions": ["read"]}
        self.refused(self.pypid.api("POST", "/api/tokens", wanted, user="alice"), 400, "tomorrow")
        self.make("read", user="ada")
        self.pypid.clock.advance(24 * 3600)
        self.make("read")

    def test_wild(self) -> None:
        """Globs that would hold up everybody else each time that they are looked at are refused;
        many plain names are not.
        """
        many = {
            "name": "x",
            "actions": ["read"],
            "projects": [f"project-{number}" for number in range(100)],
        }
        self.assertEqual(self.pypid.api("POST", "/api/tokens", many, user="alice").status, 201)
        for wild in ("*a" * 51, "?" * 51, "[ab]" * 26 + "*" * 25):
            wanted = {**many, "projects": ["acme-*", wild]}
            self.refused(self.pypid.api("POST", "/api/tokens", wanted, user="alice"), 400, "fewer")


class RuleTests(SynchronousTestCase):
    """`scope_of` and `expiry_of`."""

    @given(st.text(max_size=40))
    @settings(max_examples=75, deadline=None, database=None)
    def test_any_text(self, text: str) -> None:
        """Whatever is sent is a moment to come, or refused."""
        try:
            moment = expiry_of(text, NOW)
        except BadRequest:
            return
        assert moment is not None
        self.assertGreater(moment, NOW)
