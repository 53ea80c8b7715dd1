from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential
from pypid.web.http.credentials import LONGEST_HEADER, credential_of

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

    def test_latin_1(self) -> None:
        """A header that is not UTF-8 is read as Latin-1, as requests sends it."""
        self.assertEqual(
            credential_of(basic("jörg:pä:ß".encode("latin-1"))), Credential("jörg", "pä:ß")
        )

    def test_none(self) -> None:
        """Without a header there is no credential."""
        self.assertIsNone(credential_of(None))

    def test_bearer(self) -> None:
        """A Bearer token is the password of __token__."""
        self.assertEqual(
            credential_of(b"Bearer pypi-AgEI_x.y~z+/=="),
            Credential("__token__", "pypi-AgEI_x.y~z+/=="),
        )

    def test_damaged(self) -> None:
        """What is neither Basic nor Bearer, or damaged, is refused with a text that says what was
        expected.
        """
        for header, said in (
            (b"", "kind"),
            (b"   ", "kind"),
            (b"Digest username=x", "kind"),
            (b"Negotiate abcd", "kind"),
            (b"Basic", "no ':'"),
            (b"Basic ?", "base64"),
            (b"Basic YWxpY2U6", None),
            (b"Basic YWxpY2U", "base64"),
            (b"Basic YWxp Y2U6eA==", "base64"),
            (basic(b"alice"), "no ':'"),
            (basic(b"al\nice:x"), "printed"),
            (basic(b"al\0ice:x"), "printed"),
            (basic("al\u2028ice:x".encode()), "printed"),
            (basic(b"a" * 201 + b":x"), "longer"),
            (b"Bearer", "one token"),
            (b"Bearer a b", "one token"),
            (b"Bearer a\n", "one token"),
            (b"Bearer \xff", "one token"),
            (b"Basic " + b"A" * LONGEST_HEADER, "longer"),
        ):
            if said is None:
                self.assertEqual(credential_of(header), Credential("alice", ""))
                continue
            error = self.assertRaises(Unauthenticated, credential_of, header)
            self.assertIn(said, str(error), header)

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

    def test_no_secret(self) -> None:
        """Neither a credential's repr nor a refusal shows what was sent, nor does a cause that
        hangs on it.
        """
        self.assertNotIn("Xyzzy", repr(credential_of(basic(b"alice:Xyzzy"))))
        self.assertNotIn("Xyzzy", repr(credential_of(b"Bearer Xyzzy")))
        for header in (
            b"Basic Xyzzy!",
            b"Bearer Xyzzy Xyzzy",
            b"Xyzzy",
            basic(b"Xyzzy"),
            basic(b"al\nice:Xyzzy"),
        ):
            error = self.assertRaises(Unauthenticated, credential_of, header)
            self.assertNotIn("Xyzzy", str(error) + repr(error) + repr(error.__cause__))
