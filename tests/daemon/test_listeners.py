"""Endpoint strings and the URLs that people see."""

from errno import EACCES, EADDRINUSE
from pathlib import Path
from socket import IPPROTO_TCP, TCP_INFO
from struct import unpack_from
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.daemon.listeners import Listener, public

SITE: IProtocolFactory = Factory()
QUEUE_LENGTH = 28
"""Where `tcp_info` of a listening socket (tcp(7)) has the length of its accept queue:
`tcpi_sacked`.
"""


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
