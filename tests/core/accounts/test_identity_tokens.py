"""Identity tokens: what is taken for one, and what its claims must say. (Signatures:
tests.access.test_oidc.)
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.identity_tokens import (
    ALGORITHMS,
    LEEWAY,
    LONGEST,
    LONGEST_ID,
    LONGEST_LIFE,
    parse_token,
    read_object,
    validate_claims,
)
from pypid.core.errors import MintRefused
from tests.issuers import Documents, b64, segment

quick = settings(max_examples=50, deadline=None, database=None)

URL = "https://issuer.example"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = {"typ": "JWT", "alg": "RS256", "kid": "one"}
SECOND = timedelta(seconds=1)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def refusal(token: str) -> str:
    """Why it is no token; empty if it is one."""
    try:
        parse_token(token)
    except MintRefused as error:
        assert error.code == "invalid-token", error
        return str(error)
    return ""


def judged(**claims: Any) -> str:
    """Why claims like these are not good; empty if they are."""
    said = Documents(URL).claims(NOW, **claims)
    try:
        proven = validate_claims(said, issuer=URL, audience="pypid", now=NOW)
    except MintRefused as error:
        assert error.code == "invalid-token", error
        return str(error)
    assert proven.id == said["jti"], proven
    return ""


def at(moment: timedelta) -> float:
    """The moment, as a token has it, as seen from now."""
    return (NOW + moment).timestamp()


class TakingApartTests(SynchronousTestCase):
    """What a token looks like."""

    def token(
        self, header: object = HEADER, claims: object = {"iss": URL}, signature: str = "c2ln"
    ) -> str:
        return f"{segment(header)}.{segment(claims)}.{signature}"

    def test_parts(self) -> None:
        """Issuer, algorithm and the key's name are read, and nothing is believed."""
        found = parse_token(self.token())
        self.assertEqual((found.issuer, found.algorithm, found.key_id), (URL, "RS256", "one"))
        self.assertIsNone(parse_token(self.token({"alg": "EdDSA"})).key_id)
        self.assertNotIn(found.token, repr(found))

    def test_cut_short(self) -> None:
        """Cut anywhere it is no token any more, or one with another signature."""
        whole = self.token(signature="c2lnbmF0dXJl")
        for length in range(len(whole)):
            cut = whole[:length]
            self.assertTrue(refusal(cut) or cut.rpartition(".")[0] == whole.rpartition(".")[0], cut)

    def test_too_long(self) -> None:
        """A token of a megabyte is not looked into."""
        self.assertIn(f"longer than {LONGEST}", refusal("a" * (1 << 20)))
        self.assertIn("longer", refusal(self.token(claims={"iss": URL, "x": "y" * LONGEST})))

    def test_algorithms(self) -> None:
        """Only algorithms with a private key are taken, spelled exactly; none and HS256 are not."""
        self.assertEqual(len(ALGORITHMS), 10)
        for algorithm in ALGORITHMS:
            self.assertEqual(refusal(self.token({"alg": algorithm})), "")
        for bad in (
            "none",
            "None",
            "nOnE",
            "",
            "HS256",
            "HS384",
            "HS512",
            "rs256",
            "RS1",
            "ES256K",
            "RSA-OAEP",
            None,
            7,
            ["RS256"],
            {},
        ):
            self.assertIn("algorithm is not taken", refusal(self.token({"alg": bad})), bad)
        self.assertIn("algorithm is not taken", refusal(self.token({})))

    def test_tricks(self) -> None:
        """What changes how a token is to be read is refused, known or not; other kinds of tokens
        are.
        """
        for more in (
            {"crit": ["exp"]},
            {"crit": []},
            {"b64": False},
            {"b64": True},
            {"zip": "DEF"},
            {"enc": "A128GCM"},
        ):
            self.assertIn("not known here", refusal(self.token({**HEADER, **more})), more)
        for kind in ("at+jwt", "JWE", "", None, 7):
            self.assertIn("not of the type JWT", refusal(self.token({**HEADER, "typ": kind})), kind)
        self.assertEqual(refusal(self.token({**HEADER, "typ": "jwt"})), "")
        for key_id in ("", "x" * (LONGEST_ID + 1), 7, ["one"], {"a": 1}, True):
            self.assertIn("kid", refusal(self.token({**HEADER, "kid": key_id})), key_id)

    def test_places_of_keys_are_ignored(self) -> None:
        """A token may say where its key is, or bring it along: nobody looks."""
        more = {
            "jku": "https://evil.example/jwks",
            "x5u": "https://evil.example/x",
            "jwk": {"kty": "oct", "k": "AAAA"},
            "x5c": ["AA=="],
        }
        found = parse_token(self.token({**HEADER, **more}))
        self.assertNotIn("evil", f"{found.issuer}{found.key_id}")

    def test_damaged(self) -> None:
        """Other numbers of parts, other alphabets, other documents, and documents without end are
        refused.
        """
        good = segment({"iss": URL})
        deep = b64(b'{"a":' * 3000 + b"1" + b"}" * 3000)
        for token in (
            "",
            ".",
            "..",
            "a.b.c.d.e",
            f"{segment(HEADER)}.{good}",
            f"{segment(HEADER)}.{good}.",
            f"{segment(HEADER)}.{good}.c2ln\n",
            f"{segment(HEADER)}=.{good}.c2ln",
            f" {segment(HEADER)}.{good}.c2ln",
            f"{segment([HEADER])}.{good}.c2ln",
            f"{segment(HEADER)}.{segment('x')}.c2ln",
            f"{segment(HEADER)}.{b64(b'')}.c2ln",
            f"{segment(HEADER)}.{b64(bytes([255, 254]))}.c2ln",
            f"{segment(HEADER)}.{deep}.c2ln",
            f"{segment(HEADER)}.\xe9.c2ln",
            f"{segment(HEADER)}.\ud800.c2ln",
        ):
            self.assertTrue(refusal(token), token)
        for issuer in (None, 7, [URL], {"a": URL}):
            self.assertIn("(iss)", refusal(self.token(claims={"iss": issuer})))

    @quick
    @given(st.text(max_size=60))
    @example(".".join([segment(HEADER), segment({"iss": "x"}), "_"]))
    def test_any_text(self, text: str) -> None:
        """Whatever is sent, it is refused or taken apart; nothing else is raised."""
        refusal(text)

    @quick
    @given(JSON, JSON)
    def test_any_documents(self, header: object, claims: object) -> None:
        """Whatever the documents are, too."""
        said = refusal(self.token(header, claims))
        self.assertTrue(said or (isinstance(claims, dict) and isinstance(claims.get("iss"), str)))

    def test_objects(self) -> None:
        """A document is an object in UTF-8 JSON, by the book."""
        self.assertEqual(read_object(b'{"a": 1}'), {"a": 1})
        for data in (
            b"",
            b"[]",
            b"null",
            b'{"a": NaN}',
            b"{'a': 1}",
            b'{"a": 1} x',
            b'{"a": "\xff"}',
            b"\xff\xfe{\0}\0",
            b"[" * 5000,
        ):
            self.assertRaises(ValueError, read_object, data)


