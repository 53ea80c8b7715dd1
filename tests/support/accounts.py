"""The contract of `Accounts`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from pypid.core.accounts.rights import Account, AccountStatus, Right, Whom
from pypid.core.errors import BadRequest, NameTaken, NoSuchGroup, NoSuchToken, NoSuchUser
from pypid.core.packaging.names import project_glob, project_name
from tests.support.examples import SPAM, a_session, a_token, an_account
from tests.support.models import AccountsModel, run_model
from tests.support.owners import OwnersContract
from tests.support.worlds import BEGINNING

__all__ = ["SPAM", "AccountsContract", "a_session", "a_token", "an_account"]

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


class AccountsContract(OwnersContract):
    """Mix into a `SynchronousTestCase` whose `make` gives new, empty accounts in `self.world`."""

    # --- users ---

    def test_users(self) -> None:
        """Every field of an account comes back; the list is by name."""
        zoe = an_account(
            "zo\u00e9",
            admin=True,
            status=AccountStatus.PENDING,
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
        """A new password ends the sessions; a status other than active ends the tokens, too; the
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
                "alice", lambda account: evolve(account, status=AccountStatus.DISABLED)
            )
        )
        lives(token=False, session=False)
        self.have(
            self.accounts.edit_user(
                "alice", lambda account: evolve(account, status=AccountStatus.ACTIVE)
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

    def test_rights_on_globs(self) -> None:
        """A right on a glob comes back as it was granted, and is withdrawn by its glob, which is
        closed then.
        """
        data = project_glob("acme-data-*")
        right = Right(data, Whom.GROUP, "data", write=True)
        self.have(self.accounts.grant(right))
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.rights())), [right])
        self.have(self.accounts.withdraw(data, Whom.GROUP, "data"))
        closed = Right(data, Whom.ADMINS, write=True)
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.rights())), [closed])

    def test_nothing_opens_by_itself(self) -> None:
        """A project whose last right goes with its user, its group or by itself is closed, until
        that right is withdrawn as well or another one is granted.
        """
        closed = [Right(SPAM, Whom.ADMINS, write=True)]
        self.have(self.accounts.add_user(an_account("alice")))
        self.have(self.accounts.add_group("team"))
        for whom, name, ending in (
            (Whom.USER, "alice", self.accounts.remove_user),
            (Whom.GROUP, "team", self.accounts.remove_group),
            (Whom.USER, "bob", lambda name: self.accounts.withdraw(SPAM, Whom.USER, name)),
        ):
            self.have(self.accounts.grant(Right(SPAM, whom, name)))
            self.assertEqual(list(self.have(self.accounts.rights())), [Right(SPAM, whom, name)])
            self.have(ending(name))
            for accounts in self.both():
                self.assertEqual(list(self.have(accounts.rights())), closed, name)
        self.have(self.accounts.withdraw(SPAM, Whom.USER, "nobody-else"))
        self.have(self.accounts.withdraw(SPAM, Whom.ADMINS, ""))
        self.assertEqual(list(self.have(self.accounts.rights())), [])

    # --- model ---

    def test_is_some_dicts(self) -> None:
        """Changes in any order give the state that dicts would have, also after a restart."""
        run_model(lambda: AccountsModel(self, self.make, self.again), examples=8, steps=15)
