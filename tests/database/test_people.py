"""The users of the accounts database, as a source of people."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from argon2 import PasswordHasher
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.accounts import SqlAccounts, SqlPeople
from pypid.access.passwords import Verifier, hash_password, needs_upgrade
from pypid.core.accounts.rights import AccountStatus
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import start
from tests.database.sqlite import InFiles
from tests.support.accounts import a_session, an_account
from tests.support.worlds import Turns, world

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SHA512_CRYPT = "$6$rounds=1000$abcdefgh$I84hbD0J7Jmo4sU9lTz8m9rfHdqr2VWqu9ekV6OoZIYKOQE5DVzhYkbyGHOzzK51UO2h54cIPrULnl5mNQFZP0"


class PeopleTests(InFiles, SynchronousTestCase):
    """`SqlPeople` with real hashes."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = self.new_accounts()
        self.people = SqlPeople(self.accounts, Verifier(self.world), self.world)

    def add(self, name: str, **fields: object) -> None:
        """A user whose password is ``right``."""
        fields.setdefault("hash", CHEAP.hash("right"))
        self.have(self.accounts.add_user(an_account(name, **fields)))

    def wrong(self, user: str, password: str) -> str:
        """What somebody is told who is not let in."""
        return str(self.refused(self.people.check(Credential(user, password)), Unauthenticated))

    def test_no_hash(self) -> None:
        """Nobody logs in to an account without a hash, or with a damaged one; the user can be found
        all the same.
        """
        self.add("robot", hash="")
        self.add("broken", hash="$argon2id$nonsense")
        for user in ("robot", "broken"):
            for password in ("", "right", "$argon2id$nonsense"):
                self.wrong(user, password)
            self.assertEqual(
                self.have(self.people.find(user)), Identity(user, account=an_account(user).id)
            )

    def test_standing(self) -> None:
        """Who is not active is told so after the right password only, and is nobody for tokens and
        sessions.
        """
        self.add("new", status=AccountStatus.PENDING)
        self.add("gone", status=AccountStatus.DISABLED)
        for user in ("new", "gone"):
            self.assertIsNone(self.have(self.people.find(user)))
            self.assertEqual(self.wrong(user, "wrong"), "The user name or the password is wrong.")
        self.assertIn("approve", self.wrong("new", "right"))
        self.assertIn("disabled", self.wrong("gone", "right"))
        self.have(
            self.accounts.edit_user(
                "new", lambda account: evolve(account, status=AccountStatus.ACTIVE)
            )
        )
        self.assertEqual(
            self.have(self.people.check(Credential("new", "right"))),
            Identity("new", account=an_account("new").id),
        )

    def test_upgrade(self) -> None:
        """A hash of another kind is replaced at the first login; no session ends by it, and the
        password stays the same.
        """
        for stored in (CHEAP.hash("right"), SHA512_CRYPT):
            self.accounts = self.new_accounts()
            self.people = SqlPeople(self.accounts, Verifier(self.world), self.world)
            self.add("alice", hash=stored)
            self.have(self.accounts.add_session(a_session("s")))
            self.wrong("alice", "wrong")
            self.assertEqual(self.have(self.accounts.user("alice")).hash, stored)
            self.have(self.people.check(Credential("alice", "right")))
            better = self.have(self.accounts.user("alice"))
            self.assertFalse(needs_upgrade(better.hash))
            self.assertEqual(better, an_account("alice", hash=better.hash))
            self.assertIsNotNone(self.have(self.accounts.session("s")))
            self.assertEqual(
                self.have(self.people.check(Credential("alice", "right"))),
                Identity("alice", account=an_account("alice").id),
            )
            self.assertEqual(self.have(self.accounts_again().user("alice")), better)

    def test_upgrade_comes_late(self) -> None:
        """A new password that is set while the old one's hash is made anew stays; and whoever
        closes waits for that.
        """
        turns = Turns()
        late = world(self.clock, turns)
        people = SqlPeople(self.accounts, Verifier(self.world), late)
        self.add("alice")
        self.have(people.check(Credential("alice", "right")))
        self.have(people.check(Credential("alice", "right")))
        self.assertEqual(len(turns), 1)
        closing = start(people.close())
        other = hash_password("other")
        self.have(self.accounts.edit_user("alice", lambda account: evolve(account, hash=other)))
        self.assertNoResult(closing)
        turns.all()
        self.successResultOf(closing)
        self.assertEqual(self.have(self.accounts.user("alice")).hash, other)

    def test_changed_meanwhile(self) -> None:
        """A password that was changed, and an account that was removed, while the old one was
        verified, let nobody in.
        """
        turns = Turns()
        people = SqlPeople(self.accounts, Verifier(world(self.clock, turns)), self.world)
        for user in ("alice", "bob"):
            self.add(user)
        changed, removed = (
            start(people.check(Credential(user, "right"))) for user in ("alice", "bob")
        )
        self.have(
            self.accounts.edit_user(
                "alice", lambda account: evolve(account, hash=CHEAP.hash("other"))
            )
        )
        self.have(self.accounts.remove_user("bob"))
        turns.all()
        self.failureResultOf(changed, Unauthenticated)
        self.failureResultOf(removed, Unauthenticated)

    def test_unknown_before_it_was_read(self) -> None:
        """Until somebody has looked whether there is a database, nobody can say who
        its people are.
        """
        self.add("alice")
        people = SqlPeople(
            SqlAccounts(self.database(), self.world), Verifier(self.world), self.world
        )
        self.refused(people.check(Credential("alice", "right")), PeopleUnknown)
        self.refused(people.find("alice"), PeopleUnknown)
        self.refused(people.groups("alice"), PeopleUnknown)
