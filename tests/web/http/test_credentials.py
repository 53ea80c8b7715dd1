from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential
from pypid.web.http.headers import credential_of

modest = settings(max_examples=60, deadline=None, database=None)
users = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=":"), max_size=200
)
passwords = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


def basic(pair: bytes) -> bytes:
    return b"Basic " + b64encode(pair)


class CredentialTests(SynchronousTestCase):
    @modest
    @given(users, passwords, st.sampled_from([b"Basic ", b"basic ", b"BASIC  "]))
    def test_basic(self, user: str, password: str, scheme: bytes) -> None:
        """Whatever user and password go into a Basic header come out of it, colons in the password
        too.
        """
        header = scheme + b64encode(f"{user}:{password}".encode())
        self.assertEqual(credential_of(header), Credential(user, password))

    def test_none(self) -> None:
        """Without a header there is no credential."""
        self.assertIsNone(credential_of(None))

    @modest
    @given(
        st.one_of(
            st.binary(max_size=300),
            st.binary(max_size=200).map(basic),
            st.binary(max_size=200).map(b"Bearer ".__add__),
        )
    )
    def test_anything(self, header: bytes) -> None:
        """Any bytes give a credential or Unauthenticated, and nothing else."""
        try:
            self.assertIsInstance(credential_of(header), Credential)
        except Unauthenticated as error:
            self.assertTrue(str(error))
