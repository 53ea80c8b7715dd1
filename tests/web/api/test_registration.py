from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from ipaddress import ip_network
from json import dumps
from pathlib import Path
from typing import Any

import altcha
from altcha import v2
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import AccountStatus, Right, Whom
from pypid.core.accounts.sessions import MOST_FROM_A_PLACE, AccountSettings
from pypid.core.configuration.choices import Registration
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Scope
from pypid.web.api import accounts as captcha
from pypid.web.api.accounts import LIFETIME
from pypid.web.app.app import Configured
from pypid.web.http.connections import TrustedProxies
from tests.web.app.test_captcha import Stopped
from tests.web.app_with_registration import OURS, Registering, now
from tests.web.full_app import Answer, basic

PASSWORD = "correct horse"


class RegisteringCase(SynchronousTestCase):
    """A pypid, and somebody who would like an account."""

    registration = Registration.OPEN
    captcha = False
    configured: Configured | None = None

    def setUp(self) -> None:
        """Nobody has registered."""
        settings = AccountSettings(registration=self.registration, captcha=self.captcha)
        self.pypid = Registering(Path(self.mktemp()), settings, configured=self.configured)

    def register(
        self, user: str = "eve", *headers: tuple[str, str], password: str = PASSWORD, **more: object
    ) -> Answer:
        return self.pypid.say(
            "POST", "/api/register", {"user": user, "password": password, **more}, *headers
        )

    def logs_in(self, user: str, password: str = PASSWORD) -> bool:
        """Whether the name and the password are good for a request."""
        answer = self.pypid.get("/api/me", None, basic(user, password))
        self.assertIn(answer.status, (200, 401))
        return answer.status == 200

    def accounts(self) -> list[str]:
        return [account.name for account in now(self.pypid.accounts.users())]

    def later(self, **time: float) -> None:
        """So much later."""
        self.pypid.clock.advance(timedelta(**time).total_seconds())


class OpenTests(RegisteringCase):
    """Where everybody may make an account."""

    def test_registered(self) -> None:
        """An account can be used at once, by a password and in a browser, and is no
        administrator's.
        """
        answer = self.register("Eve.L@example.com", OURS)
        self.assertEqual(answer.status, 201)
        self.assertEqual(
            (answer.json["user"], answer.json["status"]), ("Eve.L@example.com", "active")
        )
        self.assertTrue(self.logs_in("Eve.L@example.com"))
        self.assertFalse(self.logs_in("eve.l@example.com"))
        me = self.pypid.get("/api/me", None, basic("Eve.L@example.com", PASSWORD)).json
        self.assertEqual((me["admin"], me["groups"]), (False, []))
        session = self.pypid.say(
            "POST", "/api/session", {"user": "Eve.L@example.com", "password": PASSWORD}
        )
        self.assertEqual(session.json["user"], "Eve.L@example.com")
        self.assertEqual(
            [
                (deed.who, deed.what, deed.subject, dict(deed.details))
                for deed in self.pypid.deeds()
            ][:1],
            [
                (
                    "anonymous",
                    "user register",
                    "Eve.L@example.com",
                    {"registration": "open", "status": "active"},
                )
            ],
        )

    def test_nothing_told(self) -> None:
        """The password is in no answer, log or record."""
        answer = self.register()
        written = (
            answer.text
            + repr(self.pypid.deeds())
            + "\n".join(self.pypid.log)
            + repr(now(self.pypid.accounts.users()))
        )
        self.assertNotIn(PASSWORD, written)
        self.assertNotIn("$argon2", written)

    def test_taken(self) -> None:
        """A name that somebody has is 409, in capital letters too; so is one that people would take
        for somebody else's.
        """
        self.assertEqual(self.register("Eve").status, 201)
        for user in ("Eve", "eve", "EVE", "ada", "Alice", "bob", "root"):
            self.assertEqual(self.register(user).status, 409, user)
        self.assertEqual(self.accounts(), ["Eve"])

    def test_at_once(self) -> None:
        """Of two who want names that look alike at the same moment one gets it."""
        gates: list[Deferred[str]] = []

        async def slowly(password: str) -> str:
            gates.append(Deferred())
            return await gates[-1]

        object.__setattr__(self.pypid.app.registry, "hash_password", slowly)
        connections = [self.pypid.connect() for _ in range(2)]
        for connection, user in zip(connections, ("Eve", "eve"), strict=True):
            body = dumps({"user": user, "password": PASSWORD}).encode()
            connection.send(
                b"POST /api/register HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n"
                % len(body)
                + body
            )
        for gate in gates:
            gate.callback("$argon2id$x")
        answers = [connection.answer("POST") for connection in connections]
        self.assertEqual(sorted(answer.status for answer in answers if answer), [201, 409])
        self.assertEqual(len(self.accounts()), 1)

    def test_throttled(self) -> None:
        """Ten attempts an hour from one place, whatever comes of them; then 429, which says how
        long, and others go on.
        """
        for number in range(MOST_FROM_A_PLACE):
            self.assertEqual(
                self.register("ada" if number % 2 else f"eve{number}").status,
                409 if number % 2 else 201,
            )
            self.later(minutes=1)
        answer = self.register("mallory")
        self.assertEqual((answer.status, answer["retry-after"]), (429, str(3600 - 600)))
        self.assertIn("registrations", answer.text)
        self.pypid.site.trusted_proxies = TrustedProxies((ip_network("192.0.2.0/24"),))
        self.assertEqual(self.register("mallory", ("X-Forwarded-For", "198.51.100.1")).status, 201)
        for number in range(MOST_FROM_A_PLACE):  # one customer's addresses are one place
            self.assertEqual(
                self.register(f"six{number}", ("X-Forwarded-For", f"2001:db8::{number}")).status,
                201,
            )
        self.assertEqual(self.register("trent", ("X-Forwarded-For", "2001:db8::ffff")).status, 429)
        self.later(minutes=50, seconds=1)
        self.assertEqual(self.register("trent").status, 201)