class JudgingTests(SynchronousTestCase):
    """What claims must say."""

    def test_audience(self) -> None:
        """The token is for us, and for nobody else besides."""
        for audience in (
            "pypi",
            "PYPID",
            "",
            None,
            [],
            ["pypi"],
            ["pypid", "pypi"],
            [["pypid"]],
            {"pypid": 1},
            7,
            "pypid ",
        ):
            self.assertIn("another audience", judged(aud=audience), audience)
        self.assertIn("ask for one for 'pypid'", judged(aud="testpypi"))

    def test_times(self) -> None:
        """It is good from its beginning to its end, clocks being a minute apart at most."""
        self.assertEqual(judged(exp=at(-LEEWAY + SECOND), iat=at(-10 * LEEWAY)), "")
        self.assertIn("has expired", judged(exp=at(-LEEWAY), iat=at(-10 * LEEWAY)))
        for claim in ("iat", "nbf"):
            self.assertEqual(judged(**{claim: at(LEEWAY)}), "")
            self.assertIn("from the future", judged(**{claim: at(LEEWAY + SECOND)}))

    def test_too_long_lived(self) -> None:
        """A token that lives longer than a day is none that a job got."""
        self.assertEqual(judged(exp=at(LONGEST_LIFE), iat=at(timedelta())), "")
        self.assertIn("lives too long", judged(exp=at(LONGEST_LIFE + SECOND), iat=at(timedelta())))
        self.assertIn("lives too long", judged(exp=at(SECOND), iat=at(-LONGEST_LIFE)))

    def test_dates(self) -> None:
        """A date is a number of seconds that a calendar has; without iat and exp there
        is no token.
        """
        for claim in ("iat", "exp", "nbf"):
            for bad in ("1767225600", True, -1, 1e300, 10**30, [1], {}, "", float(2**62)):
                self.assertIn(f"no good {claim}", judged(**{claim: bad}), (claim, bad))
        self.assertIn("no good iat", judged(iat=None))
        self.assertIn("no good exp", judged(exp=None))
        self.assertEqual(judged(exp=at(SECOND) + 0.5), "")

    @quick
    @given(
        st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "jti", "sub"]), JSON)
    )
    def test_any_claims(self, claims: dict[str, Any]) -> None:
        """Whatever the claims are, they are refused, or they are good as they stand."""
        said = {**Documents(URL).claims(NOW), **claims}
        try:
            proven = validate_claims(said, issuer=URL, audience="pypid", now=NOW)
        except MintRefused as error:
            self.assertTrue(json.dumps(str(error)))
        else:
            self.assertEqual((said["iss"], said["aud"] in ("pypid", ["pypid"])), (URL, True))
            self.assertGreater(proven.expires + LEEWAY, NOW)
