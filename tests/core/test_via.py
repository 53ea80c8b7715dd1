"""The chain of pypids in Via, and loops in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Loop
from pypid.core.via import LONGEST_CHAIN, identity, read_via, refuse_loop, write_via


class ViaTests(SynchronousTestCase):
    """Who stands in the chain."""

    def test_read(self) -> None:
        """Each hop's name is read, whatever the protocol and the comment beside it (RFC 9110)."""
        for values, hops in (
            (["1.1 pypid-ab"], ("pypid-ab",)),
            (["1.0 fred, 1.1 p.example.net (Apache/1.1)", "HTTP/2 x:80"], ("fred", "p.example.net", "x:80")),
            ([""], ()),
            (["nonsense", "1.1", ",,,", "1.1 (x)"], ()),
        ):
            self.assertEqual(read_via(values), hops)
        self.assertLessEqual(len(read_via(["1.1 x, " * 100_000])), 4 * LONGEST_CHAIN)

    def test_loop(self) -> None:
        """Who meets itself, or more pypids than there can be, is in a loop; other proxies do not count."""
        own = identity(b"\x01\x02")
        self.assertEqual(own, "pypid-0102")
        refuse_loop((), own)
        refuse_loop(("x",) * 50, own)
        for via in ((own,), ("x", own, "y"), tuple(identity(bytes([n])) for n in range(LONGEST_CHAIN))):
            with self.assertRaises(Loop):
                refuse_loop(via, own)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.from_regex(r"[a-z0-9:.-]{1,30}", fullmatch=True), max_size=10), st.text(max_size=80))
    def test_round_trip(self, via: list[str], noise: str) -> None:
        """What is written is read again, with us at its end; noise raises nothing."""
        self.assertEqual(read_via([write_via(via, "pypid-x")]), (*via, "pypid-x"))
        read_via([noise])
