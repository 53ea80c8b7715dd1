"""Early answers over real sockets: what a kernel and a TLS library do to them cannot be seen in
memory.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pypid.core.errors import Unauthenticated
from pypid.web.http.connections import HostPolicy
from pypid.web.http.request import Request
from pypid.web.http.site import Site
from tests.web.raw_http import Answering, request

BODY = 50 << 20


async def turn_away(request: Request) -> bytes:
    """Answer 401 before anything of the body is read."""
    raise Unauthenticated("no " * 5000)


def self_signed(folder: Path) -> tuple[str, str]:
    """A key and a certificate for it, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(99999)
    )
    certificate = builder.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    key_format = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(encoding, key_format, serialization.NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(encoding))
    return str(key_file), str(certificate_file)


def upload(port: int, tls: bool, sent: int = BODY) -> tuple[int, bytes]:
    """Blocks: send a body of `BODY` bytes, as much of it as `sent`, then read to the end. Returns
    what went out and came in.
    """
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection: socket.socket = plain
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(plain)
    with connection:
        connection.sendall(request("POST", "/", f"Content-Length: {BODY}"))
        piece = bytes(1 << 20)
        left = sent
        while left:
            connection.sendall(piece[:left])
            left -= min(len(piece), left)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
        return sent - left, received


class EarlyAnswerTests(TestCase):
    """A client that sends 50 MB before it reads gets its answer whole."""

    def listen(self, tls: bool) -> int:
        site = Site(Answering(turn_away), reactor=reactor, hosts=HostPolicy(("*",)))
        port: IListeningPort
        if tls:
            folder = Path(self.mktemp())
            folder.mkdir()
            port = reactor.listenSSL(
                0, site, DefaultOpenSSLContextFactory(*self_signed(folder)), interface="127.0.0.1"
            )
        else:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(self.all_closed, site)
        return int(port.getHost().port)

    async def all_closed(self, site: Site) -> None:
        """When the client is gone, so is the connection."""
        for _ in range(200):
            if not site.channels:
                return
            await deferLater(reactor, 0.01)
        self.fail("a connection outlives its client")

    async def check(self, tls: bool, sent: int) -> None:
        went, received = await deferToThread(upload, self.listen(tls), tls, sent)
        self.assertEqual(went, sent)
        head, _, answer = received.partition(b"\r\n\r\n")
        self.assertIn(b" 401 ", head)
        self.assertIn(b"Connection: close", head)
        self.assertEqual(answer, b"no " * 5000)

    async def test_plain(self) -> None:
        """Over TCP."""
        await self.check(tls=False, sent=BODY)

    async def test_tls(self) -> None:
        """Over TLS."""
        await self.check(tls=True, sent=BODY)

    async def test_a_client_that_stops(self) -> None:
        """A client that stops in the middle sees the end of the answer at once, with TLS and
        without.
        """
        await self.check(tls=False, sent=1 << 20)
        await self.check(tls=True, sent=1 << 20)