class MentionedTests(RegisteringCase):
    """Names that have been given something."""

    configured = Configured(mentioned=frozenset({"writer", "Boss"}))

    def test_not_inherited(self) -> None:
        """Nobody registers under a name that a rule, a right, a group or a token mentions, though
        nobody has it yet.
        """
        accounts = self.pypid.accounts
        now(accounts.add_group("team"))
        now(accounts.join("team", "member"))
        now(accounts.grant(Right(project_name("acme"), Whom.USER, "grantee", True)))
        now(accounts.grant(Right(project_name("acme"), Whom.GROUP, "crew", True)))
        _, token = self.pypid.app.known.new_token(
            name="old",
            user="leaver",
            scope=Scope(frozenset({Action.READ})),
            now=self.pypid.world.now(),
        )
        now(accounts.add_token(token))
        for user in ("writer", "boss", "member", "Member", "grantee", "leaver", "LEAVER"):
            answer = self.register(user)
            self.assertEqual(answer.status, 409, user)
            for word in (
                b"team",
                b"group",
                b"right",
                b"configuration",
            ):  # a stranger learns nothing of where
                self.assertNotIn(word, answer.body, user)
        self.later(hours=1)
        self.assertEqual(
            self.register("crew").status, 201
        )  # a group's name gives nothing to a user


class ClosedTests(RegisteringCase):
    """Where nobody makes an account for oneself."""

    registration = Registration.CLOSED

    def test_closed(self) -> None:
        """The answer is 403 whatever is sent, and says whom to ask."""
        for body in (b"", b"{", b'{"user":"eve","password":"correct horse"}'):
            answer = self.pypid.ask("POST", "/api/register", body=body)
            self.assertEqual(answer.status, 403)
            self.assertIn("administrators", answer.text)
        self.assertEqual(self.accounts(), [])


class ApprovalTests(RegisteringCase):
    """Where an administrator approves."""

    registration = Registration.APPROVAL

    def test_approved(self) -> None:
        """An account waits, and its password is good for nothing but a hint until an administrator
        lets it in.
        """
        answer = self.register()
        self.assertEqual((answer.status, answer.json["status"]), (201, "pending"))
        self.assertIn("approve", answer.json["message"])
        self.assertFalse(self.logs_in("eve"))
        session = {"user": "eve", "password": PASSWORD}
        self.assertIn("approve", self.pypid.say("POST", "/api/session", session).text)
        self.assertNotIn(
            "approve", self.pypid.say("POST", "/api/session", {**session, "password": "x"}).text
        )
        self.assertEqual(self.register("EVE").status, 409)
        approved = self.pypid.say("PATCH", "/api/users/eve", {"status": "active"}, user="ada")
        self.assertEqual(
            (approved.status, approved.json["status"]),
            (200, AccountStatus.ACTIVE.value),
            approved.text,
        )
        self.later(minutes=20)
        self.assertEqual(self.pypid.say("POST", "/api/session", session).status, 200)


