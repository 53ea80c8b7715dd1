"""Sockets that several listen on, with the real reactor: what the first one has made the others
take, and leave as it was.
"""

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor  # noqa: TID251  # real sockets
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pypid.core.errors import CannotStart
from pypid.daemon.listeners import public
from pypid.prefork.messages import ListeningSocket, endpoint_text
from pypid.prefork.supervisor import Scales, make_scales


class Named(Factory):
    """Says who it is, and is silent then."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def buildProtocol(self, addr: Any) -> Protocol:
        class Saying(Protocol):
            def connectionMade(this) -> None:
                this.transport.write(self.name)
                this.transport.loseConnection()

        return Saying()


def read(family: int, address: Any, first: bytes = b"") -> bytes:
    """All that a new connection is told."""
    with socket.socket(family) as connection:
        connection.settimeout(10)
        connection.connect(address)
        if first:
            connection.sendall(first)
        return connection.recv(100)


class SharedTests(TestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.scales = make_scales(self.folder, lambda: 0)

    def both(self, text: str, other: str | None = None) -> tuple[Any, Any]:
        """The ports of a first and of a second worker; the endpoint is `other` there, which comes
        to the same.
        """
        first: Any = public(reactor, text, Named(b"first"), None, scales=self.scales).listen()
        given = ListeningSocket.of(other or text, first)
        descriptor = os.dup(given.descriptor)  # as another process has it
        given = ListeningSocket(given.text, descriptor, given.family)
        scales = Scales(self.scales.descriptor, 2, lambda: 0)
        second = public(
            reactor, given.text, Named(b"second"), None, of=given, scales=scales
        ).listen()
        os.close(descriptor)
        self.addCleanup(lambda: second.stopListening() if second.connected else None)
        self.addCleanup(lambda: first.stopListening() if first.connected else None)
        return first, second

    async def told(self, port: Any, family: int, address: Any, first: bytes = b"") -> bytes:
        """What is told by those that listen, while `port` does not."""
        port.stopReading()
        said: bytes = await deferToThread(read, family, address, first)
        port.startReading()
        return said

    async def test_tcp(self) -> None:
        """Either takes connections of the same port, and goes on when the other one
        has closed it.
        """
        first, second = self.both("tcp:0:interface=127.0.0.1")
        address = ("127.0.0.1", first.getHost().port)
        self.assertEqual(await self.told(first, socket.AF_INET, address), b"second")
        self.assertEqual(await self.told(second, socket.AF_INET, address), b"first")
        await first.stopListening()
        self.assertEqual(await deferToThread(read, socket.AF_INET, address), b"second")

    async def test_unix(self) -> None:
        """The file of a UNIX socket keeps its mode, and is removed by the first one alone."""
        path = self.folder / "s"
        first, second = self.both(f"unix:{path}:mode=600")
        self.assertEqual(await self.told(first, socket.AF_UNIX, str(path)), b"second")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        await second.stopListening()
        self.assertEqual(await deferToThread(read, socket.AF_UNIX, str(path)), b"first")
        await first.stopListening()
        self.assertFalse(path.exists())

    async def test_inside(self) -> None:
        """What stands around an endpoint stands around that of another worker; what systemd gave
        needs no systemd there.
        """
        wrapped = "haproxy:tcp:0:interface=127.0.0.1"
        first, _ = self.both(wrapped)
        address = ("127.0.0.1", first.getHost().port)
        said = await self.told(
            first, socket.AF_INET, address, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
        )
        self.assertEqual(said, b"second")
        first, _ = self.both("tcp:0:interface=127.0.0.1", "systemd:domain=INET:index=0")
        address = ("127.0.0.1", first.getHost().port)
        self.assertEqual(await self.told(first, socket.AF_INET, address), b"second")
        self.assertEqual(endpoint_text("haproxy:systemd:domain=INET:name=a"), "haproxy:tcp:0")

    def test_none(self) -> None:
        """What is no socket cannot be shared, and that is said."""
        with self.assertRaisesRegex(CannotStart, "no socket that workers can share"):
            ListeningSocket.of("memory:x", object())
