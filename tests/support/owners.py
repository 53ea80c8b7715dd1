"""The contract of `Accounts` for owners of projects, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from pypid.core.accounts.rights import CLAIM_LASTS
from pypid.core.packaging.names import project_name
from tests.support.credentials import CredentialsContract
from tests.support.examples import SPAM, a_session, a_token, an_account
from tests.support.worlds import BEGINNING


class OwnersContract(CredentialsContract):
    """Mix into a `SynchronousTestCase` whose `make` gives new, empty accounts in `self.world`."""

    def test_claims(self) -> None:
        """Of two accounts that claim a project through two connections the first one gets it; each
        index has owners of its own.
        """
        first, second = self.accounts, self.have(self.again())
        here, there = ("", SPAM), ("staging", SPAM)
        self.assertEqual(self.have(first.claim(here, "sql:alice:1")), "sql:alice:1")
        self.assertEqual(self.have(second.claim(here, "sql:bob:1")), "sql:alice:1")
        self.assertEqual(self.have(second.claim(there, "sql:bob:1")), "sql:bob:1")
        self.assertEqual(self.have(first.claim(here, "sql:alice:1")), "sql:alice:1")
        for accounts in self.both():
            owners = {key: owner.account for key, owner in self.have(accounts.owners()).items()}
            self.assertEqual(owners, {here: "sql:alice:1", there: "sql:bob:1"})
        self.have(first.remove_owners("staging"))
        for accounts in self.both():
            self.assertEqual(set(self.have(accounts.owners())), {here})

    def test_old_claim(self) -> None:
        """A claim without an upload keeps the name for ten minutes, and longer if its account
        claims it again.
        """
        key, wait = ("", SPAM), CLAIM_LASTS.total_seconds() - 1
        self.have(self.accounts.claim(key, "sql:alice:1"))
        self.advance(wait)
        self.assertEqual(self.have(self.accounts.claim(key, "sql:bob:1")), "sql:alice:1")
        self.assertEqual(self.have(self.accounts.claim(key, "sql:alice:1")), "sql:alice:1")
        self.advance(wait)
        self.assertEqual(self.have(self.accounts.claim(key, "sql:bob:1")), "sql:alice:1")
        self.advance(1)
        self.assertEqual(self.have(self.accounts.claim(key, "sql:bob:1")), "sql:bob:1")
        for accounts in self.both():
            self.assertEqual(self.have(accounts.owners())[key].user, "bob")

    def test_owner_of_a_name_made_again(self) -> None:
        """A removed account stays the owner, so that nothing opens, and a new user of that name
        owns nothing of the former.
        """
        alice, ham = an_account("alice"), project_name("ham")
        self.have(self.accounts.add_user(alice))
        self.have(self.accounts.set_owner(("", SPAM), alice.id))
        self.have(self.accounts.set_owner(("", ham), "ldap:alice"))
        self.have(self.accounts.remove_user("alice"))
        self.advance(1)
        again = an_account("alice", created=BEGINNING + timedelta(seconds=1))
        self.have(self.accounts.add_user(again))
        self.assertNotEqual(again.id, alice.id)
        for accounts in self.both():
            owners = {key: owner.account for key, owner in self.have(accounts.owners()).items()}
            self.assertEqual(owners, {("", ham): "ldap:alice", ("", SPAM): alice.id})

    def test_taken_over(self) -> None:
        """A user whom the configuration had keeps tokens, sessions and projects, also those of a
        shadowed account; a second take-over changes nothing.
        """
        admin, ham = an_account("admin", admin=True), project_name("ham")
        former = an_account("admin", created=BEGINNING + timedelta(seconds=1))
        self.have(self.accounts.add_user(former))
        self.have(self.accounts.add_token(a_token("kept", "admin")))
        self.have(self.accounts.add_session(a_session("kept", "admin")))
        self.have(self.accounts.set_owner(("", SPAM), "config:admin"))
        self.have(self.accounts.set_owner(("", ham), former.id))
        self.have(self.accounts.take_over(admin))
        self.have(self.accounts.take_over(evolve(admin, hash="older")))
        for accounts in self.both():
            self.assertEqual(list(self.have(accounts.users())), [admin])
            self.assertIsNotNone(self.have(accounts.token("digest-kept")))
            self.assertIsNotNone(self.have(accounts.session("kept")))
            owners = {key: owner.account for key, owner in self.have(accounts.owners()).items()}
            self.assertEqual(owners, {("", SPAM): admin.id, ("", ham): admin.id})

    def test_claim_of_a_set_owner(self) -> None:
        """An owner who was set keeps a name without an upload; an old claim ends for an empty
        account, which owns nothing.
        """
        ham, wait = project_name("ham"), CLAIM_LASTS.total_seconds()
        self.have(self.accounts.set_owner(("", SPAM), "sql:alice:1"))
        self.have(self.accounts.claim(("", ham), "sql:alice:1"))
        self.advance(wait)
        self.assertEqual(self.have(self.accounts.claim(("", SPAM), "sql:bob:1")), "sql:alice:1")
        self.assertEqual(self.have(self.accounts.claim(("", SPAM), "")), "sql:alice:1")
        self.assertEqual(self.have(self.accounts.claim(("", SPAM), "sql:alice:1")), "sql:alice:1")
        self.assertEqual(self.have(self.accounts.claim(("", ham), "")), "")
        for accounts in self.both():
            owners = {key: owner.is_claimed for key, owner in self.have(accounts.owners()).items()}
            self.assertEqual(owners, {("", SPAM): False})

    def test_refresh(self) -> None:
        """What another connection has changed is known after a refresh."""
        second = self.have(self.again())
        self.have(self.accounts.set_owner(("", SPAM), "sql:alice:1"))
        self.have(second.refresh())
        self.assertEqual(set(self.have(second.owners())), {("", SPAM)})

    def test_set_owner(self) -> None:
        """An owner is replaced, and removed; to remove none is no error."""
        key = ("", SPAM)
        self.have(self.accounts.set_owner(key, None))
        self.have(self.accounts.set_owner(key, "config:alice"))
        self.have(self.accounts.set_owner(key, "config:bob"))
        for accounts in self.both():
            self.assertEqual(self.have(accounts.owners())[key].account, "config:bob")
        self.have(self.accounts.set_owner(key, None))
        for accounts in self.both():
            self.assertEqual(dict(self.have(accounts.owners())), {})
