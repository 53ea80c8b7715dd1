from __future__ import annotations

import os
import re
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.tokens import new_token, token_digest
from pypid.core.accounts.rights import Token
from pypid.core.permissions import Action, Scope
from tests.support.worlds import BEGINNING

SCOPE = Scope(frozenset({Action.READ}), ("acme-*",))


def make(**fields: object) -> tuple[str, Token]:
    values: dict[str, object] = {"name": "CI", "user": "alice", "scope": SCOPE, "now": BEGINNING}
    return new_token(os.urandom, **{**values, **fields})  # type: ignore[arg-type]


class TokenTests(SynchronousTestCase):
    def test_shape(self) -> None:
        """A secret is ``pypi-`` and 256 bits in base64url; the id is 16 letters and digits, and
        says nothing of the secret.
        """
        secret, token = make(expires=BEGINNING + timedelta(days=1), publisher=True)
        self.assertRegex(secret, re.compile(r"\Apypi-[A-Za-z0-9_-]{43}\Z"))
        self.assertRegex(token.id, re.compile(r"\A[a-z0-9]{16}\Z"))
        self.assertRegex(token.digest, re.compile(r"\A[0-9a-f]{64}\Z"))
        self.assertEqual(
            (token.name, token.user, token.scope, token.created), ("CI", "alice", SCOPE, BEGINNING)
        )
        self.assertEqual((token.expires, token.publisher), (BEGINNING + timedelta(days=1), True))
        self.assertIsNone(token.revoked or token.used)
        for part in (secret, secret[5:], token.digest):
            self.assertNotIn(part, repr(token))
        self.assertNotIn(secret[5:], token.digest + token.id)

    def test_damaged(self) -> None:
        """What is cut short, longer, of other characters or another prefix can be no token."""
        secret, token = make()
        cuts = [secret[:n] for n in range(len(secret))]
        others = [
            secret + "A",
            secret + "=",
            secret + "\n",
            " " + secret,
            secret[5:],
            "PYPI-" + secret[5:],
            secret[:-1] + "\u00e9",
        ]
        for bad in (
            *cuts,
            *others,
            secret.replace("pypi-", "pypi_"),
            secret[:-1] + "\ud800",
            secret[:-1] + "+",
            "x" * 100_000,
        ):
            self.assertIsNone(token_digest(bad), bad[:60])
        self.assertNotEqual(
            token_digest(secret[:-1] + ("A" if secret[-1] != "A" else "B")), token.digest
        )

    @given(st.one_of(st.text(), st.text("ab-_=", min_size=43, max_size=43).map("pypi-".__add__)))
    @settings(max_examples=50, deadline=None, database=None)
    def test_anything(self, text: str) -> None:
        """Of any text at all there is a digest or there is none, and nothing else happens."""
        digest = token_digest(text)
        self.assertEqual(digest is None, re.fullmatch(r"pypi-[A-Za-z0-9_-]{43}", text) is None)
