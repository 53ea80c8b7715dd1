"""Single values of the configuration: what is read, what is refused, and that all that is shown can
be read again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration import values
from pypid.core.configuration.keys import FAMILIES, SECTIONS, keys
from pypid.core.configuration.values import INDEX_NAMES, UPSTREAM_NAMES
from pypid.core.permissions import Principals, account_name

quick = settings(max_examples=30, deadline=None, database=None)

KINDS = {
    (name, key): declared.kind
    for name, section in SECTIONS.items()
    for key, declared in keys(section).items()
}
KINDS |= {
    (f"{prefix}x", key): declared.kind
    for prefix, section in FAMILIES.items()
    for key, declared in keys(section).items()
}

PLAUSIBLE = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="0123456789kMGTsmhd yesno:/.@*[]-=", max_size=12),
    st.lists(
        st.sampled_from(
            [
                "everyone",
                "nobody",
                "admins",
                "alice",
                "user:bob",
                "group:team",
                "tcp:1",
                "unix:/x",
                "10.0.0.0/8",
                "::1",
                "https://h:1/x/",
                "https://u:p@h",
                "http://[::1",
                "3d",
                "numpy=0",
                "a-*=1h",
                "cache",
                "sql",
                "4G",
                "60s",
                "1",
                "*",
                "acme-*",
                "https://h?x",
                "https://h:0",
                "ldap://h",
                "999999999999999d",
            ]
        ),
        max_size=3,
    ).map(" ".join),
)


class Sizes(SynchronousTestCase):
    """``[server] max_upload`` and its like."""

    def test_refused(self) -> None:
        """Fractions, signs, other units, digits of other scripts and numbers without end are no
        sizes.
        """
        for text in (
            "",
            "1.5G",
            "-1",
            "+1",
            "4GB",
            "4g",
            "1 k",
            "٣",
            "1_000",
            "9" * 5000,
            "k",
            "1k\n",
        ):
            self.assertRaises(ValueError, values.parse_size, text)

    @quick
    @given(st.integers(0, 10**15 - 1))
    def test_round_trip(self, size: int) -> None:
        """Every size is read again as it was shown."""
        self.assertEqual(values.parse_size(values.size_text(size)), size)


class Durations(SynchronousTestCase):
    """``[database] stale_for`` and its like."""

    def test_refused(self) -> None:
        """Two units, fractions and spans of more than 1000 years are refused."""
        for text in ("", "1h30m", "1.5h", "-1s", "1w", "1D", "1 s", "999999999999999d", "9" * 5000):
            self.assertRaises(ValueError, values.parse_duration, text)

    def test_bounds(self) -> None:
        """A kind's bounds belong to what is allowed."""
        kind = values.duration("1s", "7d")
        self.assertEqual([kind.parse("1").total_seconds(), kind.parse("168h").days], [1, 7])
        self.assertRaises(ValueError, kind.parse, "0")
        self.assertRaises(ValueError, kind.parse, "604801")

    @quick
    @given(st.integers(0, 365_000 * 86400))
    def test_round_trip(self, seconds: int) -> None:
        """Every span is read again as it was shown."""
        duration = timedelta(seconds=seconds)
        self.assertEqual(values.parse_duration(values.duration_text(duration)), duration)


class EveryKind(SynchronousTestCase):
    """What holds for the kind of each key."""

    @settings(quick, max_examples=100)
    @given(st.sampled_from(sorted(KINDS)), PLAUSIBLE)
    @example(("upstream", "cooldown"), "3d numpy=0 acme-*=14d")
    @example(("server", "public_url"), "http://h:99999")
    def test_reads_or_refuses(self, place: tuple[str, str], text: str) -> None:
        """Any text is read, and then shown so that it is read as the same, or refused with
        ValueError: nothing else happens.
        """
        kind: values.ValueKind[Any] = KINDS[place]
        try:
            value = kind.parse(text)
        except ValueError:
            return
        self.assertEqual(kind.parse(kind.show(value)), value)


