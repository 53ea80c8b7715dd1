from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from argon2 import PasswordHasher
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.access import passwords
from pypid.access.cached_source import KEPT
from pypid.access.chain import (
    BURST,
    ENDED,
    FLOOR,
    FREE,
    PROVEN,
    REFUSED,
    WRONG_TOKEN,
    AccessChain,
    Source,
)
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import WRONG, PasswordVerdict, Verifier, verify
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER, Session, Token
from pypid.core.accounts.sessions import digest_of, new_secret
from pypid.core.errors import Busy, PeopleUnknown, TooManyAttempts, Unauthenticated
from pypid.core.packaging.names import project_name
from pypid.core.permissions import (
    ANONYMOUS,
    NOBODY,
    Action,
    Credential,
    Grants,
    Identity,
    Principals,
    Rules,
    Scope,
    may,
    visibility_of,
)
from pypid.flow import start
from tests.support.people import GROUPS, USERS
from tests.support.worlds import Turns, world

T = TypeVar("T")
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HERE = "192.0.2.1"
KEY = b"k" * 32


@define
class Directory:
    """A source of people that can be slow and away, and counts what it is asked."""

    users: dict[str, str] = field(factory=dict)
    """Passwords by name."""
    groups_: dict[str, frozenset[str]] = field(factory=dict)
    """By member."""
    admins: frozenset[str] = frozenset()
    away: bool = False
    gate: Deferred[None] | None = None
    """What every answer waits for."""
    asked: list[tuple[str, str]] = field(factory=list)

    async def _there(self, what: str, user: str) -> None:
        self.asked.append((what, user))
        if self.gate is not None:
            waiting: Deferred[None] = Deferred()
            self.gate.chainDeferred(waiting)
            self.gate.addCallback(lambda _: None)
            await waiting
        if self.away:
            raise PeopleUnknown("the directory")

    def _identity(self, user: str) -> Identity:
        return Identity(user, self.groups_.get(user, frozenset()), user in self.admins)

    async def check(self, credential: Credential) -> Identity | None:
        await self._there("check", credential.user)
        if credential.user not in self.users:
            return None
        if self.users[credential.user] != credential.password:
            raise Unauthenticated(WRONG)
        return self._identity(credential.user)

    async def find(self, user: str) -> Identity | None:
        await self._there("find", user)
        return self._identity(user) if user in self.users else None

    async def groups(self, user: str) -> frozenset[str]:
        await self._there("groups", user)
        return self.groups_.get(user, frozenset())


@define
class Papers:
    """Tokens and sessions, by digest."""

    tokens: dict[str, Token] = field(factory=dict)
    sessions: dict[str, Session] = field(factory=dict)
    used: list[tuple[str, str]] = field(factory=list)
    away: bool = False

    async def token(self, digest: str) -> Token | None:
        if self.away:
            raise PeopleUnknown("the accounts database")
        return self.tokens.get(digest)

    def token_used(self, id: str, address: str) -> None:
        self.used.append((id, address))

    async def session(self, digest: str) -> Session | None:
        if self.away:
            raise PeopleUnknown("the accounts database")
        return self.sessions.get(digest)


class ChainCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1.7)
        self.world = world(self.clock)
        self.verifier = Verifier(self.world)
        self.papers = Papers()
        self.verified: list[str] = []

        def counting(stored: str, password: str) -> PasswordVerdict:
            self.verified.append(stored)
            return verify(stored, password)

        self.patch(passwords, "verify", counting)

    def config(
        self, users: Mapping[str, str] = USERS, groups: Mapping[str, frozenset[str]] = GROUPS
    ) -> ConfigPeople:
        hashes = {name: CHEAP.hash(password) for name, password in users.items()}
        return ConfigPeople(
            UsersSettings(users=hashes, groups=groups, state=Path()), self.world, self.verifier
        )

    def chain(self, *sources: Source, admins: tuple[str, ...] = ()) -> AccessChain:
        return AccessChain(
            sources, self.papers, self.world, self.verifier, admins=admins, session_key=lambda: KEY
        )

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(start(coroutine))
        return result

    def who(self, chain: AccessChain, user: str, password: str, address: str = HERE) -> Identity:
        return self.have(chain.identify(Credential(user, password, address)))

    def refused(
        self,
        chain: AccessChain,
        user: str,
        password: str,
        address: str = HERE,
        kind: type[Exception] = Unauthenticated,
    ) -> Exception:
        done = start(chain.identify(Credential(user, password, address)))
        if any(not source.local for source in chain.sources) and not done.called:
            self.clock.advance(FLOOR)
        error: Exception = self.failureResultOf(done, kind).value
        return error


