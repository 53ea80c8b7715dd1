from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from argon2 import PasswordHasher
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import Account, Session
from pypid.core.accounts.sessions import AccountSettings, digest_of
from pypid.core.permissions import AUTHENTICATED, Principals, Rules
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_registration import KEY, OURS, Registering, cookie_of, now
from tests.web.full_app import PASSWORDS, TOKEN, Answer, basic

LOGIN = {"user": "alice", "password": PASSWORDS["alice"]}
PRIVATE = Rules(read=AUTHENTICATED, write=Principals(users=frozenset({"alice"})))


class SessionCase(SynchronousTestCase):
    """A pypid, and somebody with a browser."""

    rules = PRIVATE

    def setUp(self) -> None:
        """Nobody is logged in."""
        self.pypid = Registering(
            Path(self.mktemp()),
            AccountSettings(session_lifetime=timedelta(hours=1)),
            rules=self.rules,
        )

    def sessions(self) -> list[Session]:
        """Those that are stored."""
        return list(self.pypid.accounts.current.state().sessions.values())

    def log_in(
        self, user: str = "alice", *headers: tuple[str, str]
    ) -> tuple[tuple[str, str], tuple[str, str]]:
        """The cookie and the CSRF header of a new session."""
        answer = self.pypid.say(
            "POST", "/api/session", {"user": user, "password": PASSWORDS[user]}, *headers
        )
        self.assertEqual(answer.status, 200, answer)
        return cookie_of(answer), ("X-CSRF-Token", answer.json["csrf_token"])

    def status(self, *headers: tuple[str, str], path: str = "/simple/") -> int:
        """Of a GET."""
        return self.pypid.get(path, None, *headers).status

    def upload(self, *headers: tuple[str, str]) -> Answer:
        """The answer to an upload."""
        body = wheel()
        path = f"/packages/py3/s/spam/{wheel_filename()}"
        return self.pypid.ask("PUT", path, *headers, body=body)


