"""Pages that the fast path sends over real sockets, with TLS and without: quick clients, slow
ones, and those that go away.
"""

from __future__ import annotations

import gc
import os
import ssl
from pathlib import Path

from twisted.protocols.tls import TLSMemoryBIOFactory

from pypid.flow.bodies import PIECE
from pypid.web.fastpath import response_cache
from pypid.web.fastpath.os import socket_write
from pypid.web.fastpath.os.socket_write import MemoryFile
from pypid.web.fastpath.os.tls_wire import quicken
from tests.web.fastpath.test_fast_path import PAGE, FastPathCase
from tests.web.reactor_steps import VERSIONS, Ends, certificate

FEW = 1 << 12
"""Bytes that a slow client's kernel keeps for it, about."""
WAYS = (None, *VERSIONS)


class PageCase(FastPathCase):
    """A page that is known."""

    files = 1

    def setUp(self) -> None:
        """Have the fast path learn it."""
        super().setUp()
        self.certificate = certificate(Path(self.mktemp()))
        for count in range(1, self.files):
            self.have_wheel("spam", f"1.{count}")
        for way in (None, None, VERSIONS[0], VERSIONS[1]):
            ends = self.connect(way)
            ends.send(PAGE)
            for _ in range(10):
                self.turn(ends)
                ends.receive()
            ends.close()
        self.page = ends.got.partition(b"\r\n\r\n")[2]
        self.assertGreater(len(self.page), 300 * self.files)

    def connect(self, way: ssl.TLSVersion | None, room: int | None = None) -> Ends:
        """A connection to the site."""
        factory = TLSMemoryBIOFactory(self.certificate, False, self.pypid.site, self.pypid.clock)
        quicken(factory)
        ends = Ends(self.pypid.site if way is None else factory, way, room)
        self.addCleanup(ends.close)
        return ends

    def turn(self, ends: Ends) -> None:
        """Once, for the site and for TLS."""
        ends.turn()
        self.pypid.clock.advance(0)
        ends.reactor.advance(0)


class LargeTests(PageCase):
    """A page that the kernel of a slow client does not take at once."""

    files = 200

    def test_quick(self) -> None:
        """Who has room gets it in the turn in which it was asked for."""
        for way in WAYS:
            ends = self.connect(way)
            ends.send(PAGE)
            ends.receive()
            self.assertTrue(ends.got.endswith(self.page), way)

    def test_pages(self) -> None:
        """It lies in a file in memory for as long as it is kept; without such files it is given as
        well.
        """
        ends = self.connect(None)
        ends.send(PAGE)
        gc.collect()
        before = len(MemoryFile.existing) - 1
        answers = [
            each.full
            for each in self.fast_path.store._entries
            if isinstance(each, response_cache.CachedResponse)
        ]
        [descriptor] = [
            sent.pages.descriptor for sent in answers if sent is not None and sent.pages is not None
        ]
        del answers
        self.assertEqual(os.pread(descriptor, 1 << 20, 0), self.page)
        self.have_wheel("spam", "3.0")
        ends.send(PAGE)
        gc.collect()
        self.assertEqual(len(MemoryFile.existing), before)
        with self.assertRaises(OSError):
            os.fstat(descriptor)
        self.patch(socket_write, "MOST_PAGES", 0)
        for way in (None, VERSIONS[1]):
            ends = self.connect(way)
            known = self.fast_path.answered
            for _ in range(3):
                ends.send(PAGE)
                for _ in range(10):
                    self.turn(ends)
                    ends.receive()
            self.assertGreater(self.fast_path.answered, known)
            self.assertEqual(ends.got.count(b"/spam-3.0-py3-none-any.whl"), 3)
        self.assertEqual(len(MemoryFile.existing), before)

    def test_slow(self) -> None:
        """It is given whole, and what is asked meanwhile is answered behind it."""
        for way in WAYS:
            ends = self.connect(way, FEW)
            before = self.fast_path.answered
            ends.send(PAGE)
            ends.send(PAGE)
            for _ in range(20_000):  # 0.2 s pass until the kernel probes a closed window
                ends.receive()
                self.turn(ends)
                if ends.got.count(self.page) == 2:
                    break
            self.assertTrue(ends.got.endswith(self.page), way)
            self.assertEqual(ends.got.count(self.page), 2)
            self.assertEqual(ends.got.count(b"HTTP/1.1 200 OK"), 2)
            ends.send(PAGE)
            self.assertGreater(self.fast_path.answered, before + 1)

    def test_no_reader(self) -> None:
        """Who asks and asks and does not read is held up: without TLS nothing is copied for them,
        with it one piece at most; then they are cut off.
        """
        for way in WAYS:
            ends = self.connect(way, FEW)
            before = self.fast_path.answered
            for _ in range(20):
                if ends.transport not in ends.reactor.getReaders():
                    break
                ends.send(PAGE)
                self.pypid.clock.advance(0)
            self.assertEqual(self.fast_path.answered - before, 1)
            if way is None:
                self.assertEqual(ends.held, 0)
            else:
                self.assertGreater(ends.held, 0)
                self.assertLess(ends.held, min(len(self.page), PIECE) + (1 << 14))
            self.pypid.clock.pump([60] * 5)
            ends.reactor.advance(0)
            self.assertFalse(ends.transport.connected)

    def test_patience(self) -> None:
        """A client that takes a little each minute is not cut off."""
        ends = self.connect(None, FEW)
        ends.send(PAGE)
        rounds = 0
        while ends.transport in ends.reactor.getWriters():
            self.pypid.clock.advance(60)
            self.assertTrue(ends.transport.connected)
            ends.got += ends.client.recv(8192)
            self.turn(ends)
            rounds += 1
        self.assertGreater(rounds, 4)
        ends.receive()
        self.assertTrue(ends.got.endswith(self.page))

    def test_gone(self) -> None:
        """A client that goes away in the middle leaves nothing behind, and the log says how much
        was sent.
        """
        for way in WAYS:
            ends = self.connect(way, FEW)
            ends.send(PAGE)
            self.pypid.clock.advance(0)
            ends.receive()
            ends.close()
            for _ in range(3):
                self.turn(ends)
            self.assertFalse(ends.transport.connected)
            self.assertEqual(self.pypid.site.channels, set())
            self.fast_path.flush()
            line = self.lines.texts[-1]
            self.assertIn("GET /simple/spam/", line)
            if way is None:
                self.assertNotIn(f" {len(self.page)} ", line)
