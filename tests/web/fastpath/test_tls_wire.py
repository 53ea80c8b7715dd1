"""TLS in the fast path's own way: the same bytes as Twisted's, sooner, and the same bounds and
ends.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from pypid.daemon.listeners import Certificate
from pypid.web.fastpath.os.tls_wire import TlsWire, quicken
from tests.web.reactor_steps import VERSIONS, Ends, certificate


class Talk(Protocol):
    """Says what it is told to, when it hears something."""

    says: tuple[bytes, ...] = ()

    def connectionMade(self) -> None:
        self.heard: list[bytes] = []
        self.lost: list[Any] = []
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self.paused = False

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        for piece in self.says:
            self.transport.write(piece)  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason)


class WireCase(SynchronousTestCase):
    """A protocol behind TLS."""

    certificate: Certificate

    def setUp(self) -> None:
        """Listen."""
        self.certificate = certificate(Path(self.mktemp()))

    def tls_factory(
        self, protocol: type[Protocol], clock: Clock | None = None, *, fast: bool = True
    ) -> TLSMemoryBIOFactory:
        """A factory of connections to this protocol, of a site with or without a fast path."""
        inner = Factory.forProtocol(protocol)
        inner.fast_path = self if fast else None
        return TLSMemoryBIOFactory(self.certificate, False, inner, clock or Clock())

    def connect(
        self,
        *says: bytes,
        version: ssl.TLSVersion = VERSIONS[1],
        room: int | None = None,
        quick: bool = True,
    ) -> tuple[Ends, Talk]:
        """A connection to somebody who says this."""
        clock = Clock()
        factory = self.tls_factory(Talk, clock)
        if quick:
            quicken(factory)
        ends = Ends(factory, version, room)
        self.addCleanup(ends.close)
        ends.reactor = _Both(ends.reactor, clock)  # type: ignore[assignment]
        talk: Talk = ends.protocol.wrappedProtocol
        talk.says = says
        return ends, talk


class _Both:
    """The reactor of a transport, whose clock is that of its TLS too."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self._reactor, self._clock = reactor, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def advance(self, seconds: float) -> None:
        self._reactor.advance(seconds)
        self._clock.advance(seconds)


class NamesTests(WireCase):
    """What is taken from Twisted and pyOpenSSL without being offered by them."""

    def test_there(self) -> None:
        """All of it is there in the versions that are installed."""
        factory = self.tls_factory(Protocol)
        quicken(factory)
        self.assertIs(factory.protocol, TlsWire)
        ends, _ = self.connect()
        self.assertTrue(ends.protocol._usual)
        self.assertTrue(ends.protocol._direct)

    def test_not_there(self) -> None:
        """For a site without a fast path Twisted's own layer does all."""
        factory = self.tls_factory(Protocol, fast=False)
        quicken(factory)
        self.assertIs(factory.protocol, BufferingTLSTransport)
        quicken(self.certificate.wrap(Factory.forProtocol(Protocol)))
        quicken(None)