class SessionTests(SessionCase):
    """From the login to the logout."""

    def test_whole_life(self) -> None:
        """A login gives a cookie by which one is known, until the logout ends it at once."""
        self.assertEqual(self.status(), 401)
        answer = self.pypid.say("POST", "/api/session", LOGIN, OURS)
        token = answer.json["csrf_token"]
        self.assertEqual(
            answer.json,
            {
                "user": "alice",
                "admin": False,
                "csrf_token": token,
                "expires": "2026-01-01T01:00:01.500000Z",
            },
        )
        self.assertEqual(answer["cache-control"], "no-store")
        self.assertIn("Max-Age=3600; HttpOnly; SameSite=Lax", str(answer["set-cookie"]))
        cookie = cookie_of(answer)
        self.assertEqual(self.status(cookie), 200)
        self.assertEqual(self.pypid.get("/api/session", None, cookie).json, answer.json)
        self.assertIn(" alice ", self.pypid.log[-1])
        self.assertEqual(self.pypid.say("DELETE", "/api/session", None, cookie).status, 403)
        ended = self.pypid.say("DELETE", "/api/session", None, cookie, ("X-CSRF-Token", token))
        self.assertEqual((ended.status, ended.json), (200, {"user": None}))
        self.assertIn("pypid_session=; Path=/; Max-Age=0", str(ended["set-cookie"]))
        self.assertEqual((self.status(cookie), self.sessions()), (401, []))
        self.assertEqual([(deed.who, deed.what, deed.where) for deed in self.pypid.deeds()], [
            ("alice", "user log-in", "192.0.2.7"), ("alice", "user log-out", "192.0.2.7"),
        ])  # fmt: skip

    def test_nothing_stored(self) -> None:
        """Of the cookie only a keyed digest is stored, and nothing of it is in a log."""
        cookie, csrf = self.log_in()
        secret = cookie[1].partition("=")[2]
        [session] = self.sessions()
        self.assertEqual(session.digest, digest_of(secret, KEY))
        written = repr([session, *self.pypid.deeds()]) + "\n".join(self.pypid.log)
        for word in (secret, csrf[1], PASSWORDS["alice"], session.digest):
            self.assertNotIn(word, written)

    def test_expires(self) -> None:
        """It ends by itself."""
        cookie, _ = self.log_in()
        self.pypid.clock.advance(3599)
        self.assertEqual(self.status(cookie), 200)
        self.pypid.clock.advance(1)
        self.assertEqual(self.status(cookie), 401)

    def test_always_new(self) -> None:
        """Every login makes a session of its own, whatever cookie came along, and
        ends that one's.
        """
        first, _ = self.log_in()
        planted = ("Cookie", "pypid_session=" + "A" * 43)
        second, _ = self.log_in("alice", first)
        third, _ = self.log_in("bob", planted)
        self.assertEqual(len({first, second, third, planted}), 4)
        self.assertEqual(
            [self.status(cookie) for cookie in (first, second, third, planted)],
            [401, 200, 200, 401],
        )

    def test_wrong(self) -> None:
        """A wrong name or password is 403, all alike, without a challenge that makes browsers ask
        by themselves.
        """
        for user, password in (
            ("alice", "wrong"), ("nobody", "x"), ("", ""), ("alice", ""), ("alice", "x" * 10_000), ("al\nice", "x"),
            ("x" * 300, "x"), ("alice:", "x"), ("__token__", PASSWORDS["__token__"]), ("__session__", "A" * 43),
        ):  # fmt: skip
            answer = self.pypid.say("POST", "/api/session", {"user": user, "password": password})
            self.assertEqual(
                (answer.status, answer["set-cookie"], answer["www-authenticate"]),
                (403, None, None),
                user,
            )
            self.assertIn("wrong", answer.text)
        self.assertEqual(self.sessions(), [])

    def test_throttled(self) -> None:
        """Guessing is slowed down here as everywhere: 429 with Retry-After."""
        statuses = [
            self.pypid.say("POST", "/api/session", {**LOGIN, "password": "wrong"}).status
            for _ in range(20)
        ]
        self.assertIn(429, statuses)
        answer = self.pypid.say("POST", "/api/session", {**LOGIN, "password": "wrong"})
        self.assertGreater(int(answer["retry-after"] or 0), 0)

    def test_again_and_again(self) -> None:
        """Who logs in without end fills the audit log only so far: 429, by the right password only,
        and nobody else is met.
        """
        self.patch(
            __import__("pypid.web.app.rate_limit", fromlist=["MOST_LOGINS"]), "MOST_LOGINS", 3
        )
        statuses = [self.pypid.say("POST", "/api/session", LOGIN).status for _ in range(4)]
        self.assertEqual((statuses, len(self.pypid.deeds())), ([200, 200, 200, 429], 3))
        self.assertEqual(self.pypid.say("POST", "/api/session", LOGIN)["retry-after"], "3600")
        self.assertEqual(
            self.pypid.say("POST", "/api/session", {**LOGIN, "password": "wrong"}).status, 403
        )
        self.log_in("bob")
        self.pypid.clock.advance(3600)
        self.log_in("alice")

    def test_no_session_by_token(self) -> None:
        """A token begins no session, which could do more than it; sent as a header it only says who
        asks.
        """
        now(self.pypid.accounts.add_token(TOKEN))
        bearer = ("Authorization", f"Bearer {PASSWORDS['__token__']}")
        self.assertEqual(self.pypid.get("/api/session", None, bearer).json["user"], "alice")
        self.assertIsNone(self.pypid.get("/api/session", None, bearer).json["csrf_token"])
        answer = self.pypid.say(
            "POST",
            "/api/session",
            {"user": "__token__", "password": PASSWORDS["__token__"]},
            bearer,
        )
        self.assertEqual((answer.status, self.sessions()), (403, []))

    def test_by_basic(self) -> None:
        """Nobody sends a session as a user and a password."""
        cookie, _ = self.log_in()
        self.assertEqual(self.status(basic("__session__", cookie[1].partition("=")[2])), 401)

    def test_gone_user(self) -> None:
        """Whoever is nobody any more is nobody by a session either."""
        secret = "A" * 43
        for user in ("alice", "gone"):
            self.log_in()
            begun = evolve(self.sessions()[0], digest=digest_of(secret, KEY), user=user)
            now(self.pypid.accounts.add_session(begun))
            self.assertEqual(
                self.status(("Cookie", f"pypid_session={secret}")), 200 if user == "alice" else 401
            )
            now(self.pypid.accounts.end_session(begun.digest))

    def test_password_meanwhile(self) -> None:
        """A login by the old password begins no session if a new one comes while the session is
        written down.
        """
        accounts, add = self.pypid.accounts, self.pypid.accounts.add_session
        hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        moment = self.pypid.world.now()
        carol = Account(
            name="carol", hash=hasher.hash("the old one"), created=moment, changed=moment
        )
        now(accounts.add_user(carol))

        async def late(session: Session) -> None:
            await accounts.edit_user(
                "carol", lambda account: evolve(account, hash=hasher.hash("a new one"))
            )
            await add(session)

        self.patch(accounts, "add_session", late)
        answer = self.pypid.say(
            "POST", "/api/session", {"user": "carol", "password": "the old one"}
        )
        self.assertEqual((answer.status, answer["set-cookie"], self.sessions()), (403, None, []))

    def test_away(self) -> None:
        """Where the database is away, a login is 503 and sets no cookie; who has one gets 503, and
        not somebody else's view.
        """
        cookie, _ = self.log_in()
        self.pypid.path.unlink()
        answer = self.pypid.say("POST", "/api/session", LOGIN)
        self.assertEqual((answer.status, answer["set-cookie"]), (503, None))
        self.assertEqual((self.status(cookie), self.status(cookie, path="/health")), (503, 503))
        self.assertEqual(self.status(), 401)


