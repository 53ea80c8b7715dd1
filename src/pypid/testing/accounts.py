"""The contract of `Accounts`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from pypid.core.accounts.entries import MOST_SESSIONS, Account, AccountStatus, Session, Token
from pypid.core.accounts.rights import Right, Whom
from pypid.core.errors import BadRequest, NameTaken, NoSuchGroup, NoSuchToken, NoSuchUser
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action, Scope
from pypid.ports import Accounts
from pypid.testing.worlds import BEGINNING, Timed

SPAM = project_name("spam")
HOUR = timedelta(hours=1)
HOSTILE = (
    "",
    "a:b",
    "a b",
    "a=b",
    "a;b",
    "a\nb",
    "a\0b",
    "\ud800",
    "\u202e",
    "everyone",
    "nobody",
    "x" * 10_000,
)
"""Invalid names."""


def an_account(name: str, **fields: object) -> Account:
    """Return an account created at `BEGINNING`."""
    values: dict[str, object] = {"hash": "$hash", "created": BEGINNING, "changed": BEGINNING}
    return Account(name=name, **{**values, **fields})  # type: ignore[arg-type]


def a_token(id: str, user: str = "alice", **fields: object) -> Token:
    """Return a token for reading and writing everything; its digest is ``digest-<id>``."""
    scope = Scope(frozenset({Action.READ, Action.WRITE}))
    values: dict[str, object] = {
        "digest": f"digest-{id}",
        "name": "of tests",
        "scope": scope,
        "created": BEGINNING,
    }
    return Token(id=id, user=user, **{**values, **fields})  # type: ignore[arg-type]


def a_session(digest: str, user: str = "alice", **fields: object) -> Session:
    """Return a session of an hour."""
    values: dict[str, object] = {
        "created": BEGINNING,
        "expires": BEGINNING + HOUR,
        "address": "192.0.2.1",
    }
    return Session(digest=digest, user=user, **{**values, **fields})  # type: ignore[arg-type]


class AccountsContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives new, empty accounts in `self.world`."""

    async def make(self) -> Accounts:
        """Return new, empty accounts."""
        raise NotImplementedError

    async def again(self) -> Accounts:
        """Return other accounts on the data of the last ones that were made: as after a restart, or
        on another node.
        """
        raise NotImplementedError

    async def after_a_while(self, accounts: Accounts) -> None:
        """Do the periodic work of the accounts."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = self.have(self.make())

    def advance(self, seconds: float) -> None:
        """Advance the clock, and do the periodic work."""
        self.clock.advance(seconds)
        self.have(self.after_a_while(self.accounts))

    def both(self) -> tuple[Accounts, Accounts]:
        """Return the accounts under test, and others on the same data."""
        return self.accounts, self.have(self.again())

    # --- users ---

    def test_users(self) -> None:
        """Every field of an account comes back; the list is by name."""
        zoe = an_account(
            "zo\u00e9",
            admin=True,
            standing=AccountStatus.PENDING,
            hash="",
            changed=BEGINNING + timedelta(microseconds=1),
        )
        alice = an_account("alice")
        self.have(self.accounts.add_user(zoe))
        self.have(self.accounts.add_user(alice))
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.users())), [alice, zoe])
            self.assertEqual(self.have(accounts.user("zo\u00e9")), zoe)

    def test_names_are_exact(self) -> None:
        """Names that differ in case, or only look the same, are those of different people."""
        names = ["Alice", "alice", "\u00e9", "e\u0301", "\uff41lice"]
        for name in names:
            self.have(self.accounts.add_user(an_account(name)))
        self.have(self.accounts.remove_user("alice"))
        for accounts in self.both():
            self.assertEqual(
                {account.name for account in self.have(accounts.users())}, {*names} - {"alice"}
            )

    def test_taken(self) -> None:
        """A name is taken once, and the first account stays; a group may have the name of a
        user.
        """
        alice = an_account("alice")
        self.have(self.accounts.add_user(alice))
        self.refused(self.accounts.add_user(an_account("alice", admin=True)), NameTaken)
        self.have(self.accounts.add_group("alice"))
        self.refused(self.accounts.add_group("alice"), NameTaken)
        self.assertEqual(self.have(self.accounts.user("alice")), alice)

    def test_hostile_names(self) -> None:
        """Names with colons, control characters or white space are refused for new users, and never
        found.
        """
        self.have(self.accounts.add_group("team"))
        for name in HOSTILE:
            self.refused(self.accounts.add_user(an_account(name)), BadRequest)
            self.refused(self.accounts.add_group(name), BadRequest)
            self.refused(self.accounts.join("team", name), BadRequest)
            self.refused(self.accounts.grant(Right(SPAM, Whom.USER, name)), BadRequest)
            self.refused(self.accounts.user(name), NoSuchUser)
            self.refused(self.accounts.edit_user(name, lambda account: account), NoSuchUser)
            self.refused(self.accounts.remove_user(name), NoSuchUser)
            self.refused(self.accounts.join(name, "alice"), NoSuchGroup)
            self.refused(self.accounts.leave(name, "alice"), NoSuchGroup)
            self.refused(self.accounts.remove_group(name), NoSuchGroup)
            self.refused(self.accounts.revoke_token(name), NoSuchToken)
            self.have(self.accounts.leave("team", name))
            self.have(self.accounts.withdraw(SPAM, Whom.GROUP, name))
            self.have(self.accounts.end_session(name))
            self.assertIsNone(self.have(self.accounts.token(name)))
            self.assertIsNone(self.have(self.accounts.session(name)))
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.users())), [])
            self.assertEqual(dict(self.have(accounts.memberships())), {"team": frozenset()})

    def test_edits(self) -> None:
        """An edit is given the account; its result is stored, with the time of the change."""
        self.have(self.accounts.add_user(an_account("alice")))
        self.advance(60)
        edited = self.have(
            self.accounts.edit_user("alice", lambda account: evolve(account, admin=True))
        )
        self.assertEqual(
            edited, an_account("alice", admin=True, changed=BEGINNING + timedelta(minutes=1))
        )
        for accounts in self.both():
            self.assertEqual(self.have(accounts.user("alice")), edited)

    def test_edits_that_fail(self) -> None:
        """An edit that raises, or changes the name, changes nothing."""
        self.have(self.accounts.add_user(an_account("alice")))

        def fail(account: Account) -> Account:
            raise ZeroDivisionError

        self.refused(self.accounts.edit_user("alice", fail), ZeroDivisionError)
        self.refused(
            self.accounts.edit_user("alice", lambda account: evolve(account, name="bob")),
            ValueError,
        )
        self.refused(self.accounts.edit_user("bob", lambda account: account), NoSuchUser)
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.users())), [an_account("alice")])

    def test_no_update_is_lost(self) -> None:
        """Two concurrent changes of the same account, or the same group, are both kept."""
        first, second = self.accounts, self.have(self.again())
        self.have(first.add_user(an_account("alice", hash="")))
        self.have(first.add_group("team"))
        for round in range(5):
            for name, accounts in (("a", first), ("b", second)):

                def longer(account: Account, name: str = name) -> Account:
                    return evolve(account, hash=account.hash + name)

                self.have(accounts.edit_user("alice", longer))
                self.have(accounts.join("team", f"{name}{round}"))
        last = self.have(self.again())
        self.assertEqual(self.have(last.user("alice")).hash, "ab" * 5)
        self.assertEqual(len(self.have(last.memberships())["team"]), 10)
        self.assertEqual(self.have(second.memberships()), self.have(last.memberships()))

    def test_removed_user(self) -> None:
        """With a user go the tokens, sessions, rights and memberships; those of others stay,
        whatever their names.
        """
        for user in ("alice", "bob"):
            self.have(self.accounts.add_user(an_account(user)))
            self.have(self.accounts.add_token(a_token(f"of-{user}", user)))
            self.have(self.accounts.add_session(a_session(f"of-{user}", user)))
            self.have(self.accounts.grant(Right(SPAM, Whom.USER, user, write=True)))
        self.have(self.accounts.add_group("team"))
        self.have(self.accounts.add_group("alice"))
        self.have(self.accounts.grant(Right(SPAM, Whom.GROUP, "alice")))
        for user in ("alice", "bob"):
            self.have(self.accounts.join("team", user))
        self.have(self.accounts.remove_user("alice"))
        self.refused(self.accounts.remove_user("alice"), NoSuchUser)
        for accounts in self.both():
            self.assertEqual([account.name for account in self.have(accounts.users())], ["bob"])
            self.assertEqual([token.user for token in self.have(accounts.tokens())], ["bob"])
            self.assertIsNone(self.have(accounts.token("digest-of-alice")))
            self.assertIsNone(self.have(accounts.session("of-alice")))
            self.assertIsNotNone(self.have(accounts.session("of-bob")))
            self.assertEqual(
                dict(self.have(accounts.memberships())),
                {"alice": frozenset(), "team": frozenset({"bob"})},
            )
            rights = [Right(SPAM, Whom.GROUP, "alice"), Right(SPAM, Whom.USER, "bob", write=True)]
            self.assertEqual(list(self.have(accounts.rights())), rights)

    def test_new_user_of_an_old_name(self) -> None:
        """Tokens and sessions of an earlier user of the name do not work for a new account."""
        for user in ("alice", "bob"):
            self.have(self.accounts.add_token(a_token(f"of-{user}", user)))
            self.have(self.accounts.add_token(a_token(f"workflow-{user}", user, publisher=True)))
            self.have(self.accounts.add_session(a_session(f"of-{user}", user)))
        self.have(self.accounts.add_user(an_account("alice")))
        for accounts in self.both():
            for user, is_new in (("alice", True), ("bob", False)):
                self.assertEqual(self.have(accounts.token(f"digest-of-{user}")) is None, is_new)
                self.assertEqual(self.have(accounts.session(f"of-{user}")) is None, is_new)
                self.assertIsNotNone(self.have(accounts.token(f"digest-workflow-{user}")))

    def test_what_ends_a_login(self) -> None:
        """A new password ends the sessions; a standing other than active ends the tokens, too; the
        admin flag ends nothing.
        """
        self.have(self.accounts.add_user(an_account("alice")))
        self.have(self.accounts.add_token(a_token("t")))
        self.have(self.accounts.add_session(a_session("s1")))

        def lives(token: bool, session: bool) -> None:
            for accounts in self.both():
                self.assertEqual(self.have(accounts.token("digest-t")) is not None, token)
                self.assertEqual(self.have(accounts.session("s1")) is not None, session)

        self.have(self.accounts.edit_user("alice", lambda account: evolve(account, admin=True)))
        lives(token=True, session=True)
        self.have(self.accounts.edit_user("alice", lambda account: evolve(account, hash="$other")))
        lives(token=True, session=False)
        self.have(self.accounts.add_session(a_session("s1")))
        self.have(
            self.accounts.edit_user(
                "alice", lambda account: evolve(account, standing=AccountStatus.DISABLED)
            )
        )
        lives(token=False, session=False)
        self.have(
            self.accounts.edit_user(
                "alice", lambda account: evolve(account, standing=AccountStatus.ACTIVE)
            )
        )
        lives(token=False, session=False)

    # --- groups and rights ---

    def test_groups(self) -> None:
        """Users are in groups with or without an account; joining and leaving twice is as once."""
        self.refused(self.accounts.join("team", "alice"), NoSuchGroup)
        self.refused(self.accounts.leave("team", "alice"), NoSuchGroup)
        self.refused(self.accounts.remove_group("team"), NoSuchGroup)
        for group in ("team", "others"):
            self.have(self.accounts.add_group(group))
            for user in ("alice", "bob", "alice"):
                self.have(self.accounts.join(group, user))
        for _ in range(2):
            self.have(self.accounts.leave("team", "bob"))
        self.have(self.accounts.grant(Right(SPAM, Whom.GROUP, "others")))
        self.have(self.accounts.grant(Right(SPAM, Whom.USER, "others")))
        for accounts in self.both():
            held = self.have(accounts.memberships())
            self.assertEqual(
                dict(held), {"team": frozenset({"alice"}), "others": frozenset({"alice", "bob"})}
            )
        self.have(self.accounts.remove_group("others"))
        for accounts in self.both():
            self.assertEqual(
                dict(self.have(accounts.memberships())), {"team": frozenset({"alice"})}
            )
            self.assertEqual(list(self.have(accounts.rights())), [Right(SPAM, Whom.USER, "others")])

    def test_rights(self) -> None:
        """There is one right for each project, kind and name; the list is by project; rights of
        everyone have no name.
        """
        ham = project_name("ham")
        for right in (
            Right(SPAM, Whom.USER, "alice"),
            Right(SPAM, Whom.GROUP, "alice"),
            Right(SPAM, Whom.EVERYONE),
            Right(ham, Whom.AUTHENTICATED, write=True),
            Right(SPAM, Whom.USER, "alice", write=True),
        ):
            self.have(self.accounts.grant(right))
        self.refused(self.accounts.grant(Right(SPAM, Whom.EVERYONE, "alice")), BadRequest)
        for _ in range(2):
            self.have(self.accounts.withdraw(SPAM, Whom.EVERYONE, ""))
        self.have(self.accounts.withdraw(SPAM, Whom.USER, "bob"))
        for accounts in self.both():
            held = self.have(accounts.rights())
            self.assertEqual([right.project for right in held], [ham, SPAM, SPAM])
            self.assertEqual(
                set(held),
                {
                    Right(ham, Whom.AUTHENTICATED, write=True),
                    Right(SPAM, Whom.USER, "alice", write=True),
                    Right(SPAM, Whom.GROUP, "alice"),
                },
            )

    # --- tokens ---

    def test_tokens(self) -> None:
        """Every field of a token comes back, its last use included; the list is by age."""
        token = a_token(
            "b",
            name='of "CI"\n\u8de8',
            scope=Scope(frozenset({Action.WRITE}), ("acme-*", "spam")),
            expires=BEGINNING + HOUR,
            publisher=True,
            user="github:acme/spam:release.yml",
        )
        older = a_token("c", created=BEGINNING - HOUR)
        for each in (token, older):
            self.have(self.accounts.add_token(each))
        self.accounts.token_used("b", "192.0.2.7")
        self.accounts.token_used("unknown", "192.0.2.7")
        used = evolve(token, used=BEGINNING, used_from="192.0.2.7")
        self.assertEqual(list(self.have(self.accounts.tokens())), [older, used])
        self.assertEqual(list(self.have(self.accounts.tokens("alice"))), [older])
        self.assertEqual(self.have(self.accounts.token("digest-c")), older)
        self.assertIsNone(self.have(self.accounts.token("digest-x")))
        last = self.have(self.again())
        self.assertEqual(
            [evolve(each, used=None, used_from="") for each in self.have(last.tokens())],
            [older, token],
        )

    def test_revoked(self) -> None:
        """A revoked token is invalid from then on, and stays in the list; revoking it again changes
        nothing.
        """
        self.have(self.accounts.add_token(a_token("t")))
        self.advance(60)
        revoked = self.have(self.accounts.revoke_token("t"))
        self.assertEqual(revoked, a_token("t", revoked=BEGINNING + timedelta(minutes=1)))
        self.advance(60)
        self.assertEqual(self.have(self.accounts.revoke_token("t")), revoked)
        self.refused(self.accounts.revoke_token("u"), NoSuchToken)
        for accounts in self.both():
            self.assertIsNone(self.have(accounts.token("digest-t")))
            self.assertEqual(list(self.have(accounts.tokens())), [revoked])

    def test_expired(self) -> None:
        """Tokens and sessions are valid until their expiry time, exclusively."""
        self.have(self.accounts.add_token(a_token("t", expires=BEGINNING + HOUR)))
        self.have(self.accounts.add_session(a_session("s")))
        self.advance(3599)
        self.assertIsNotNone(self.have(self.accounts.token("digest-t")))
        self.assertIsNotNone(self.have(self.accounts.session("s")))
        self.advance(1)
        for accounts in self.both():
            self.assertIsNone(self.have(accounts.token("digest-t")))
            self.assertIsNone(self.have(accounts.session("s")))

    # --- sessions, and values used once ---

    def test_sessions(self) -> None:
        """A session comes back until it ends; ending it twice is as once."""
        for digest in ("s", "other"):
            self.have(self.accounts.add_session(a_session(digest)))
        for accounts in self.both():
            self.assertEqual(self.have(accounts.session("s")), a_session("s"))
        for _ in range(2):
            self.have(self.accounts.end_session("s"))
        for accounts in self.both():
            self.assertIsNone(self.have(accounts.session("s")))
            self.assertIsNotNone(self.have(accounts.session("other")))

    def test_many_sessions(self) -> None:
        """The oldest sessions of a user end where there are too many, and no other user's."""
        self.have(self.accounts.add_session(a_session("bob's", "bob", created=BEGINNING)))
        for number in range(MOST_SESSIONS + 2):
            self.have(
                self.accounts.add_session(
                    a_session(f"s{number}", created=BEGINNING + timedelta(seconds=number))
                )
            )
        for accounts in self.both():
            held = [
                number
                for number in range(MOST_SESSIONS + 2)
                if self.have(accounts.session(f"s{number}"))
            ]
            self.assertEqual(held, list(range(2, MOST_SESSIONS + 2)))
            self.assertIsNotNone(self.have(accounts.session("bob's")))

    def test_once(self) -> None:
        """A value of a kind is accepted once, from any caller, until its time is over; whatever the
        value is.
        """
        until = BEGINNING + HOUR
        for value in ("a", "", "\0", "\ud800", "\U0001f600" * 10_000):
            self.assertTrue(self.have(self.accounts.once("jti", value, until)))
            for accounts in self.both():
                self.assertFalse(self.have(accounts.once("jti", value, until)))
            self.assertTrue(self.have(self.accounts.once("altcha", value, until)))
        self.advance(3600)
        self.assertTrue(self.have(self.accounts.once("jti", "a", until + HOUR)))
        self.assertFalse(self.have(self.accounts.once("jti", "a", until + HOUR)))

    # --- model ---

    def test_is_some_dicts(self) -> None:
        """Changes in any order give the state that dicts would have, also after a restart."""
        modest = settings(
            max_examples=8,
            stateful_step_count=15,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        stateful.run_state_machine_as_test(lambda: AccountsModel(self), settings=modest)  # type: ignore[arg-type]


people = st.sampled_from(["alice", "bob", "Bob", "zo\u00e9"])
teams = st.sampled_from(["team", "alice"])
projects = st.sampled_from([project_name("spam"), project_name("ham")])
named = st.sampled_from([Whom.USER, Whom.GROUP])


class AccountsModel(stateful.RuleBasedStateMachine):
    """The accounts of a contract compared with dicts."""

    def __init__(self, contract: AccountsContract) -> None:
        super().__init__()
        self.contract = contract
        contract.accounts = contract.have(contract.make())
        self.users: dict[str, Account] = {}
        self.groups: dict[str, set[str]] = {}
        self.rights: dict[tuple[ProjectName, Whom, str], Right] = {}
        self.sessions: dict[str, str] = {}
        self.made = 0

    @stateful.rule(name=people, admin=st.booleans())
    def add_user(self, name: str, admin: bool) -> None:
        account = an_account(name, admin=admin)
        adding = self.contract.accounts.add_user(account)
        if name in self.users:
            self.contract.refused(adding, NameTaken)
            return
        self.contract.have(adding)
        self.users[name] = account
        self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}

    @stateful.rule(name=people, hash=st.sampled_from(["$1", "$2"]))
    def edit_user(self, name: str, hash: str) -> None:
        editing = self.contract.accounts.edit_user(name, lambda account: evolve(account, hash=hash))
        if name not in self.users:
            self.contract.refused(editing, NoSuchUser)
            return
        if self.users[name].hash != hash:
            self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}
        self.users[name] = self.contract.have(editing)
        assert self.users[name].hash == hash

    @stateful.rule(name=people)
    def remove_user(self, name: str) -> None:
        removing = self.contract.accounts.remove_user(name)
        if name not in self.users:
            self.contract.refused(removing, NoSuchUser)
            return
        self.contract.have(removing)
        del self.users[name]
        for users in self.groups.values():
            users.discard(name)
        self.rights = {
            key: right for key, right in self.rights.items() if key[1:] != (Whom.USER, name)
        }
        self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}

    @stateful.rule(group=teams)
    def add_group(self, group: str) -> None:
        adding = self.contract.accounts.add_group(group)
        if group in self.groups:
            self.contract.refused(adding, NameTaken)
            return
        self.contract.have(adding)
        self.groups[group] = set()

    @stateful.rule(group=teams)
    def remove_group(self, group: str) -> None:
        removing = self.contract.accounts.remove_group(group)
        if group not in self.groups:
            self.contract.refused(removing, NoSuchGroup)
            return
        self.contract.have(removing)
        del self.groups[group]
        self.rights = {
            key: right for key, right in self.rights.items() if key[1:] != (Whom.GROUP, group)
        }

    @stateful.rule(group=teams, user=people, joins=st.booleans())
    def join_or_leave(self, group: str, user: str, joins: bool) -> None:
        accounts = self.contract.accounts
        doing = accounts.join(group, user) if joins else accounts.leave(group, user)
        if group not in self.groups:
            self.contract.refused(doing, NoSuchGroup)
            return
        self.contract.have(doing)
        (self.groups[group].add if joins else self.groups[group].discard)(user)

    @stateful.rule(
        project=projects, whom=named, name=st.one_of(people, teams), write=st.none() | st.booleans()
    )
    def grant_or_withdraw(
        self, project: ProjectName, whom: Whom, name: str, write: bool | None
    ) -> None:
        if write is None:
            self.contract.have(self.contract.accounts.withdraw(project, whom, name))
            self.rights.pop((project, whom, name), None)
            return
        right = Right(project, whom, name, write)
        self.contract.have(self.contract.accounts.grant(right))
        self.rights[project, whom, name] = right

    @stateful.rule(user=people)
    def log_in(self, user: str) -> None:
        self.made += 1
        self.sessions[f"s{self.made}"] = user
        self.contract.have(self.contract.accounts.add_session(a_session(f"s{self.made}", user)))

    @stateful.rule()
    def restart(self) -> None:
        self.contract.accounts = self.contract.have(self.contract.again())

    @stateful.invariant()
    def same(self) -> None:
        have, accounts = self.contract.have, self.contract.accounts
        assert list(have(accounts.users())) == [self.users[name] for name in sorted(self.users)]
        assert dict(have(accounts.memberships())) == {
            group: frozenset(users) for group, users in self.groups.items()
        }
        assert set(have(accounts.rights())) == set(self.rights.values())
        for number in range(1, self.made + 1):
            found = have(accounts.session(f"s{number}"))
            assert (None if found is None else found.user) == self.sessions.get(f"s{number}")