class SourcesTests(ChainCase):
    """Several sources of people."""

    def test_first_decides(self) -> None:
        """The first source that knows somebody decides, with its password; the others are not asked
        for it.
        """
        later = Directory({"alice": "hers elsewhere", "dora": "d"})
        chain = self.chain(Source(self.config()), Source(later, local=False))
        self.assertEqual(self.who(chain, "alice", USERS["alice"]).user, "alice")
        self.refused(chain, "alice", "hers elsewhere")
        self.assertNotIn(("check", "alice"), later.asked)
        self.assertEqual(self.who(chain, "dora", "d"), Identity("dora"))
        self.refused(chain, "dora", USERS["alice"])
        self.refused(chain, "stranger", "d")

    def test_away(self) -> None:
        """A source that is away is not skipped: 503 for whom it may know, not counted; an
        administrator before it gets in.
        """
        middle, last = Directory(away=True), Directory({"dora": "d"})
        chain = self.chain(
            Source(self.config(groups={})),
            Source(middle, local=False),
            Source(last, local=False),
            admins=("root",),
        )
        for _ in range(3 * FREE):
            self.refused(chain, "dora", "d", kind=PeopleUnknown)
            self.refused(chain, "alice", USERS["alice"], kind=PeopleUnknown)
        self.assertEqual(
            self.who(chain, "root", USERS["root"]), Identity("root", frozenset(), True)
        )
        self.assertEqual(last.asked, [("groups", "root")])
        self.refused(chain, "root", "wrong")
        self.failureResultOf(start(chain.find("dora")), PeopleUnknown)
        middle.away = False
        self.assertEqual(self.who(chain, "dora", "d"), Identity("dora"))
        self.assertEqual(self.who(chain, "alice", USERS["alice"]), Identity("alice"))

    def test_groups(self) -> None:
        """Groups are those of all sources together; a password or none, they are the same."""
        later = Directory({"dora": "d"}, {"dora": frozenset({"ops"}), "alice": frozenset({"ops"})})
        config = self.config(groups={"team": frozenset({"alice", "dora"})})
        chain = self.chain(Source(config), Source(later, local=False))
        for user, password in (("alice", USERS["alice"]), ("dora", "d")):
            self.assertEqual(self.who(chain, user, password).groups, {"team", "ops"})
            self.assertEqual(
                self.have(chain.find(user)), Identity(user, frozenset({"team", "ops"}))
            )

    def test_admins(self) -> None:
        """An administrator is who a source says is one, or who is listed, whichever source knows
        them; the list can change.
        """
        later = Directory({"dora": "d", "eve": "e"}, admins=frozenset({"dora"}))
        chain = self.chain(Source(self.config()), Source(later), admins=("eve", "stranger"))
        self.assertEqual(
            [self.who(chain, user, user[0]).admin for user in ("dora", "eve")], [True, True]
        )
        self.assertFalse(self.who(chain, "alice", USERS["alice"]).admin)
        self.refused(chain, "stranger", "")
        chain.admins = frozenset({"alice"})
        chain.forget_all()
        self.assertTrue(self.who(chain, "alice", USERS["alice"]).admin)
        self.assertFalse(self.who(chain, "eve", "e").admin)

    def test_other_spelling(self) -> None:
        """A source that takes another spelling for somebody gets nobody past the
        sources before it.
        """

        class Careless(Directory):
            def _identity(self, user: str) -> Identity:
                return Identity(user.lower())

        chain = self.chain(
            Source(self.config()),
            Source(Careless({"ALICE": "a", "dora": "d"}), local=False),
            admins=("alice",),
        )
        self.refused(chain, "ALICE", "a")
        self.assertIsNone(self.have(chain.find("ALICE")))
        self.assertEqual(self.who(chain, "dora", "d").user, "dora")

    def test_token_with_another_user_name_is_explained(self) -> None:
        """What looks like a token, sent as a user's password, is refused with the name that tokens
        have; else with no more.
        """
        chain = self.chain(Source(self.config()))
        token = "pypi-" + "A" * 43
        for user in ("alice", "stranger", "a b"):
            self.assertIn("__token__", str(self.refused(chain, user, token)))
            for other in ("wrong", "pypi-short", token + "!"):
                self.assertEqual(str(self.refused(chain, user, other)), WRONG)

    def test_impossible(self) -> None:
        """Names and passwords that nobody can have are refused before anybody is asked, and cost
        nothing.
        """
        later = Directory({"dora": "d"})
        chain = self.chain(Source(self.config()), Source(later, local=False))
        for user in (
            "",
            "a b",
            "a:b",
            "a\0",
            "everyone",
            "group:team",
            "x" * 201,
            "\ud800",
            "a=b",
            "a;b",
            "dora\n",
        ):
            self.assertEqual(str(self.refused(chain, user, "d")), WRONG)
            self.assertIsNone(self.have(chain.find(user)))
        for password in ("", "x" * 10_000, "a\0b", "\ud800", "\u00e9" * 2049):
            for _ in range(2 * BURST):
                self.assertEqual(str(self.refused(chain, "dora", password)), WRONG)
        self.assertEqual((later.asked, self.verified), ([], []))
        self.who(chain, "dora", "d")

    def test_find_is_kept(self) -> None:
        """What a slow source says of somebody is kept for a minute, if nothing changes; a fast one
        is asked each time.
        """
        slow, fast = Directory({"dora": "d"}), Directory({"eve": "e"})
        chain = self.chain(Source(fast), Source(slow, local=False))
        for _ in range(3):
            self.assertEqual(self.have(chain.find("dora")), Identity("dora"))
            self.assertIsNone(self.have(chain.find("stranger")))
        self.assertEqual(slow.asked, [("find", "dora"), ("find", "stranger")])
        self.assertEqual(len(fast.asked), 9)
        del slow.users["dora"]
        self.clock.advance(KEPT - 1)
        self.assertIsNotNone(self.have(chain.find("dora")))
        self.clock.advance(1)
        self.assertIsNone(self.have(chain.find("dora")))
        slow.users["dora"] = "d"
        chain.forget("dora")
        self.assertIsNotNone(self.have(chain.find("dora")))
        del slow.users["dora"]
        chain.forget_all()
        self.assertIsNone(self.have(chain.find("dora")))

    def test_forget_in_between(self) -> None:
        """What a source was asked before something changed is not kept after it."""
        slow = Directory({"dora": "d"}, gate=Deferred())
        chain = self.chain(Source(slow, local=False))
        asked = [start(chain.find("dora")) for _ in range(20)]
        self.assertEqual(len(slow.asked), 1)
        chain.forget("dora")
        later = start(chain.find("dora"))
        self.assertEqual(len(slow.asked), 2)
        gate, slow.gate = slow.gate, None
        assert gate is not None
        gate.callback(None)
        for each in (*asked, later):
            self.assertEqual(self.successResultOf(each), Identity("dora"))
        del slow.users["dora"]
        chain.forget("dora")
        self.assertIsNone(self.have(chain.find("dora")))

    def test_believed(self) -> None:
        """A right password is believed for a while, if the source shall be; another one, or after a
        change, is asked about.
        """
        directory = Directory({"dora": "d"})
        chain = self.chain(Source(directory, local=False, believed=30))
        for address in (HERE, "198.51.100.1"):
            self.assertEqual(self.who(chain, "dora", "d", address), Identity("dora"))
        self.assertEqual(directory.asked, [("check", "dora")])
        self.refused(chain, "dora", "x")
        self.refused(chain, "dora", "x")
        self.assertEqual(len(directory.asked), 3)
        for change in (
            lambda: chain.forget("dora"),
            chain.forget_all,
            lambda: self.clock.advance(30),
        ):
            directory.asked.clear()
            self.who(chain, "dora", "d")
            self.assertEqual(directory.asked, [])
            change()
            self.who(chain, "dora", "d")
            self.assertEqual(directory.asked, [("check", "dora")])

    def test_forgotten_while_asked(self) -> None:
        """A password that was asked about before a change is not believed after it."""
        directory = Directory({"dora": "d"}, gate=Deferred())
        chain = self.chain(Source(directory, local=False, believed=30))
        for change in (lambda: chain.forget("dora"), chain.forget_all):
            directory.gate = gate = Deferred()
            asked = start(chain.identify(Credential("dora", "d", HERE)))
            change()
            directory.gate = None
            gate.callback(None)
            self.assertEqual(self.successResultOf(asked), Identity("dora"))
            directory.asked.clear()
            self.who(chain, "dora", "d")
            self.assertEqual(directory.asked, [("check", "dora")])
            change()


