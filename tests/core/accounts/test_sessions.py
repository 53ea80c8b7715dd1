from __future__ import annotations

from http.cookies import SimpleCookie

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import (
    COOKIE,
    LONGEST_HEADER,
    SECURE_COOKIE,
    csrf_token,
    digest_of,
    is_csrf_token,
    new_secret,
    secret_in,
    set_cookie,
)

quickly = settings(max_examples=60, deadline=None, database=None)
KEY = bytes(range(32))
secrets = st.binary(min_size=32, max_size=32).map(lambda data: new_secret(lambda size: data[:size]))
SECRET = "A" * 43


class CookieTests(SynchronousTestCase):
    """The cookie, as it is set and as it comes back."""

    @quickly
    @given(
        secrets,
        st.booleans(),
        st.lists(st.sampled_from(["a=b", "", "=", "pypid_sessio", "x=__Host-pypid_session"])),
    )
    def test_comes_back(self, secret: str, secure: bool, others: list[str]) -> None:
        """What was set is found again, whatever else the browser sends, and the standard library
        reads it as we do.
        """
        pair = set_cookie(secret, secure=secure, seconds=60).split(";")[0]
        for cookies in (
            "; ".join([pair, *others]),
            "; ".join([*others, pair]),
            ";".join([*others, pair, pair]),
        ):
            self.assertEqual(secret_in(cookies, secure=secure), secret)
            self.assertIsNone(secret_in(cookies, secure=not secure))
        self.assertEqual([morsel.value for morsel in SimpleCookie(pair).values()], [secret])

    @quickly
    @given(st.text(max_size=200), st.booleans())
    @example("pypid_session=" + "é" * 43, False)
    @example(f"pypid_session={SECRET}A", False)
    @example(f"pypid_session={SECRET[1:]}=", False)
    @example(f"PYPID_SESSION={SECRET}", False)
    @example(f"pypid_session={SECRET}\n", False)
    @example(f"pypid_session =, pypid_session={SECRET}", False)
    def test_hostile(self, cookies: str, secure: bool) -> None:
        """Any text at all is read without an error, and what is no secret is none."""
        self.assertIsNone(secret_in(cookies, secure=secure))

    def test_planted(self) -> None:
        """A second cookie of the name, which somebody may have put there, makes that none counts; a
        huge header neither.
        """
        mine, theirs = f"{COOKIE}={SECRET}", f"{COOKIE}={'B' * 43}"
        for cookies in (
            f"{mine}; {theirs}",
            f"{theirs}; {mine}",
            f"{mine}; {COOKIE}=",
            mine + "; x=" + "y" * LONGEST_HEADER,
        ):
            self.assertIsNone(secret_in(cookies, secure=False), cookies[:200])
        self.assertIsNone(secret_in(mine, secure=True))

    def test_attributes(self) -> None:
        """Scripts do not see the cookie, other sites' forms do not send it, and by TLS it belongs
        to this very host.
        """
        self.assertEqual(
            set_cookie("s", secure=True, seconds=60),
            f"{SECURE_COOKIE}=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
        )
        self.assertEqual(
            set_cookie("", secure=False, seconds=0),
            f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
        )


class DigestTests(SynchronousTestCase):
    """What is stored, and what a page says beside the cookie."""

    def test_bits(self) -> None:
        """A secret has 256 random bits."""
        asked: list[int] = []
        new_secret(lambda size: asked.append(size) or b"x" * size)  # type: ignore[func-returns-value]
        self.assertEqual(asked, [32])

    @quickly
    @given(secrets, secrets)
    def test_apart(self, one: str, other: str) -> None:
        """Digest and token are of one secret and one key, and neither has the secret, or the other,
        in it.
        """
        self.assertEqual(digest_of(one, KEY) == digest_of(other, KEY), one == other)
        self.assertNotEqual(digest_of(one, KEY), digest_of(one, bytes(32)))
        self.assertEqual(is_csrf_token(csrf_token(one), other), one == other)
        self.assertEqual(len({one, digest_of(one, KEY), csrf_token(one)}), 3)

    @quickly
    @given(st.text())
    @example("")
    @example("\ud800")
    @example("é" * 64)
    @example(digest_of(SECRET, KEY))
    @example(csrf_token(SECRET)[:-1])
    @example(csrf_token(SECRET).upper())
    def test_wrong_token(self, said: str) -> None:
        """Any other text is no token."""
        self.assertFalse(is_csrf_token(said, SECRET))
