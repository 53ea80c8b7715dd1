"""What requests are called, and where that stands."""

from __future__ import annotations

import re
from ipaddress import ip_network
from secrets import token_bytes
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.http.access_log import Ids, forwarded_id
from pypid.web.http.connections import TrustedProxies
from tests.web.full_app import WholeCase
from tests.web.raw_http import Socket

PROXY = IPv4Address("TCP", "10.0.0.1", 4711)


class IdTests(SynchronousTestCase):
    def test_ids_do_not_tell_how_many_requests_others_sent(self) -> None:
        """Two ids that a client is told have no number in common, nor the beginning of those in the
        log.
        """
        ids = Ids.drawn(token_bytes)
        told = [ids.next() for _ in range(50)]
        ids.take(1000)
        told += [ids.next() for _ in range(50)]
        self.assertGreater(len({each[:6] for each in told}), 90)
        self.assertFalse([each for each in told if each.startswith(ids.prefix)])

    def test_given(self) -> None:
        """A proxy's id is taken if it is one, plain and no longer than 64 characters."""
        for plain in ("lb-42", "a", "0.1_b-C", "x" * 64):
            self.assertEqual(forwarded_id([plain]), plain)
        for odd in (
            [],
            ["a", "b"],
            [""],
            ["x" * 65],
            ["a b"],
            ["a\n"],
            ["\xe9"],
            ["a;b"],
            ["$(x)"],
            ["a/b"],
        ):
            self.assertIsNone(forwarded_id(odd))


class RequestTests(WholeCase):
    """Over a site as a running pypid has it."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.site.ids, self.pypid.site.sends_ids = Ids("k3x5qa"), True
        self.pypid.site.trusted_proxies = TrustedProxies((ip_network("10.0.0.0/8"),))

    def ask(self, path: str, *ids: str, by_proxy: bool = True) -> str | None:
        """The id in the answer; the one in the access log's line is the same."""
        socket = Socket(peerAddress=PROXY if by_proxy else IPv4Address("TCP", "192.0.2.7", 4711))
        answer = self._answer(socket, path, ids)
        told = self.pypid.log[-1].rpartition(" ")[2]
        self.assertEqual(answer, told)
        return answer

    def _answer(self, socket: Socket, path: str, ids: tuple[str, ...]) -> str | None:
        channel: Any = self.pypid.site.buildProtocol(None)
        channel.makeConnection(socket)
        said = "".join(f"X-Request-ID: {each}\r\n" for each in ids)
        channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n{said}\r\n".encode())
        found = re.findall(rb"(?i)x-request-id: (.*)\r\n", socket.value())
        self.assertEqual(len(found), 1, socket.value())
        return cast(bytes, found[0]).decode()

    def test_answers(self) -> None:
        """Each answer of a route says its id, and so does the access log; errors, redirects and
        refused ones too.
        """
        paths = (
            "/simple/",
            "/simple/nothing/",
            "/simple",
            "/health",
            "/nowhere/at/all/of/it",
            "/simple/x//",
            "/%ff",
        )
        found = [self.ask(path) for path in paths]
        self.assertEqual(len(set(found)), len(paths))
        self.assertTrue(
            all(each is not None and each.startswith("k3x5qa") for each in found), found
        )

    def test_proxies(self) -> None:
        """What a trusted proxy calls a request it is called; not what anybody else says, nor what
        is not plain.
        """
        self.assertEqual(self.ask("/health", "lb-42"), "lb-42")
        for ids, by_proxy in ((("lb-42",), False), (("a b",), True), (("a", "b"), True)):
            self.assertRegex(
                str(self.ask("/health", *ids, by_proxy=by_proxy)), "^k3x5qa[0-9a-f]{6}$"
            )
