"""The part of the contract of the accounts that is about tokens, sessions and values used once."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from pypid.access.accounts import SqlAccounts
from pypid.core.accounts.rights import MOST_SESSIONS
from pypid.core.errors import NoSuchToken
from pypid.core.permissions import Action, Scope
from tests.support.examples import HOUR, a_session, a_token
from tests.support.worlds import BEGINNING, Timed


class CredentialsContract(Timed):
    """Tests of tokens and sessions, and what all tests of accounts need."""

    async def make(self) -> SqlAccounts:
        """Return new, empty accounts."""
        raise NotImplementedError

    async def again(self) -> SqlAccounts:
        """Return other accounts on the data of the last ones that were made: as after a restart, or
        on another node.
        """
        raise NotImplementedError

    async def after_a_while(self, accounts: SqlAccounts) -> None:
        """Do the periodic work of the accounts."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = self.have(self.make())

    def advance(self, seconds: float) -> None:
        """Advance the clock, and do the periodic work."""
        self.clock.advance(seconds)
        self.have(self.after_a_while(self.accounts))

    def both(self) -> tuple[SqlAccounts, SqlAccounts]:
        """Return the accounts under test, and others on the same data."""
        return self.accounts, self.have(self.again())

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
