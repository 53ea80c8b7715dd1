"""A site at real sockets, with TLS or without, whose reactor turns when the test says so; the
client is in the same thread.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from pypid.daemon.listeners import Certificate
from tests.live.certificates import Authority

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def certificate(folder: Path) -> Certificate:
    """A certificate of 127.0.0.1."""
    folder.mkdir()
    Authority().issue(folder / "chain.pem", folder / "key.pem")
    return Certificate(folder / "chain.pem", folder / "key.pem")


class Ends:
    """Both ends of one connection. `version`: of TLS; None: without it. `room`: what the kernel
    keeps, about, in bytes.
    """

    def __init__(
        self,
        factory: IProtocolFactory,
        version: ssl.TLSVersion | None = None,
        room: int | None = None,
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.client, accepted = _pair(room)
        self.client.setblocking(False)
        self.protocol: Any = factory.buildProtocol(cast("Any", None))
        self.transport = Server(
            accepted,
            self.protocol,
            self.client.getsockname(),
            cast("Any", None),
            1,
            cast("Any", self.reactor),
        )
        self.lost: list[Exception] = []
        self.got = b""
        """What the client has read, in clear."""
        self.wire = b""
        """What it has read, as it came."""
        self.ended = False
        """Whether the client has come to the end of what is sent."""
        self._tls: ssl.SSLObject | None = None
        self.protocol.makeConnection(self.transport)
        if version is not None:
            self._shake_hands(version)

    def _shake_hands(self, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        context.options &= ~getattr(
            ssl, "OP_IGNORE_UNEXPECTED_EOF", 0
        )  # an end that nobody announced is none
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)
        for _ in range(10):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self.turn()
                self._receive()
            else:
                self._flush()
                self.turn()
                return
        raise AssertionError("no agreement")

    def encrypted(self, data: bytes) -> bytes:
        """What the client would send for this."""
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._out.read()

    def send(self, data: bytes) -> None:
        """The client sends this, and the site reads it."""
        self.client.setblocking(True)
        self.client.sendall(self.encrypted(data))
        self.client.setblocking(False)
        self.read()

    def say_goodbye(self) -> None:
        """The client says that nothing more will come from it."""
        assert self._tls is not None
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self.turn()

    def read(self) -> None:
        """The site reads once; nothing is written that waits for a turn."""
        if self.transport in self.reactor.getReaders():
            self._end(self.transport.doRead())

    def turn(self, times: int = 1) -> None:
        """The site reads and writes what it can."""
        for _ in range(times):
            self.read()
            if self.transport in self.reactor.getWriters():
                self._end(self.transport.doWrite())

    def _end(self, why: Any) -> None:
        if why is not None and self.transport.connected:
            self.lost.append(why)
            self.transport.connectionLost(Failure(why))

    def receive(self) -> bytes:
        """What has come, in clear; and nothing is taken from the site but what the kernel has."""
        before = len(self.got)
        self._receive()
        while self._tls is not None and not self.ended:
            try:
                data = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                break
            self.got += data
            self.ended = not data
        return self.got[before:]

    def converse(self, until: int) -> None:
        """Read and turn, until the client has so many bytes."""
        for _ in range(100_000):
            self.receive()
            if len(self.got) >= until or self.ended:
                return
            self.turn()
            self.reactor.advance(0)
        raise AssertionError(f"{len(self.got)} bytes of {until}")

    def _receive(self) -> None:
        while True:
            try:
                data = self.client.recv(1 << 16)
            except BlockingIOError:
                return
            if self._tls is None:
                self.got += data
                self.ended = not data
            elif data:
                self.wire += data
                self._in.write(data)
            else:
                self._in.write_eof()
            if not data:
                return

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self.client.sendall(data)

    @property
    def held(self) -> int:
        """Bytes that wait in the site's transport."""
        return len(self.transport.dataBuffer) - self.transport.offset + self.transport._tempDataLen

    def close(self) -> None:
        """The client goes away."""
        self.client.close()
        self.turn(2)


def _pair(room: int | None) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listening:
        if room is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client = socket.socket()
        if room is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, accepted
