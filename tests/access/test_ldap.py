"""What can be known of a directory without one. (The rest is tests/live/test_ldap.py.)"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from unittest import SkipTest

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.ldap.source import START_TLS, accepts_tls, is_encrypted_first
from pypid.core.accounts.ldap_filters import GROUP_FILTER, filled, user_filter
from tests.live.clients import in_ci

try:
    import ldap.filter

    from pypid.access.ldap.source import DEEPEST, MOST_GROUPS, DirectoryEntry, groups_of, key_of
except ImportError:
    if in_ci():
        raise
    ldap = None

quick = settings(max_examples=60, deadline=None, database=None)

YES = bytes.fromhex("300c02010178070a010004000400")
"""What slapd says to StartTLS; shorter than `LONG_YES`, which is how Active Directory spells
lengths.
"""
LONG_YES = bytes.fromhex("3084000000100201017884000000070a010004000400")


class StartTls(SynchronousTestCase):
    """Asking for encryption."""

    def test_request(self) -> None:
        """The question is the extended request of RFC 4511 with the name of StartTLS."""
        self.assertEqual(START_TLS[:9].hex(), "301d02010177188016")
        self.assertEqual((len(START_TLS), START_TLS[1]), (31, 29))

    def test_yes(self) -> None:
        """A yes is one once it is whole, however it is cut and its lengths are written; anything
        behind it spoils it.
        """
        for yes in (YES, LONG_YES):
            self.assertEqual(
                [accepts_tls(yes[:size]) for size in range(len(yes))], [False] * len(yes)
            )
            self.assertTrue(accepts_tls(yes))
            for more in (b"\0", b"0", yes):
                with self.assertRaisesRegex(ValueError, "more than the answer"):
                    accepts_tls(yes + more)

    def test_no(self) -> None:
        """Another result, an answer to another question, and what is no LDAP, are no yes."""
        for no in (
            YES.replace(b"\x0a\x01\x00", b"\x0a\x01\x34"),
            YES.replace(b"\x02\x01\x01", b"\x02\x01\x02"),
            YES.replace(b"\x78", b"\x65"),
            *(
                b"HTTP/1.1 400",
                b"\x15\x03\x01\x00\x02",
                b"\x30\x00",
                b"\x30\x02\x02\x00",
                b"\x30\x85\0\0\0\0\1",
                b"\x30\x82\xff\xff",
            ),
        ):
            with self.assertRaises(ValueError, msg=no.hex()):
                accepts_tls(no)

    @quick
    @given(st.binary(max_size=40), st.integers(0, len(YES)))
    def test_anything(self, noise: bytes, kept: int) -> None:
        """Whatever comes is understood, waited for or refused, and only a yes is a yes."""
        heard = YES[:kept] + noise
        try:
            said = accepts_tls(heard)
        except ValueError:
            return
        if said:
            self.assertIn(b"\x0a\x01\x00", heard)

    def test_when(self) -> None:
        """In clear nothing is said to another machine, nor to this one where certificates are
        named.
        """
        for url in (
            "ldap://ldap.example.org",
            "ldap://10.0.0.1:389",
            "ldap://[fe80::1]",
            "ldap://localhost.example.org",
            "ldap://0",
        ):
            self.assertTrue(is_encrypted_first(url, False), url)
        for url in (
            "ldap://127.0.0.1",
            "ldap://127.8.9.1:3389",
            "ldap://[::1]",
            "ldap://localhost",
            "ldap://LOCALHOST",
        ):
            self.assertFalse(is_encrypted_first(url, False), url)
            self.assertTrue(is_encrypted_first(url, True), url)
        for named in (True, False):
            self.assertFalse(is_encrypted_first("ldaps://ldap.example.org", named))


class WithLdap(SynchronousTestCase):
    def setUp(self) -> None:
        if ldap is None:
            raise SkipTest(
                "python-ldap: it is not installed (pip install '.[ldap]'; Debian: libldap2-dev "
                "libsasl2-dev)"
            )


class Escaping(WithLdap):
    """Names in filters."""

    @quick
    @given(st.text(max_size=30))
    @example("*")
    @example("alice)(uid=*")
    @example("*)(|(uid=*))(\0")
    @example("\\2a{user}{dn}")
    def test_no_way_out(self, name: str) -> None:
        """Whatever the name is, the filter asks for that one value and nothing else."""
        said = filled(
            user_filter("(&(a=b)(uid={user}))"), ldap.filter.escape_filter_chars, user=name
        )
        match = re.fullmatch(r"\(&\(a=b\)\(uid=([^()*\0]*)\)\)", said)
        assert match is not None
        self.assertEqual(
            re.sub(r"\\([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), match[1]), name
        )


def entry(dn: str, **values: Sequence[str]) -> Any:
    return DirectoryEntry.of(
        dn, {name: [value.encode() for value in given] for name, given in values.items()}
    )


class Entries(WithLdap):
    """What the directory says, read."""

    def test_keys(self) -> None:
        """Names of entries that mean the same are the same, others are others."""
        same = (
            "cn=Ab C+ou=x,dc=org",
            "CN = aB c + OU=X , DC=Org",
            "ou=x+cn=ab  c,dc=org",
            "cn=\\41b C+ou=x,dc=org",
        )
        self.assertEqual(len({key_of(dn) for dn in same}), 1)
        others = (
            "cn=Ab C,dc=org",
            "cn=Ab C+ou=x",
            "cn=Ab C\\2Bou=x,dc=org",
            "ou=x,cn=Ab C,dc=org",
            "",
        )
        self.assertEqual(len({key_of(dn) for dn in (*same, *others)}), 1 + len(others))

    def test_only(self) -> None:
        """The one value counts, as it is spelled; of several the one in the entry's name; else
        there is none.
        """
        self.assertEqual(entry("cn=x,dc=y", UID=["Alice"]).only("uid"), "Alice")
        self.assertEqual(entry("UID=alice,dc=y", uid=["al", "alice"]).only("Uid"), "alice")
        self.assertEqual(entry("cn=x+uid=a\\2Cb,dc=y", uid=["a,b", "al"]).only("uid"), "a,b")
        for none in (
            entry("cn=x,dc=y"),
            entry("cn=x,dc=y", uid=["a", "b"]),
            entry("uid=c,dc=y", uid=["a", "b"]),
            entry("cn=x", uid=[]),
        ):
            self.assertIsNone(none.only("uid"))
        self.assertIsNone(DirectoryEntry.of("cn=x", {"uid": [b"\xff"]}).only("uid"))


class Groups(WithLdap):
    """Groups in groups."""

    def search(self, members: dict[str, set[str]]) -> Any:
        """What a directory says that knows these members of groups."""
        self.asked: list[str] = []

        def found(filter: str) -> list[Any]:
            self.asked.append(filter)
            wanted = set(re.findall(r"\(member=(?:cn|CN)=(\w+)\)", filter))
            return [
                entry(f"CN={name}" if len(self.asked) % 2 else f"cn={name}")
                for name, inside in members.items()
                if inside & wanted
            ]

        return found

    @quick
    @given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefghu"))))
    def test_closure(self, members: dict[str, set[str]]) -> None:
        """They are those that lead to the user, circles or not: each once, and each asked about
        once.
        """
        found = groups_of(self.search(members), GROUP_FILTER, "cn=u", "u")
        inside = {"u"}
        for _ in range(DEEPEST):
            inside |= {name for name, those in members.items() if those & inside}
        self.assertEqual(
            sorted(each.dn.lower() for each in found),
            sorted(f"cn={name}" for name in inside - {"u"}),
        )
        self.assertLessEqual(len(self.asked), DEEPEST)

    def test_by_name_only(self) -> None:
        """A filter without the entry's name finds no groups in groups: one of a user's name would
        get the user's.
        """
        search = self.search({})
        groups_of(
            lambda filter: [*search(filter), entry("cn=g")], "(memberUid={user})", "cn=u", "u"
        )
        self.assertEqual(self.asked, ["(memberUid=u)"])

    def test_too_many(self) -> None:
        """More groups than can be told are an error, and not the first of them."""
        members = {f"g{n}": {"u" if n < MOST_GROUPS else "g0"} for n in range(MOST_GROUPS + 1)}
        with self.assertRaises(ldap.SIZELIMIT_EXCEEDED):
            groups_of(self.search(members), GROUP_FILTER, "cn=u", "u")