class Words(SynchronousTestCase):
    """Choices, truth, names of folders, and the network."""

    def assert_only(self, kind: values.ValueKind[Any], good: str, bad: str) -> None:
        for word in good.split("|"):
            kind.parse(word)
        for word in bad.split("|"):
            self.assertRaises(ValueError, kind.parse, word)

    def test_endpoints(self) -> None:
        """An endpoint is what Twisted accepts of the known kinds."""
        self.assert_only(
            values.ENDPOINT,
            "tcp:6543:interface=127.0.0.1|ssl:443|unix:/run/p|systemd:domain=INET:index=0|tcp6:1",
            "65536|tcp|tcp:|udp:1|tcp:x|tcp:1:colour=red|tcp:1:backlog=x|::1:80|unix:|unix:/p:mode=rw|"
            "systemd:domain=INET|systemd:domain=X:index=0|tcp:1:port=2|h:80|",
        )

    def test_base_urls(self) -> None:
        """public_url is absolute and says neither user nor query; the slash at its
        end is dropped.
        """
        self.assertEqual(
            values.BASE_URL.parse("https://h.example:8443/pypi/"),
            "https://h.example:8443/pypi",
        )
        self.assert_only(
            values.BASE_URL,
            "http://h|https://[::1]:80/x",
            "h|//h|ftp://h|https://|https://u:p@h|https://h?q|https://h?|https://h#f|http://h:x|http://[::1|http://h\tx|http://h:0",
        )

    def test_networks(self) -> None:
        """Networks are those of ipaddress; bits behind the mask are a slip and refused."""
        self.assert_only(
            values.NETWORK,
            "10.0.0.0/8|127.0.0.1|::1|fd00::/8",
            "10.0.0.1/8|localhost|10.0.0.0/33|",
        )

    def test_hashes(self) -> None:
        """A hash looks like one, and the refusal shows nothing of what was read."""
        for text in (
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
            "$2b$12$abc",
            "$6$rounds=5000$a$b",
            "$pbkdf2-sha256$1$a$b",
        ):
            self.assertEqual(values.parse_hash(text), text)
        for text in ("hunter2", "$hunter2", "", "{SHA}hunter2", "$2b$hunter2\n$", "hunter2$2b$x"):
            error = self.assertRaises(ValueError, values.parse_hash, text)
            self.assertNotIn("hunter2", str(error))
            self.assertIn("pypid gen-password", str(error))

    def test_userinfo_is_hidden(self) -> None:
        """A URL is shown without what stands before its @, slashes and all."""
        self.assertEqual(
            values.without_userinfo("https://a:b/c@d@host/x http://other/y"),
            "https://(set)@host/x http://other/y",
        )


class People(SynchronousTestCase):
    """Lists of principals."""

    def test_refused(self) -> None:
        """nobody stands alone, and names that nobody can have are refused."""
        for text in (
            "nobody alice",
            "group:",
            "user:",
            "team:x",
            "a;b",
            "a=b",
            "user:everyone",
            "group:admins",
            "a\x07b",
            "group:a:b",
        ):
            self.assertRaises(ValueError, Principals.parse, text)

    def test_account_names(self) -> None:
        """What would cut HTTP Basic credentials or the configuration is in no name."""
        self.assertEqual(account_name("Zoë.o'x-1@example.org"), "Zoë.o'x-1@example.org")
        for name in (
            "",
            "a:b",
            "a=b",
            "a;b",
            "a b",
            "a\u00a0b",
            "a\tb",
            "a\x7f",
            "everyone",
            "authenticated",
            "nobody",
            "admins",
            "\u202e",
        ):
            self.assertRaises(ValueError, account_name, name)

    @quick
    @given(
        st.lists(
            st.sampled_from(
                ["everyone", "authenticated", "admins", "a", "user:b", "group:c", "group:a"]
            )
        )
    )
    def test_round_trip(self, words: list[str]) -> None:
        """Every list is read again as it was shown; an empty one is nobody."""
        principals = Principals.parse(" ".join(words))
        self.assertEqual(Principals.parse(principals.text()), principals)


class NameTests(SynchronousTestCase):
    """Names of indexes and upstreams."""

    def test_what_the_name_is_of(self) -> None:
        """The error of a bad name says what it would be the name of."""
        for kind, thing in (
            (INDEX_NAMES, "index"),
            (UPSTREAM_NAMES, "upstream"),
        ):
            with self.assertRaises(ValueError) as caught:
                kind.parse("Team_A")
            self.assertIn(f"'Team_A' is not the name of an {thing}", str(caught.exception))
        self.assertEqual(UPSTREAM_NAMES.parse("cu128 public"), ("cu128", "public"))
        self.assertEqual(UPSTREAM_NAMES.show(()), "none")
