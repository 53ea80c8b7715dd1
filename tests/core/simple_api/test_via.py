"""The chain of pypids in Via, and loops in it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.simple_api.via import LONGEST_CHAIN, read_via, write_via


class ViaTests(SynchronousTestCase):
    """Who stands in the chain."""

    def test_read(self) -> None:
        """The name of each pypid is read, whatever the protocol and the comment beside it (RFC
        9110).
        """
        for values, hops in (
            (["1.1 pypid-ab"], ("pypid-ab",)),
            (
                ["1.0 pypid-1, 1.1 pypid-2 (comment)", "HTTP/2 pypid-3"],
                ("pypid-1", "pypid-2", "pypid-3"),
            ),
            (
                ["1.0 fred, 1.1 p.example.net (Apache/1.1)", "1.1 pypid-ab, HTTP/2 x:80"],
                ("pypid-ab",),
            ),
            ([""], ()),
            (["nonsense", "1.1", ",,,", "1.1 (x)"], ()),
        ):
            self.assertEqual(read_via(values), hops)

    def test_what_a_client_writes_is_not_passed_on(self) -> None:
        """However long Via is, at most 16 hops go on, and these look like pypids."""
        noise = ", ".join(f"1.1 {'x' * 90}{number}" for number in range(60))
        self.assertEqual(
            write_via(read_via([noise, "1.1 pypid-ab", noise]), "pypid-x"),
            "1.1 pypid-ab, 1.1 pypid-x",
        )
        for each in (
            "1.1 pypid-" + "a" * 65,
            "1.1 pypid-a\u00e4",
            "1.1 pypid-a:80",
            "1.1 Pypid-a",
            "1.1 pypid-",
        ):
            self.assertEqual(read_via([each]), (), each)
        self.assertEqual(len(read_via(["1.1 pypid-a, " * 100_000])), LONGEST_CHAIN)
