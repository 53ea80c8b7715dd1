"""Users and groups from another service: what is asked and remembered, and what is taken for an
answer.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.access import remote
from pypid.access.cached_source import AnswerCache
from pypid.access.passwords import LONGEST_PASSWORD
from pypid.access.remote import (
    LONGEST_NAME,
    MOST_GROUPS,
    MOST_REMEMBERED,
    MOST_WAITING,
    PATIENCE,
    InvalidAnswer,
    PasswordRejected,
    RemotePeople,
    RemoteSourceSettings,
    RespelledUser,
    UnknownUser,
    read_checked,
    read_found,
)
from pypid.core.configuration.checks import IN_CLEAR
from pypid.core.errors import Busy, CannotStart, PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import start
from pypid.ports import People
from pypid.testing.people import PeopleContract
from pypid.testing.worlds import Awaiting, world
from tests.access.peopleservice import Service, Wired

quick = settings(max_examples=50, deadline=None, database=None)

URL = "https://people.example/v"
ALICE = Identity("alice", frozenset({"team"}))
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"password": "wonder land", "groups": ["team"], "admin": False},
    "root": {"password": "toor", "groups": [], "admin": True},
}


def person(
    name: str, password: str, groups: Mapping[str, frozenset[str]], admin: str
) -> dict[str, Any]:
    """What the service holds of somebody."""
    return {
        "password": password,
        "groups": [g for g, members in groups.items() if name in members],
        "admin": name == admin,
    }


class ContractTests(PeopleContract, TestCase):
    """What every source keeps, with a service in memory."""

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        service = Service(
            {name: person(name, password, groups, admin) for name, password in users.items()}
        )
        clock = Clock()
        return remote.open(RemoteSourceSettings(url=URL), world(clock), Wired(service, clock))


class RemoteCase(Awaiting, SynchronousTestCase):
    """A service in memory, and a source that asks it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = Service(PEOPLE)
        self.wired = Wired(self.service, self.clock)
        self.people = self.asking()

    def asking(self, **more: Any) -> RemotePeople:
        """A source with these settings."""
        return remote.open(
            RemoteSourceSettings(**{"url": URL, **more}), world(self.clock), self.wired
        )

    def check(self, user: str = "alice", password: str = "wonder land") -> Identity | None:
        """What comes of logging in."""
        return self.have(self.people.check(Credential(user, password)))

    def wrong(self, user: str = "alice", password: str = "wrong") -> None:
        """The password is refused."""
        self.refused(self.people.check(Credential(user, password)), Unauthenticated)

    def away(self) -> None:
        """Nobody can be asked."""
        self.refused(self.people.check(Credential("alice", "wonder land")), PeopleUnknown)
        self.refused(self.people.find("alice"), PeopleUnknown)

    def asked(self) -> int:
        """How often the service was asked since the last time."""
        asked = len(self.service.asked)
        self.service.asked.clear()
        return asked