class SlowedTests(ChainCase):
    """Whoever guesses has to wait."""

    def test_slowed(self) -> None:
        """After five wrong passwords it is 429 with Retry-After, without any hashing, whether the
        user exists or not.
        """
        chain = self.chain(Source(self.config()))
        for user in ("alice", "stranger"):
            for n in range(FREE):
                self.refused(chain, user, f"guess {n}")
            self.verified.clear()
            for n in range(REFUSED - 1):
                error = self.refused(chain, user, f"more {n}", kind=TooManyAttempts)
                self.assertEqual(error.retry_after, 1)  # type: ignore[attr-defined]
            self.assertEqual(self.verified, [])
        self.refused(chain, "alice", USERS["alice"], kind=TooManyAttempts)
        self.assertEqual(self.who(chain, "alice", USERS["alice"], "198.51.100.1").user, "alice")
        self.clock.advance(1)
        self.refused(chain, "stranger", "x")

    def test_proven(self) -> None:
        """A user who logged in shortly before is not delayed at that address, however many guess
        elsewhere; there, the right password is refused like a wrong one.
        """
        chain = self.chain(Source(self.config()))
        there = "198.51.100.1"
        self.who(chain, "alice", USERS["alice"], there)
        for n in range(BURST + 50):
            for user in ("alice", f"user{n}"):
                failed = self.failureResultOf(
                    start(chain.identify(Credential(user, f"guess {n}", HERE)))
                )
                self.assertIsInstance(failed.value, (Unauthenticated, TooManyAttempts))
            self.assertEqual(self.who(chain, "alice", USERS["alice"], there).user, "alice")
        self.refused(chain, "alice", USERS["alice"], kind=TooManyAttempts)
        for _ in range(10):
            self.clock.advance(PROVEN / 2)
            self.assertEqual(self.who(chain, "alice", USERS["alice"], there).user, "alice")

    def test_other_password(self) -> None:
        """A changed password ends it: the old one is wrong, and is slowed down like any other."""
        config = self.config()
        chain = self.chain(Source(config))
        self.who(chain, "alice", USERS["alice"])
        self.have(
            config.reload(
                UsersSettings(users={"alice": CHEAP.hash("new")}, state=Path(self.mktemp()))
            )
        )
        for _ in range(FREE + 1):
            self.refused(chain, "alice", USERS["alice"])
        self.refused(chain, "alice", USERS["alice"], kind=TooManyAttempts)

    def test_burst(self) -> None:
        """A thousand guesses at once are five; a page's fifty requests with the same right password
        are one attempt.
        """
        turns = Turns()
        self.world = evolve(world(self.clock), blocking=turns)
        self.verifier = Verifier(self.world)
        chain = self.chain(Source(self.config()))
        guesses = [
            start(chain.identify(Credential("alice", f"guess {n}", HERE))) for n in range(1000)
        ]
        right = [start(chain.identify(Credential("Bob", USERS["Bob"], HERE))) for _ in range(50)]
        turns.all()
        refused = [self.failureResultOf(guess).type for guess in guesses]
        self.assertEqual(
            [refused.count(kind) for kind in (Unauthenticated, TooManyAttempts)],
            [FREE, 1000 - FREE],
        )
        self.assertEqual({self.successResultOf(each).user for each in right}, {"Bob"})
        self.assertEqual(len(self.verified), FREE + 1)

    def test_gone_clients(self) -> None:
        """To hang up before the answer takes no guess back."""
        turns = Turns()
        self.world = evolve(world(self.clock), blocking=turns)
        self.verifier = Verifier(self.world)
        chain = self.chain(Source(self.config()))
        for n in range(FREE):
            guess = start(chain.identify(Credential("alice", f"guess {n}", HERE)))
            guess.addErrback(lambda failure: None)
            guess.cancel()
        turns.all()
        self.refused(chain, "alice", "another", kind=TooManyAttempts)

    def test_busy(self) -> None:
        """Where too many passwords are being verified it is 503, and counts as no attempt."""
        turns = Turns()
        self.world = evolve(world(self.clock), blocking=turns)
        self.verifier = Verifier(self.world, most_waiting=1)
        chain = self.chain(Source(self.config()))
        under_way = [
            start(chain.identify(Credential(user, USERS[user], HERE))) for user in ("alice", "Bob")
        ]
        self.addCleanup(
            start(chain.identify(Credential("stranger", "x", HERE))).addErrback,
            lambda failure: None,
        )
        for n in range(4 * FREE):
            self.refused(chain, "root", f"{n}", kind=Busy)
        turns.all()
        self.assertEqual([self.successResultOf(each).user for each in under_way], ["alice", "Bob"])
        last = start(chain.identify(Credential("root", USERS["root"], HERE)))
        turns.all()
        self.assertEqual(self.successResultOf(last).user, "root")

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([*USERS, "stranger"]),
                st.sampled_from([*USERS.values(), "x", "y"]),
                st.sampled_from([HERE, "::1"]),
            ),
            max_size=40,
        )
    )
    @settings(max_examples=25, deadline=None, database=None)
    def test_only_right_ones(self, tries: list[tuple[str, str, str]]) -> None:
        """Whatever is tried in whatever order: an identity comes of the right password only, and
        then it is the user's own.
        """
        chain = self.chain(Source(self.config()))
        for user, password, address in tries:
            results: list[Any] = []
            start(chain.identify(Credential(user, password, address))).addBoth(results.append)
            if isinstance(results[0], Identity):
                self.assertEqual((results[0].user, USERS.get(user)), (user, password))
            else:
                self.assertTrue(results[0].check(Unauthenticated, TooManyAttempts), results)