class BytesTests(WireCase):
    """What goes through, is what was written."""

    @settings(max_examples=40, deadline=None, database=None)
    @given(
        st.lists(
            st.sampled_from([0, 1, 100, 16383, 16384, 16385, 40_000, 262_144, 300_001, 700_000]),
            max_size=4,
        ),
        st.lists(st.integers(1, 50_000), min_size=1, max_size=4),
        st.sampled_from([1, 3, 7, 100, 5000, 70_000]),
        st.sampled_from(VERSIONS),
        st.booleans(),
    )
    def test_both_ways(
        self, says: list[int], hears: list[int], by: int, version: ssl.TLSVersion, at_once: bool
    ) -> None:
        """Whatever is said in whatever pieces, by both; and the records that come may be cut and
        joined in any way.
        """
        ends, talk = self.connect(version=version)
        records = b"".join(
            ends.encrypted(bytes([65 + number]) * size) for number, size in enumerate(hears)
        )
        by = max(by, len(records) // 50)
        for start in range(0, len(records), by):
            ends.protocol.dataReceived(records[start : start + by])
        self.assertEqual(
            b"".join(talk.heard),
            b"".join(bytes([65 + number]) * size for number, size in enumerate(hears)),
        )
        pieces = [bytes([97 + number]) * size for number, size in enumerate(says)]
        for piece in pieces:
            (ends.protocol.send_at_once if at_once else ends.protocol.write)(piece)
        ends.converse(sum(says))
        self.assertEqual(ends.got, b"".join(pieces))

    def test_at_once(self) -> None:
        """What is sent at once is on its way before the reactor turns again, and never overtakes
        what was written before.
        """
        ends, _ = self.connect()
        ends.protocol.send_at_once(b"first")
        self.assertEqual(ends.receive(), b"first")
        ends.protocol.write(b"second")
        ends.protocol.send_at_once(b"third")
        self.assertEqual(ends.receive(), b"")
        ends.converse(16)
        self.assertEqual(ends.got, b"firstsecondthird")

    def test_in_the_beginning(self) -> None:
        """What is written before hands are shaken comes after that."""
        for quick in (True, False):
            folder = Path(self.mktemp())

            class Eager(Talk):
                def connectionMade(self) -> None:
                    super().connectionMade()
                    self.transport.write(b"welcome")  # type: ignore[union-attr]

            inner = Factory.forProtocol(Eager)
            inner.fast_path = self
            factory = TLSMemoryBIOFactory(certificate(folder), False, inner, clock := Clock())
            if quick:
                quicken(factory)
            ends = Ends(factory)
            self.addCleanup(ends.close)
            clock.advance(0)
            ends._shake_hands(VERSIONS[1])
            ends.converse(7)
            self.assertEqual(ends.got, b"welcome")


class SlowTests(WireCase):
    """Who reads slowly, or not at all."""

    def test_paused(self) -> None:
        """Whoever writes is paused when the kernel takes no more, and resumed when all is out;
        nothing is lost.
        """
        ends, talk = self.connect(b"a" * (1 << 20), room=1 << 14)
        ends.send(b"go")
        ends.reactor.advance(0)
        self.assertTrue(talk.paused)
        self.assertLess(ends.held, (1 << 20) + 5000)
        ends.converse(1 << 20)
        ends.turn(2)
        self.assertFalse(talk.paused)
        self.assertEqual(ends.got, b"a" * (1 << 20))
        self.assertEqual(ends.held, 0)


class EndTests(WireCase):
    """How it ends."""

    def test_goodbye(self) -> None:
        """All that was written comes, then the good-bye that a client can trust."""
        for version in VERSIONS:
            ends, talk = self.connect(b"a" * 100_000, version=version, room=1 << 14)
            ends.send(b"go")
            ends.protocol.unregisterProducer()
            ends.protocol.loseConnection()
            ends.converse(1 << 30)
            self.assertEqual(ends.got, b"a" * 100_000)
            self.assertTrue(ends.ended)  # an end without a good-bye is an `SSLEOFError`
            ends.say_goodbye()
            ends.turn(3)
            self.assertEqual(len(talk.lost), 1)

    def test_aborted(self) -> None:
        """A connection that is cut off says no good-bye: what came cannot be taken
        for the whole.
        """
        for room in (None, 1 << 14):
            ends, talk = self.connect(b"a" * 200_000, room=room)
            ends.send(b"go")
            ends.reactor.advance(0)
            ends.protocol.abortConnection()
            ends.protocol.send_at_once(b"more")
            ends.reactor.advance(0)
            with self.assertRaises((ssl.SSLEOFError, ConnectionError)):
                ends.converse(1 << 30)
            self.assertEqual(len(talk.lost), 1)

    def test_client_gone(self) -> None:
        """A client that goes away in the middle: nothing is raised, and the protocol
        is told, once.
        """
        ends, talk = self.connect(b"a" * (1 << 20), room=1 << 14)
        ends.send(b"go")
        ends.reactor.advance(0)
        ends.close()
        ends.protocol.send_at_once(b"more")
        ends.protocol.write(b"more")
        ends.reactor.advance(0)
        ends.turn(3)
        self.assertEqual(len(talk.lost), 1)

    def test_client_done(self) -> None:
        """A client that asks and says good-bye in one packet is heard, by this layer as by
        Twisted's.
        """
        for version in VERSIONS:
            seen = []
            for quick in (True, False):
                ends, talk = self.connect(b"answer", version=version, quick=quick)
                question = ends.encrypted(b"question")
                ends.client.sendall(question)
                ends.say_goodbye()
                ends.reactor.advance(0)
                ends.turn(3)
                seen.append((b"".join(talk.heard), len(talk.lost)))
            self.assertEqual(seen, [(b"question", 1)] * 2)

    def test_junk(self) -> None:
        """A record that was tampered with ends the connection with an alert, and nothing of it is
        heard.
        """
        for quick in (True, False):
            ends, talk = self.connect(quick=quick)
            ends.client.sendall(b"\x17\x03\x03\x00\x20" + b"junk" * 8)
            ends.turn(3)
            self.assertEqual((talk.heard, len(talk.lost)), ([], 1))
            self.assertTrue(talk.lost[0].check(SSL.Error), talk.lost)
            with self.assertRaises(ssl.SSLError) as caught:
                ends.receive()
            self.assertIn("bad record mac", str(caught.exception).lower().replace("_", " "))