class AskingTests(RemoteCase):
    """What goes over the wire."""

    def test_questions(self) -> None:
        """Two questions, JSON of a type with a version in it; with a user we say who we are,
        without we do not.
        """
        self.assertEqual(self.check(), ALICE)
        self.assertEqual(self.have(self.people.find("root")), Identity("root", admin=True))
        self.assertEqual(
            self.service.asked,
            [
                ("/v/check", {"user": "alice", "password": "wonder land"}),
                ("/v/find", {"user": "root"}),
            ],
        )
        for heard in self.service.heard:
            self.assertEqual(heard["content-type"], "application/vnd.pypid.people.v1+json")
            self.assertEqual(heard["accept"], "application/vnd.pypid.people.v1+json")
            self.assertNotIn("authorization", heard)
        self.people = self.asking(user="pypid", password="sésame")
        self.check()
        self.assertEqual(self.service.heard[-1]["authorization"], "Basic cHlwaWQ6c8Opc2FtZQ==")

    def test_what_is_not_sent(self) -> None:
        """A password that can be nobody's, and a name that can be nobody's, are
        not sent anywhere.
        """
        for user in ("", "a b", "a:b", "everyone", "al\0ice", "\ud800", "x" * (LONGEST_NAME + 1)):
            self.assertIsNone(self.check(user))
            self.assertIsNone(self.have(self.people.find(user)))
        self.assertEqual(self.asked(), 0)
        for password in (
            "",
            "a\0b",
            "\ud800",
            "x" * (LONGEST_PASSWORD + 1),
            "é" * (LONGEST_PASSWORD // 2 + 1),
        ):
            self.wrong(password=password)
            self.assertIsNone(self.check("mallory", password))
        self.assertEqual([path for path, _ in self.service.asked], ["/v/find"] * 2)
        self.wrong(password="x" * LONGEST_PASSWORD)

    def test_where_nothing_is_sent(self) -> None:
        """A URL where passwords could be read on the way is refused before anything is asked."""
        for url in (
            "http://people.example",
            "http://192.0.2.1:80/v",
            "http://localhost.example",
            "http://[2001:db8::1]",
        ):
            error = self.assertRaises(CannotStart, self.asking, url=url)
            self.assertIn(IN_CLEAR, str(error))
        for url in (
            "http://localhost:1",
            "http://127.0.0.1",
            "http://127.9.9.9/v",
            "http://[::1]:8080",
            "https://192.0.2.1",
        ):
            self.asking(url=url)

    def test_settings_are_silent(self) -> None:
        """Our own password is in no repr."""
        self.assertNotIn(
            "sesame", repr(RemoteSourceSettings(url=URL, user="pypid", password="sesame"))
        )

    def test_nothing_is_granted(self) -> None:
        """Every status but 200 is no answer about a user, whatever its document says."""
        for status in (
            204,
            301,
            302,
            307,
            400,
            401,
            403,
            404,
            409,
            410,
            418,
            429,
            500,
            502,
            503,
            599,
        ):
            self.service.status = status
            self.away()
        self.service.status = 200
        self.assertEqual(self.check(), ALICE)

    def test_other_spelling(self) -> None:
        """Whom the service knows by another spelling it does not know: names
        are compared exactly.
        """
        for asked, known in (
            ("Alice", "alice"),
            ("\uff41lice", "alice"),
            ("alice", "ALICE"),
            ("straße", "STRASSE"),
        ):
            self.people = self.asking()
            self.service.says = {"answer": "right", "user": known}
            self.assertIsNone(self.check(asked))
            self.service.says = {"answer": "known", "user": known}
            self.assertIsNone(self.have(self.people.find(asked)))

    def test_another_user(self) -> None:
        """An answer about somebody else, as of a service that mixes two questions up, is none."""
        self.service.says = {"answer": "right", "user": "root", "admin": True}
        self.refused(self.people.check(Credential("alice", "wonder land")), PeopleUnknown)
        self.service.says = {"answer": "known", "user": "root", "admin": True}
        self.refused(self.people.find("alice"), PeopleUnknown)

    def test_found_is_not_right(self) -> None:
        """The answer to one question is none to the other."""
        self.service.says = {"answer": "known", "user": "alice"}
        self.refused(self.people.check(Credential("alice", "x")), PeopleUnknown)
        for said in ({"answer": "right", "user": "alice"}, {"answer": "wrong"}):
            self.service.says = said
            self.refused(self.people.find("alice"), PeopleUnknown)

    def test_groups_of_others(self) -> None:
        """Nobody is asked for the groups of people whom another source knows."""
        self.assertEqual(self.have(self.people.groups("alice")), frozenset())
        self.assertEqual(self.asked(), 0)


class RememberingTests(RemoteCase):
    """What is asked again, and when."""

    def test_right(self) -> None:
        """A right answer is believed for `cache`, and then asked for again; with it one is found,
        too.
        """
        for _ in range(3):
            self.assertEqual(self.check(), ALICE)
            self.assertEqual(self.have(self.people.find("alice")), ALICE)
        self.assertEqual(self.asked(), 1)
        self.clock.advance(59.9)
        self.service.people.clear()
        self.assertEqual(self.check(), ALICE)
        self.clock.advance(0.1)
        self.assertIsNone(self.check())
        self.assertEqual(self.asked(), 1)

    def test_wrong(self) -> None:
        """A wrong password is asked about each time: it may be right by now."""
        self.wrong()
        self.service.people["alice"] = {**PEOPLE["alice"], "password": "wrong"}
        self.assertEqual(self.check(password="wrong"), ALICE)
        self.wrong(password="wonder land")
        self.assertEqual(self.asked(), 3)

    def test_unknown(self) -> None:
        """Whom the service does not know it is not asked about again for a while, so other sources'
        users cost nothing.
        """
        self.assertIsNone(self.check("bob"))
        for password in ("x", "y"):
            self.assertIsNone(self.check("bob", password))
            self.assertIsNone(self.have(self.people.find("bob")))
        self.assertEqual(self.asked(), 1)
        self.service.people["bob"] = PEOPLE["root"]
        self.clock.advance(60)
        self.assertEqual(self.check("bob", "toor"), Identity("bob", admin=True))

    def test_found(self) -> None:
        """To find somebody says nothing of any password."""
        self.assertEqual(self.have(self.people.find("alice")), ALICE)
        self.assertEqual(self.have(self.people.find("alice")), ALICE)
        self.assertEqual(self.asked(), 1)
        self.wrong()
        self.assertEqual(self.asked(), 1)

    def test_nothing(self) -> None:
        """With cache = 0 each question is asked."""
        self.people = self.asking(cache=0.0)
        for _ in range(3):
            self.check()
            self.have(self.people.find("bob"))
        self.assertEqual(self.asked(), 6)

    def test_faults(self) -> None:
        """A fault is not remembered; what was right before stays so while the service is away."""
        self.service.status = 503
        self.away()
        self.service.status = 200
        self.assertEqual(self.check(), ALICE)
        self.service.status = 503
        self.assertEqual(self.check(), ALICE)
        self.clock.advance(60)
        self.away()

    def test_no_password_is_kept(self) -> None:
        """No object that is left has the password in it, in clear or encoded."""
        secret = "".join(["tulgey", " wood"])
        self.service.people["alice"] = {**PEOPLE["alice"], "password": secret}
        self.assertEqual(self.check(password=secret), ALICE)
        self.service.asked.clear()
        kept = [
            each for each in self._reachable(self.people._right) if isinstance(each, str | bytes)
        ]
        self.assertTrue(any(isinstance(each, bytes) and len(each) == 32 for each in kept))
        self.assertFalse(
            [
                each
                for each in kept
                if (secret if isinstance(each, str) else secret.encode()) in each
            ]
        )

    def _reachable(self, root: object) -> list[object]:
        found, todo = {id(root): root}, [root]
        while todo and len(found) < 10_000:
            for other in gc.get_referents(todo.pop()):
                if id(other) not in found and not isinstance(other, type(gc) | type):
                    found[id(other)] = other
                    todo.append(other)
        return list(found.values())

    def test_bounded(self) -> None:
        """However many there are, so many are remembered."""
        memory: AnswerCache[int, None] = AnswerCache(self.clock, 60, MOST_REMEMBERED)
        for number in range(MOST_REMEMBERED + 10):
            memory.put(number, None)
            memory.get(0)
        self.assertEqual(len(memory), MOST_REMEMBERED)
        self.assertIsNone(memory.get(1))
        self.assertIsNotNone(memory.get(0))
        self.clock.advance(60)
        self.assertIsNone(memory.get(0))


class AtOnceTests(RemoteCase):
    """Many at once."""

    def held(self, count: int, user: str = "alice{}") -> list[Deferred[Identity | None]]:
        """So many who log in while the service says nothing."""
        self.service.held = True
        return [
            start(self.people.check(Credential(user.format(number), "wonder land")))
            for number in range(count)
        ]

    def release(self) -> None:
        """Let the service answer, what it is asked then too."""
        for _ in range(20):
            self.service.release()
            self.wired.flow()

    def test_one_flight(self) -> None:
        """What is asked already is not asked again, and who goes away takes nothing from the
        others.
        """
        gone, *others = self.held(50, "alice")
        gone.addErrback(lambda failure: None)
        gone.cancel()
        self.release()
        self.assertEqual([self.successResultOf(other) for other in others], [ALICE] * 49)
        self.assertEqual(self.asked(), 1)

    def test_one_flight_each(self) -> None:
        """Another password is another question."""
        self.service.held = True
        right = start(self.people.check(Credential("alice", "wonder land")))
        wrong = start(self.people.check(Credential("alice", "wrong")))
        self.release()
        self.assertEqual(self.successResultOf(right), ALICE)
        self.failureResultOf(wrong, Unauthenticated)

    def test_busy(self) -> None:
        """Some are asked about at once, some wait, and more are told to come again."""
        waiting = self.held(remote.AT_ONCE + MOST_WAITING)
        self.assertEqual(self.asked(), remote.AT_ONCE)
        self.refused(self.people.check(Credential("one-too-many", "x")), Busy)
        self.release()
        self.assertEqual([self.successResultOf(each) for each in waiting], [None] * len(waiting))

    def test_silence(self) -> None:
        """Silence ends after a while, for all who wait, and then the next is asked about."""
        first = self.held(remote.AT_ONCE + 1)
        self.clock.advance(PATIENCE)
        for each in first[:-1]:
            self.failureResultOf(each, PeopleUnknown)
        self.release()
        self.assertIsNone(self.successResultOf(first[-1]))


NAMES = st.one_of(
    st.sampled_from(["alice", "team", "Alice", "domain users", "everyone"]), st.text(max_size=8)
)
DOCUMENTS = st.one_of(
    st.binary(max_size=80),
    st.recursive(
        st.none() | st.booleans() | st.integers() | NAMES, lambda inner: st.lists(inner, max_size=3)
    ).map(lambda said: json.dumps(said).encode()),
    st.dictionaries(
        st.sampled_from(["answer", "user", "groups", "admin", "admn"]),
        st.one_of(
            st.sampled_from(["right", "wrong", "known", "unknown", "alice", True, False, None, 1]),
            st.lists(NAMES, max_size=3),
        ),
    ).map(lambda said: json.dumps(said).encode()),
)


class AnswerTests(SynchronousTestCase):
    """What is taken for an answer."""

    @settings(quick, max_examples=120)
    @given(DOCUMENTS)
    @example(b'{"answer": "right", "user": "alice", "admin": true}')
    @example(b'{"answer": "right", "user": "alice"}{}')
    @example(b"[" * 100_000)
    def test_anything(self, document: bytes) -> None:
        """Whatever comes is an answer to the letter, or nonsense; only a true `admin` makes an
        administrator.
        """
        for read, word in ((read_checked, "right"), (read_found, "known")):
            try:
                said = read("alice", document)
            except InvalidAnswer:
                continue
            meant = json.loads(document)
            self.assertIsInstance(meant, dict)
            match said:
                case Identity():
                    self.assertEqual(
                        (meant["answer"], meant["user"], said.user), (word, "alice", "alice")
                    )
                    self.assertIs(said.admin, meant.get("admin", False))
                    self.assertLessEqual(said.groups, set(meant.get("groups", ())))
                case RespelledUser():
                    self.assertEqual(meant["answer"], word)
                case UnknownUser():
                    self.assertEqual(meant, {"answer": "unknown"})
                case PasswordRejected():
                    self.assertEqual((meant, word), ({"answer": "wrong"}, "right"))

    def nonsense(self, **said: object) -> str:
        """Why this is none."""
        return str(
            self.assertRaises(InvalidAnswer, read_checked, "alice", json.dumps(said).encode())
        )

    def test_nonsense(self) -> None:
        """A field too many or too few, of another type, too long, or too many groups: the text says
        which.
        """
        good: dict[str, object] = {"answer": "right", "user": "alice"}
        self.assertIn("admn", self.nonsense(**good, admn=True))
        self.assertIn("`user`", self.nonsense(answer="right"))
        self.assertIn("$.admin", self.nonsense(**good, admin="false"))
        self.assertIn("$.admin", self.nonsense(**good, admin=1))
        self.assertIn("$.groups", self.nonsense(**good, groups="team"))
        self.assertIn("$.groups", self.nonsense(**good, groups=None))
        self.assertIn("$.groups", self.nonsense(**good, groups=["g"] * (MOST_GROUPS + 1)))
        self.assertIn("$.groups", self.nonsense(**good, groups=["x" * (LONGEST_NAME + 1)]))
        self.assertIn("$.user", self.nonsense(answer="right", user="x" * (LONGEST_NAME + 1)))
        self.assertIn("answer", self.nonsense(answer="yes"))
        self.assertIn("answer", self.nonsense(user="alice"))
        self.assertIn("field", self.nonsense(answer="wrong", user="alice"))

    def test_groups(self) -> None:
        """Groups that no rule can name are left out, and nobody is locked out by them."""
        groups = ["team", "Domain Users", "everyone", "admins", "a:b", "", "wheel", "\u2028"]
        document = json.dumps(
            {"answer": "known", "user": "alice", "groups": groups[:5] + groups[6:]}
        ).encode()
        self.assertEqual(
            read_found("alice", document), Identity("alice", frozenset({"team", "wheel"}))
        )