class SameTimeTests(ChainCase):
    """Nobody learns by the time who exists, and where."""

    def test_one_verification(self) -> None:
        """Whoever it is and wherever they are known: a wrong password costs one verification, of
        the same kind of hash.
        """
        local = self.config({"dora": "d"}, {})
        away = Directory({"eve": "e"})
        chain = self.chain(Source(self.config()), Source(local), Source(away, local=False))
        for user in ("alice", "dora", "eve", "stranger", "Alice"):
            self.verified.clear()
            self.refused(chain, user, "wrong", f"198.51.100.{len(user)}")
            self.assertEqual(len(self.verified), 1, user)

    def test_floor(self) -> None:
        """Where a directory is asked each refusal comes after a quarter of a second, or after the
        next quarter.
        """
        slow = Directory({"eve": "e"})
        chain = self.chain(Source(self.config()), Source(slow, local=False))
        for n, user in enumerate(("alice", "eve", "stranger")):
            done = start(chain.identify(Credential(user, "wrong", HERE)))
            self.clock.advance(FLOOR - 0.001)
            self.assertNoResult(done)
            self.clock.advance(0.002)
            self.failureResultOf(done, Unauthenticated)

            slow.gate = gate = Deferred()
            done = start(
                chain.identify(Credential(("dora", "eve", "stranger")[n], "wrong again", HERE))
            )
            self.clock.advance(FLOOR + 0.1)
            gate.callback(None)
            self.assertNoResult(done)
            self.clock.advance(FLOOR - 0.099)
            self.failureResultOf(done, Unauthenticated)
            slow.gate = None
        self.assertEqual(self.who(chain, "eve", "e").user, "eve")


