"""Endpoint strings and the URLs that people see."""

from errno import EACCES, EADDRINUSE
from pathlib import Path
from socket import IPPROTO_TCP, TCP_INFO
from struct import unpack_from
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import parse
from pypid.core.errors import CannotStart
from pypid.daemon.listeners import Listener, base_url, public, url_of

SITE: IProtocolFactory = Factory()
QUEUE_LENGTH = 28
"""Where `tcp_info` of a listening socket (tcp(7)) has the length of its accept queue:
`tcpi_sacked`.
"""


class UrlTests(SynchronousTestCase):
    def test_base_url(self) -> None:
        """public_url if there is one, else the first TCP address that is listened on; every address
        is localhost.
        """
        tls = "tls_certificate = a\ntls_key = b"
        for listen, more, expected in (
            ("tcp:6543:interface=127.0.0.1", "", "http://127.0.0.1:6543"),
            ("tcp:6543", "", "http://localhost:6543"),
            ("tcp:port=80:interface=0.0.0.0", "", "http://localhost:80"),
            ("tcp6:443:interface=\\:\\:1", tls, "https://[::1]:443"),
            ("tcp6:443:interface=\\:\\:", tls, "https://localhost:443"),
            ("unix:/run/x\\:y tcp:1", "", "http://localhost:1"),
            ("unix:/run/x", "", "http://localhost"),
            ("ssl:443:privateKey=k", "", "https://localhost:443"),
            ("tcp:1", "public_url = https://x.example/pypi/", "https://x.example/pypi"),
        ):
            self.assertEqual(
                base_url(parse(f"[server]\nlisten = {listen}\n{more}\n", filename="x")), expected
            )

    def test_url_of(self) -> None:
        """What is really listened on: the port that the system chose, IPv6 in brackets, a socket's
        path.
        """
        for address, secure, expected in (
            (IPv4Address("TCP", "127.0.0.1", 8000), False, "http://127.0.0.1:8000"),
            (
                IPv4Address("TCP", "0.0.0.0", 8000),
                True,
                "https://localhost:8000 (on every address)",
            ),
            (IPv6Address("TCP", "::1", 1), True, "https://[::1]:1"),
            (UNIXAddress("/run/k\u00e4se"), False, "unix:/run/k\u00e4se"),
            (UNIXAddress(None), False, "unix:"),
        ):
            port: Any = SimpleNamespace(getHost=lambda address=address: address)
            self.assertEqual(url_of(port, secure=secure), expected)


class ListenTests(SynchronousTestCase):
    def test_listens(self) -> None:
        """An endpoint listens at once, with what speaks on it."""
        reactor = MemoryReactorClock()
        public(reactor, "tcp:8000:interface=127.0.0.1", SITE, None).listen()
        self.assertEqual(
            [(port, factory) for port, factory, *_ in reactor.tcpServers], [(8000, SITE)]
        )

    def test_accept_queue(self) -> None:
        """The kernel lets so many connections wait, unless the endpoint has a number of
        its own.
        """
        reactor = SelectReactor()
        longest = int(Path("/proc/sys/net/core/somaxconn").read_text())
        for text, expected in (
            ("tcp:0:interface=127.0.0.1", 1024),
            ("tcp6:0:interface=\\:\\:1", 1024),
            ("tcp:0:interface=127.0.0.1:backlog=77", 77),
        ):
            port: Any = public(reactor, text, SITE, None, backlog=1024).listen()
            try:
                state = port.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 104)
                self.assertEqual(
                    unpack_from("I", state, QUEUE_LENGTH)[0], min(expected, longest), text
                )
            finally:
                port.stopListening()
                port.socket.close()

    def test_advice(self) -> None:
        """Each way that the system refuses has its advice."""
        for number, words in (
            (EADDRINUSE, "Stop what uses that address"),
            (EACCES, "This user may not use that port"),
            (5, "Correct"),
        ):
            error = CannotListenError("127.0.0.1", 80, OSError(number, "No way"))
            endpoint: Any = SimpleNamespace(listen=lambda factory, error=error: fail(error))
            with self.assertRaisesRegex(CannotStart, f"cannot listen on tcp:80: No way. {words}"):
                Listener("tcp:80", endpoint, SITE).listen()

    def test_not_understood(self) -> None:
        """Whatever Twisted's parsers trip over is told as one problem, with the endpoint in it."""
        for text in (
            "tcp:eighty",
            "tcp:80:color=red",
            "tcp6:",
            "ssl:443:privateKey=/nowhere",
            "unix:x:mode=rw",
        ):
            with self.assertRaises(CannotStart) as caught:
                public(MemoryReactorClock(), text, SITE, None)
            self.assertIn(repr(text), str(caught.exception))
