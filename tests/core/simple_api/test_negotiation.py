"""Negotiation: C1 to C14 of the conformance points, and what clients really send."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.simple_api.render import Format, negotiate

J = "application/vnd.pypi.simple.v1+json"
H = "application/vnd.pypi.simple.v1+html"

CLIENTS = {
    "no header (a script)": (None, Format.TEXT_HTML),
    "pip 9.0.3, 18.1, 20.3.4, 21.3.1": ("text/html", Format.TEXT_HTML),
    "pip 22.2 to 26.3, pdm 2.29.3": (f"{J}, {H}; q=0.1, text/html; q=0.01", Format.JSON),
    "uv 0.13.8, simple-repository-server 0.10": (f"{J}, {H};q=0.2, text/html;q=0.01", Format.JSON),
    "poetry 2.5.1": (f"{J}, */*;q=0.1", Format.JSON),
    "pypi-simple 1.8": (f"{J}, {H}, text/html;q=0.01", Format.JSON),
    "bandersnatch 6.8": (J, Format.JSON),
    "hatch 1.18 publish, pipenv 2026.10 lock, curl": ("*/*", Format.TEXT_HTML),
    "Firefox": (
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        Format.TEXT_HTML,
    ),
    "Java's URLConnection": (
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        Format.TEXT_HTML,
    ),
}

RULES = {
    "C8": (f"{J};q=0.1, {H}", Format.HTML_V1),
    "C9": (f"text/html, {J};q=0.5", Format.TEXT_HTML),
    "C10: refused by name, though anything goes": (f"{J};q=0, */*", Format.TEXT_HTML),
    "all HTML refused, anything else goes": (f"{H};q=0, text/html;q=0, */*", Format.JSON),
    "C11": ("application/vnd.pypi.simple.latest+json", Format.JSON),
    "latest as HTML": ("application/vnd.pypi.simple.latest+html", Format.HTML_V1),
    "latest counts as v1": (
        f"{J};q=0.1, application/vnd.pypi.simple.latest+json, {H};q=0.5",
        Format.JSON,
    ),
    "C12": ("application/vnd.pypi.simple.v2+json", None),
    "v2 with a way out": ("application/vnd.pypi.simple.v2+json, text/html;q=0.1", Format.TEXT_HTML),
    "C13": ("application/*", Format.JSON),
    "text/*": ("text/*", Format.TEXT_HTML),
    "a tie of all by name": (f"text/html, {H}, {J}", Format.JSON),
    "a name before a wildcard": ("application/*, text/html", Format.TEXT_HTML),
    "a name before anything": (f"*/*, {H}", Format.HTML_V1),
    "plain JSON is another type": ("application/json", None),
    "everything refused": ("*/*;q=0", None),
    "refused by name only": (f"{J};q=0", None),
    "q=0.000": (f"{J};q=0.000", None),
    "case does not matter": (f"{J.upper()};Q=1", Format.JSON),
    "parameters are passed over": ("text/html;level=1;charset=utf-8", Format.TEXT_HTML),
    "an unreadable q drops its part only": (f"{J};q=high, {H}", Format.HTML_V1),
    "q above 1 is 1": (f"{H};q=7, {J}", Format.JSON),
    "empty": ("", Format.TEXT_HTML),
    "nothing that can be read": (",;,;q=,//, =", Format.TEXT_HTML),
    "unreadable beside readable": (f",,;;, a b/c, {H} ,", Format.HTML_V1),
}


class NegotiateTests(SynchronousTestCase):
    """`negotiate`."""

    def test_clients(self) -> None:
        """Each client gets what it can read (C1, C2, C4 to C7)."""
        for client, (accept, expected) in CLIENTS.items():
            self.assertIs(negotiate(accept, None), expected, client)

    def test_rules(self) -> None:
        """Qualities, wildcards, ties, ``latest`` and unreadable headers give the one right answer
        (C8 to C13).
        """
        for rule, (accept, expected) in RULES.items():
            self.assertIs(negotiate(accept, None), expected, rule)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.text(), st.none() | st.text())
    def test_never_raises(self, accept: str, format: str | None) -> None:
        """Any texts at all give an answer."""
        self.assertIn(negotiate(accept, format), (*Format, None))

    @settings(max_examples=80, deadline=None, database=None)
    @given(
        st.dictionaries(st.sampled_from([J, H, "text/html"]), st.integers(0, 1000), min_size=1),
        st.sampled_from([", ", ",", " ,\t"]),
        st.sampled_from([";q=", "; q=", " ;  Q ="]),
        st.permutations([0, 1, 2]),
    )
    def test_highest_quality_wins(
        self, qualities: dict[str, int], comma: str, q: str, order: list[int]
    ) -> None:
        """Of types named with qualities the highest is served; what is refused or not named never
        is.
        """
        parts = [f"{name}{q}{quality / 1000:.3f}" for name, quality in qualities.items()]
        chosen = negotiate(comma.join(parts[place] for place in order if place < len(parts)))
        best = max(qualities.values())
        if best == 0:
            self.assertIs(chosen, None)
        else:
            self.assertIsNot(chosen, None)
            assert chosen is not None
            self.assertEqual(qualities[chosen.value.partition(";")[0]], best)