SCOPE = Scope(frozenset({Action.READ, Action.WRITE}), ("acme-*",))


class TokensTests(ChainCase):
    """Tokens."""

    def setUp(self) -> None:
        super().setUp()
        self.people = self.config()
        self.made = self.chain(Source(self.people), admins=("root",))

    def token(self, user: str = "alice", **fields: Any) -> tuple[str, Token]:
        secret, token = new_token(
            os.urandom, name="CI", user=user, scope=SCOPE, now=self.world.now(), **fields
        )
        self.papers.tokens[token.digest] = token
        return secret, token

    def test_right(self) -> None:
        """A token is its user as they are now, within its scope; that it was used is noted, with
        the address.
        """
        secret, token = self.token()
        expected = Identity("alice", frozenset({"team"}), scope=SCOPE, token=token.id)
        self.assertEqual(self.who(self.made, TOKEN_USER, secret), expected)
        self.have(
            self.people.reload(
                UsersSettings(users=self.people._users.settings.users, state=Path(self.mktemp()))
            )
        )
        self.assertEqual(self.who(self.made, TOKEN_USER, secret).groups, frozenset())
        self.assertEqual(self.papers.used, [(token.id, HERE)] * 2)
        self.assertEqual(self.verified, [])

    def test_wrong(self) -> None:
        """Cut short, odd, unknown, of somebody gone, a password: 401, the same text, and nothing
        noted.
        """
        secret, token = self.token()
        gone, _ = self.token("dora")
        of_words, _ = self.token("everyone")
        bad = [
            *(secret[:n] for n in range(0, len(secret), 7)),
            secret + "x",
            secret[5:],
            secret[:-1] + "\u00e9",
            secret.upper(),
        ]
        bad += [
            "",
            "\0",
            "\ud800",
            "x" * 10_000,
            token.digest,
            token.id,
            gone,
            of_words,
            USERS["alice"],
        ]
        errors = {str(self.refused(self.made, TOKEN_USER, each)) for each in bad}
        self.assertEqual(errors, {WRONG_TOKEN})
        self.refused(self.made, "alice", secret)
        self.assertEqual(self.papers.used, [])
        self.who(self.made, TOKEN_USER, secret)

    def test_ends(self) -> None:
        """It ends at once when its user goes."""
        secret, _ = self.token()
        self.who(self.made, TOKEN_USER, secret)
        self.have(self.people.reload(UsersSettings(users={}, state=Path(self.mktemp()))))
        self.refused(self.made, TOKEN_USER, secret)

    def test_away(self) -> None:
        """With the database or the user's directory away it is 503, and counts as no attempt."""
        secret, _ = self.token()
        self.papers.away = True
        for _ in range(2 * BURST):
            self.refused(self.made, TOKEN_USER, secret, kind=PeopleUnknown)
        self.papers.away = False
        chain = self.chain(Source(Directory(away=True), local=False))
        self.refused(chain, TOKEN_USER, secret, kind=PeopleUnknown)
        self.who(self.made, TOKEN_USER, secret)

    def test_publisher(self) -> None:
        """A publisher's token needs no user, and is no user: not one of the same name, nor in
        groups, nor an administrator.
        """
        secret, token = self.token("root", publisher=True)
        who = self.who(self.made, TOKEN_USER, secret)
        self.assertEqual(who, Identity("root", scope=SCOPE, publisher=True, token=token.id))

    @given(
        st.sampled_from(["alice", "Bob", "root"]),
        st.frozensets(st.sampled_from(Action)),
        st.sampled_from([("*",), ("acme-*",), ("other",), ()]),
        st.tuples(
            *[
                st.sampled_from(
                    ["everyone", "authenticated", "admins", "nobody", "alice", "group:team"]
                )
            ]
            * 4
        ),
        st.sampled_from([None, "acme-tools", "other"]),
    )
    @settings(max_examples=60, deadline=None, database=None)
    def test_never_more(
        self,
        user: str,
        actions: frozenset[Action],
        projects: tuple[str, ...],
        words: tuple[str, ...],
        name: str | None,
    ) -> None:
        """Under any rules a token may do nothing that its user may not, nor beyond its scope what
        not everyone may.
        """
        read, write, overwrite, delete = (Principals.parse(each) for each in words)
        own = {project_name("acme-tools"): Grants(Principals.parse("group:team"), NOBODY)}
        rules = Rules(read, write, overwrite, delete, projects=own)
        secret, token = new_token(
            os.urandom, name="", user=user, scope=Scope(actions, projects), now=self.world.now()
        )
        self.papers.tokens[token.digest] = token
        bearer, whole = (
            self.who(self.made, TOKEN_USER, secret),
            self.who(self.made, user, USERS[user]),
        )
        project = None if name is None else project_name(name)
        for action in Action:
            if may(rules, bearer, action, project):
                self.assertTrue(may(rules, whole, action, project), action)
                within = token.scope.covers(action, project)
                self.assertTrue(within or may(rules, ANONYMOUS, action, project), action)
        if project is not None:
            self.assertEqual(
                visibility_of(rules, bearer).sees(project), may(rules, bearer, Action.READ, project)
            )


