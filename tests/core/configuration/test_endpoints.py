"""Values of `[server] listen`: every accepted one is an endpoint for Twisted, and every text with a
mistake is refused with advice.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.values import endpoint_arguments, parse_endpoint

PIECES = ("tcp", "tcp6", "unix", "80", "0", "99999", "x", "", "interface", "backlog", "mode", "660")
PIECES += ("port", "address", "/run/p", "::1", r"\:\:1", "127.0.0.1", "[::1]", "*", "localhost")
TEXTS = st.lists(
    st.tuples(st.sampled_from(PIECES), st.sampled_from((":", "=", ""))), min_size=1, max_size=6
).map(lambda parts: "".join(piece + mark for piece, mark in parts))


class EndpointTests(SynchronousTestCase):
    @settings(max_examples=400, deadline=None, database=None)
    @given(TEXTS)
    def test_accepted_texts_are_endpoints_of_twisted(self, text: str) -> None:
        """What the configuration accepts, a start can parse; and it is read again as itself."""
        try:
            endpoint = parse_endpoint(text)
        except ValueError as error:
            self.assertNotEqual(str(error), "")
            return
        self.assertEqual(parse_endpoint(endpoint), endpoint)
        serverFromString(MemoryReactor(), endpoint)  # type: ignore[no-untyped-call]

    def test_arguments(self) -> None:
        """Arguments have names, whether the text gives them or not; escapes are undone."""
        self.assertEqual(
            endpoint_arguments(r"tcp6:80:interface=\:\:1"),
            ("tcp6", {"port": "80", "interface": "::1"}),
        )
        self.assertEqual(
            endpoint_arguments("tcp:80:127.0.0.1:50"),
            ("tcp", {"port": "80", "interface": "127.0.0.1", "backlog": "50"}),
        )

    def test_advice(self) -> None:
        """Each mistake has its own advice."""
        for text, advice in (
            ("tcp:80:iface=127.0.0.1", "did you mean interface=?"),
            ("tcp:80:port=81", "sets port twice"),
            ("unix:tcp6=/run/p", "has no argument 'tcp6='"),
            ("unix:/run/p:mode=rw", "write an octal number, like 660"),
            ("systemd:domain=INET", "either index= or name="),
            ("systemd:domain=TCP:index=0", "write INET, INET6 or UNIX"),
            ("::1:8080", "in brackets, like [::1]:8080"),
            ("tcp:interface=127.0.0.1", "needs a port"),
            ("tcp:80:backlog=many", "no whole number"),
        ):
            with self.subTest(text):
                error = self.assertRaises(ValueError, parse_endpoint, text)
                self.assertIn(advice, str(error))