class CsrfTests(SessionCase):
    """A page of somebody else's in the browser of somebody who is logged in."""

    def test_token(self) -> None:
        """What changes something by a cookie needs the token of that session, and nothing is
        changed without it.
        """
        cookie, csrf = self.log_in()
        _, others = self.log_in("bob")
        for headers in (
            [],
            [("X-CSRF-Token", "")],
            [others],
            [("X-CSRF-Token", csrf[1][:-1])],
            [csrf, others],
        ):
            answer = self.upload(cookie, *headers)
            self.assertEqual(answer.status, 403, headers)
            self.assertIn("X-CSRF-Token", answer.text)
        self.assertEqual(self.pypid.names("alice"), [])
        self.assertEqual(self.upload(cookie, csrf).status, 200)
        self.assertEqual(self.pypid.names("alice"), ["spam"])

    def test_reading_needs_none(self) -> None:
        """Reading needs no token, and a POST that only reads does."""
        cookie, csrf = self.log_in()
        for method in ("GET", "HEAD", "OPTIONS"):
            self.assertIn(self.pypid.ask(method, "/simple/", cookie).status, (200, 204))
        query = b'{"package": {"name": "spam", "ecosystem": "PyPI"}}'
        at = "/osv/v1/query"
        self.assertEqual(self.pypid.ask("POST", at, cookie, body=query).status, 403)
        self.assertEqual(self.pypid.ask("POST", at, cookie, csrf, body=query).status, 200)

    def test_origin(self) -> None:
        """With the token as well, a page of another site changes nothing by the cookie."""
        cookie, csrf = self.log_in()
        for origin in ("https://evil.example", "null", "http://sub.index.example"):
            self.assertEqual(self.upload(cookie, csrf, ("Origin", origin)).status, 403)
            self.assertEqual(
                self.pypid.say(
                    "DELETE", "/api/session", None, cookie, csrf, ("Origin", origin)
                ).status,
                403,
            )
        self.assertEqual((self.status(cookie), self.pypid.names("alice")), (200, []))

    def test_login(self) -> None:
        """A page of another site logs nobody in, or into somebody else's account, and registers
        nobody.
        """
        for path, document in (
            ("/api/session", LOGIN),
            ("/api/register", {"user": "eve", "password": "longenough"}),
        ):
            for origin in ("https://evil.example", "null"):
                answer = self.pypid.say(
                    "POST", path, document, ("Origin", origin), ("Content-Type", "text/plain")
                )
                self.assertEqual((answer.status, answer["set-cookie"]), (403, None))
                self.assertIn("another site", answer.text)
        self.assertEqual(self.sessions(), [])

    def test_password_needs_none(self) -> None:
        """Who sends a password or a token needs none of this: the header comes first, and the
        cookie is not looked at.
        """
        cookie, _ = self.log_in("bob")
        self.assertEqual(self.upload(cookie, basic("alice")).status, 200)
        self.assertEqual(self.upload(cookie, basic("alice", "wrong")).status, 401)

    def test_logout_by_password(self) -> None:
        """A logout by the header's user ends no session of the cookie, whose token was not asked
        for.
        """
        cookie, _ = self.log_in()
        self.assertEqual(
            self.pypid.say("DELETE", "/api/session", None, cookie, basic("alice")).status, 200
        )
        self.assertEqual(self.status(cookie), 200)


class PublicTests(SessionCase):
    """Where everybody may read."""

    rules = Rules(write=PRIVATE.write)

    def test_ended_session(self) -> None:
        """A cookie that is good for nothing is as none: reading goes on, and what needs somebody is
        401.
        """
        damaged = [
            "",
            "=",
            "x",
            "A" * 42,
            "A" * 43,
            "A" * 10_000,
            "\xff" * 43,
            '"' + "A" * 43 + '"',
        ]
        for value in damaged:
            cookie = ("Cookie", f"pypid_session={value}")
            self.assertEqual(self.status(cookie), 200, value)
            self.assertEqual(self.pypid.get("/api/session", None, cookie).json["user"], None)
            self.assertEqual(self.upload(cookie).status, 401)
            self.assertEqual(self.pypid.say("DELETE", "/api/session", None, cookie).status, 200)
        self.assertEqual(self.pypid.deeds(), ())


class TlsTests(SessionCase):
    """By TLS."""

    def test_host_cookie(self) -> None:
        """The cookie is the host's own and never leaves TLS; one that was set without TLS does not
        count.
        """
        answer = self.pypid.say_by_tls("POST", "/api/session", LOGIN)
        self.assertRegex(
            str(answer["set-cookie"]), r"^__Host-pypid_session=[\w-]{43}; Path=/; .*; Secure$"
        )
        cookie = cookie_of(answer)
        self.assertEqual(self.pypid.say_by_tls("GET", "/simple/", None, cookie).status, 200)
        plain = ("Cookie", cookie[1].removeprefix("__Host-"))
        self.assertEqual(self.pypid.say_by_tls("GET", "/simple/", None, plain).status, 401)
        self.assertEqual(self.status(cookie), 401)
