"""An index that does exactly what it is told, path by path, on a real port: also what no server
should do.
"""

# trial and Twisted's transports are not annotated
from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from pypid.flow import start

J = "application/vnd.pypi.simple.v1+json"


@frozen
class Asked:
    """A request that came. `headers` by lower-case name."""

    path: str
    headers: dict[str, str] = field(factory=dict)
    connection: int = 0


Script = Callable[["Talk"], Awaitable[None]]


class Talk(Protocol):
    """One connection, and what a script may do to it."""

    transport: Any

    def __init__(self, fake: Fake, number: int) -> None:
        self.fake = fake
        self.number = number
        self.gone = False
        self.sent = 0
        self._buffer = b""
        self._pauses: list[Deferred[None]] = []
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.fake.heard += data
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            asked = Asked(first.split(" ")[1], headers, self.number)
            self.fake.asked.append(asked)
            script = self.fake.scripts.get(asked.path, status(404))
            start(self._run(script)).addErrback(self.fake.errors.append)

    async def _run(self, script: Script) -> None:
        with suppress(CancelledError):
            await script(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self.fake.open.discard(self)
        for pause in self._pauses:
            pause.cancel()
        self.lost.callback(None)

    def send(self, data: bytes) -> None:
        """Send some bytes as they are."""
        if not self.gone:
            self.sent += len(data)
            self.transport.write(data)

    def answer(self, body: bytes = b"", code: int = 200, **headers: str) -> None:
        """A whole answer; ``Content_Length`` and all others can be lied about."""
        fields = {"Content_Length": str(len(body)), **headers}
        lines = [
            f"HTTP/1.1 {code} Reason",
            *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def reset(self) -> None:
        """End the connection as a crash does."""
        if not self.gone:
            self.transport.abortConnection()

    def close(self) -> None:
        """End it politely."""
        if not self.gone:
            self.transport.loseConnection()

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        pause = deferLater(self.fake.reactor, seconds)
        self._pauses.append(pause)
        await pause

    async def pour(self, pieces: Iterable[bytes]) -> None:
        """Send pieces as fast as they are taken, until there are no more or nobody takes them."""
        await _Pump(self, iter(pieces)).done


@implementer(IPullProducer)
class _Pump:
    def __init__(self, talk: Talk, pieces: Iterator[bytes]) -> None:
        self.done: Deferred[None] = Deferred()
        self._talk = talk
        self._pieces = pieces
        talk.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is None or self._talk.gone:
            self._talk.transport.unregisterProducer()
            self.stopProducing()
        else:
            self._talk.send(piece)

    def stopProducing(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class Fake(Factory):
    """The index. `scripts` by path; `asked` is all that came, `heard` every byte of it, `open` the
    connections that are.
    """

    noisy = False

    def __init__(
        self, reactor: Any, certificate: PrivateCertificate | None = None, port: int = 0
    ) -> None:
        self.reactor = reactor
        self.heard = bytearray()
        self.scripts: dict[str, Script] = {}
        self.asked: list[Asked] = []
        self.errors: list[Failure] = []
        self.open: set[Talk] = set()
        self.talks: list[Talk] = []
        if certificate is None:
            self.port = reactor.listenTCP(port, self, interface="127.0.0.1")
        else:
            self.port = reactor.listenSSL(port, self, certificate.options(), interface="127.0.0.1")
        self.url = (
            f"{'http' if certificate is None else 'https'}://localhost:{self.port.getHost().port}"
        )

    def buildProtocol(self, addr: object) -> Talk:
        talk = Talk(self, len(self.talks))
        self.talks.append(talk)
        self.open.add(talk)
        return talk

    async def all_gone(self, seconds: float = 2.0) -> bool:
        """Whether all connections end soon."""
        for _ in range(int(seconds / 0.02)):
            if not self.open:
                return True
            await deferLater(self.reactor, 0.02)
        return False


def page(*files: str, name: str = "spam", **more: Any) -> bytes:
    """A page in JSON."""
    listed = [
        {"filename": file, "url": f"/files/{file}", "hashes": {"sha256": "a" * 64}, "size": 3}
        for file in files
    ]
    return json.dumps(
        {"meta": {"api-version": "1.4"}, "name": name, "files": listed, **more}
    ).encode()


def says(body: bytes = b"", code: int = 200, **headers: str) -> Script:
    """Answer so."""

    async def script(talk: Talk) -> None:
        talk.answer(body, code, **headers)

    return script


def status(code: int, **headers: str) -> Script:
    """Answer with this status and a few words."""
    return says(b"some words", code, **headers)


def raw(*pieces: bytes | float | None) -> Script:
    """Send these bytes; a number is a pause in seconds, None the end of the connection."""

    async def script(talk: Talk) -> None:
        for piece in pieces:
            if piece is None:
                talk.close()
            elif isinstance(piece, bytes):
                talk.send(piece)
            else:
                await talk.wait(piece)

    return script


# --- certificates ---------------------------------------------------------------------------------


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@cache
def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed(
        "authority", key.public_key(), _name("authority"), key, days=30, is_authority=True
    ), key


def _signed(
    host: str,
    key: Any,
    issuer: x509.Name,
    by: ec.EllipticCurvePrivateKey,
    *,
    days: int,
    is_authority: bool = False,
) -> x509.Certificate:
    end = datetime(2026, 1, 1, tzinfo=UTC) if days < 0 else datetime.now(UTC) + timedelta(days=days)  # noqa: TID251
    return (
        x509.CertificateBuilder()
        .subject_name(_name(host))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(by, hashes.SHA256())
    )


def authority_pem() -> bytes:
    """The authority that signed all certificates here."""
    return _authority()[0].public_bytes(serialization.Encoding.PEM)


def certificate(host: str = "localhost", days: int = 30) -> PrivateCertificate:
    """A certificate for the host; negative `days`: it has expired."""
    authority, by = _authority()
    key = ec.generate_private_key(ec.SECP256R1())
    made = _signed(host, key.public_key(), authority.subject, by, days=days)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return PrivateCertificate.loadPEM(private + made.public_bytes(serialization.Encoding.PEM))