class InvitationTests(RegisteringCase):
    """Where one registers by invitation."""

    registration = Registration.TOKEN

    def invite(self, document: object = None) -> dict[str, Any]:
        answer = self.pypid.say("POST", "/api/invitations", document, user="ada")
        self.assertEqual(answer.status, 201)
        made: dict[str, Any] = answer.json
        return made

    def test_invited(self) -> None:
        """One invitation makes one account, and both are in the audit log, the secret never."""
        made = self.invite()
        self.assertEqual(made["expires"], "2026-01-08T00:00:01Z")
        self.assertEqual(self.register(token=made["secret"]).status, 201)
        self.assertTrue(self.logs_in("eve"))
        again = self.register("mallory", token=made["secret"])
        self.assertEqual((again.status, self.accounts()), (400, ["eve"]))
        self.assertIn("Ask for a new one", again.text)
        done = [(deed.who, deed.what, deed.subject) for deed in self.pypid.deeds()]
        self.assertEqual(
            done, [("ada", "invitation create", made["id"]), ("anonymous", "user register", "eve")]
        )
        self.assertEqual(self.pypid.deeds()[1].details["invitation"], made["id"])
        self.assertNotIn(made["secret"], repr(self.pypid.deeds()) + "\n".join(self.pypid.log))

    def test_not_used_up(self) -> None:
        """What is refused for another reason uses no invitation up."""
        token = self.invite()["secret"]
        for user, password, status in (
            ("ada", PASSWORD, 409),
            ("a b", PASSWORD, 400),
            ("eve", "short", 400),
        ):
            self.assertEqual(self.register(user, password=password, token=token).status, status)
        self.assertEqual(self.register(token=token).status, 201)

    def test_none(self) -> None:
        """Without an invitation it is 403 with advice, with a damaged or old one 400, and no
        attempt is counted.
        """
        answer = self.register()
        self.assertEqual(answer.status, 403)
        self.assertIn("administrator", answer.text)
        old = self.invite({"expires": "1h"})["secret"]
        self.later(hours=1)
        for token in (
            "",
            "x",
            old,
            self.invite()["secret"][:-1],
            "pypid-invitation-" + "A" * 66,
            "é" * 200,
        ):
            for _ in range(3):
                self.assertEqual(self.register(token=token).status, 400, token)
        self.assertEqual(self.register(token=self.invite()["secret"]).status, 201)

    def test_withdrawn(self) -> None:
        """One that is taken back lets nobody in; one that was used cannot be taken back."""
        made, used = self.invite(), self.invite()
        path = "/api/invitations/"
        self.assertTrue(self.pypid.say("DELETE", path + made["id"], user="ada").json["withdrawn"])
        self.assertEqual(self.register(token=made["secret"]).status, 400)
        self.assertEqual(self.register(token=used["secret"]).status, 201)
        self.assertFalse(self.pypid.say("DELETE", path + used["id"], user="ada").json["withdrawn"])
        self.assertEqual(self.pypid.say("DELETE", path + "x", user="ada").status, 400)
        self.assertEqual([deed.what for deed in self.pypid.deeds()].count("invitation delete"), 1)


class CaptchaTests(RegisteringCase):
    """Where a riddle is asked."""

    captcha = True

    def setUp(self) -> None:
        """Easy ones."""
        super().setUp()
        self.clock = Stopped(self.pypid.world.now())
        self.patch(v2, "time", self.clock)
        self.patch(captcha, "COST", 2)
        self.patch(captcha, "FEWEST", 3)
        self.patch(captcha, "MOST", 9)

    def solution(self) -> str:
        answer = self.pypid.get("/api/captcha")
        self.assertEqual((answer.status, answer["cache-control"]), (200, "no-store"))
        challenge = altcha.Challenge.from_dict(answer.json)
        solution = altcha.solve_challenge(challenge)
        assert solution is not None
        return b64encode(
            dumps({"challenge": answer.json, "solution": solution.to_dict()}).encode()
        ).decode()

    def test_solved(self) -> None:
        """With a solved riddle there is an account, and each riddle is good for one attempt."""
        solution = self.solution()
        self.assertEqual(self.register(captcha=solution).status, 201)
        again = self.register("mallory", captcha=solution)
        self.assertEqual((again.status, self.accounts()), (400, ["eve"]))
        self.assertIn("used already", again.text)
        self.assertEqual(self.register("trent", captcha=self.solution()).status, 201)

    def test_unsolved(self) -> None:
        """Without a solution, or with an old or wrong one, it is 400 with advice."""
        old = self.solution()
        self.clock.moment += LIFETIME + timedelta(seconds=1)
        for solution in (None, "", "x", old, "A" * 10_000, b64encode(b"{}").decode()):
            answer = self.register(captcha=solution)
            self.assertEqual(answer.status, 400, solution)
            self.assertIn("/api/captcha", answer.text)
        self.assertEqual(self.accounts(), [])