class SessionTests(ChainCase):
    """Sessions of browsers."""

    def session(self, user: str = "alice", key: bytes = KEY) -> str:
        secret = new_secret(os.urandom)
        now = self.world.now()
        made = Session(
            digest=digest_of(secret, key), user=user, created=now, expires=now + timedelta(hours=12)
        )
        self.papers.sessions[made.digest] = made
        return secret

    def test_session(self) -> None:
        """A session is its user as they are now, whole."""
        chain = self.chain(Source(self.config()), admins=("root",))
        secret = self.session("root")
        self.assertEqual(
            self.who(chain, SESSION_USER, secret), Identity("root", frozenset({"team"}), True)
        )

    def test_wrong(self) -> None:
        """Unknown, damaged, under another key, of somebody gone, a token: 401, and nobody is slowed
        down by it.
        """
        chain = self.chain(Source(self.config()))
        secret = self.session()
        token, made = new_token(
            os.urandom, name="", user="alice", scope=SCOPE, now=self.world.now()
        )
        self.papers.tokens[made.digest] = made
        others = [
            self.session("dora"),
            self.session(key=b"o" * 32),
            token,
            secret[:-1],
            "",
            "\ud800",
            "\u00e9" * 43,
            "x" * 10_000,
        ]
        for _ in range(BURST):
            for bad in others:
                self.assertEqual(str(self.refused(chain, SESSION_USER, bad)), ENDED)
        self.refused(chain, TOKEN_USER, secret)
        self.who(chain, SESSION_USER, secret)

    def test_away(self) -> None:
        """With the database away it is 503."""
        chain = self.chain(Source(self.config()))
        self.papers.away = True
        self.refused(chain, SESSION_USER, self.session(), kind=PeopleUnknown)
