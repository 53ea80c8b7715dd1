"""The reactor's turn, shortened: over real sockets, with a reactor of our own that the tests turn
by hand.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.fastpath.channel import CachedChannel, FastPath
from pypid.web.fastpath.os import reactor_hook
from pypid.web.fastpath.os.reactor_hook import ReactorHook, install_hook
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.distributions import wheel, wheel_filename
from tests.web.fast_path_pair import Lines
from tests.web.full_app import J, WholeCase, content, form, spelled, text

PAGE = spelled("GET", "/simple/spam/", ("Accept", J))


def new_reactor(case: SynchronousTestCase) -> Any:
    """A reactor that nobody runs; it is closed after the test."""
    reactor: Any = EPollReactor()
    case.addCleanup(close, reactor)
    return reactor


def close(reactor: Any) -> None:
    """Close all that it has open."""
    for each in (*reactor.removeAll(), *reactor._internalReaders):
        each.connectionLost(Failure(ConnectionDone()))
    reactor._poller.close()


class TurnCase(WholeCase):
    """A pypid with a fast path behind a real socket, with one project, whose page is known."""

    def setUp(self) -> None:
        """Listen."""
        super().setUp()
        self.have_wheel()
        self.reactor = new_reactor(self)
        self.lines = Lines(self.pypid)
        self.fast_path = FastPath(self.pypid.app, self.lines)
        self.site = Site(
            resource(self.pypid.app),
            reactor=self.reactor,
            access_log=self.lines,
            fast_path=self.fast_path,
            hosts=HostPolicy(("*",)),
        )
        self.port: IListeningPort = self.reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.long_way: list[object] = []
        self.beside = self.reactor._doReadOrWrite
        self.patch(self.reactor, "_doReadOrWrite", self.counted)
        client = self.client()
        for _ in range(2):
            client.sendall(PAGE)
            self.assertIn(b"200 OK", self.received(client))
        self.long_way.clear()

    def counted(self, selectable: Any, *more: Any) -> None:
        """Note what goes Twisted's way."""
        self.long_way.append(selectable)
        self.beside(selectable, *more)

    def turn(self, times: int = 3) -> None:
        """Let the reactor turn."""
        for _ in range(times):
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0)

    def client(self) -> socket.socket:
        """A connection that the site has taken."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(client.close)
        self.turn()
        return client

    def received(self, client: socket.socket) -> bytes:
        """What has come, after some turns."""
        data = b""
        for _ in range(20):
            self.turn(1)
            try:
                data += client.recv(1 << 20)
            except BlockingIOError:
                continue
        return data


class ShortTests(TurnCase):
    """What goes the shorter way, and what does not."""

    def test_known(self) -> None:
        """What the fast path knows is answered without Twisted's calls, as often as it is asked
        for; each has its line.
        """
        client, begin = self.client(), self.fast_path.answered
        self.long_way.clear()
        for _ in range(3):
            client.sendall(PAGE)
            self.assertIn(b'"files"', self.received(client))
        self.assertEqual(self.long_way, [])
        self.assertEqual(self.fast_path.answered, begin + 3)
        self.fast_path.flush()
        self.assertEqual(len([line for line in self.lines.texts if "GET /simple/spam/" in line]), 5)

    def test_unknown(self) -> None:
        """What the fast path does not know is read as ever, also in pieces and where there is more
        than one read of it.
        """
        client = self.client()
        other = spelled(
            "GET", "/simple/", ("Accept", J), ("User-Agent", "x" * 7000), ("X-More", "y" * 7000)
        )
        for pieces in ((other,), (other[:30], other[30:]), (PAGE[:30], PAGE[30:]), (PAGE + PAGE,)):
            answers = b""
            for piece in pieces:
                client.sendall(piece)
                answers += self.received(client)
            self.assertEqual(
                answers.count(b"HTTP/1.1 200 OK"), b"".join(pieces).count(b"GET "), pieces
            )
        self.publish_over(client, "2.0")
        self.assertIn(b" 200 ", self.received(client))
        client.sendall(PAGE)
        self.assertIn(b"spam-2.0", self.received(client))

    def publish_over(self, client: socket.socket, version: str) -> None:
        """Send the upload of a wheel of this version."""
        file = content(wheel_filename("spam", version), wheel("spam", version))
        body = form([text(":action", "file_upload"), text("protocol_version", "1"), file], "edge")
        kind = ("Content-Type", "multipart/form-data; boundary=edge")
        client.sendall(spelled("POST", "/legacy/", kind, body=body, user="alice"))

    def test_one_turn(self) -> None:
        """Of what comes in one turn a page that is asked for behind an upload is new; what was
        asked before it is not.
        """
        clients = [self.client() for _ in range(4)]
        clients[0].sendall(PAGE)
        clients[1].sendall(PAGE)
        self.publish_over(clients[2], "3.0")
        clients[3].sendall(PAGE)
        self.turn(1)
        self.assertEqual(
            [b"spam-3.0" in client.recv(1 << 20) for client in clients[:2]], [False, False]
        )
        self.assertIn(b" 200 ", self.received(clients[2]))
        self.assertIn(b"spam-3.0", self.received(clients[3]))


class LosingTests(TurnCase):
    """How connections end."""

    def test_closed(self) -> None:
        """A client that closes its connection, or resets it, is gone; the next one has its socket's
        number.
        """
        for reset in (False, True):
            client = self.client()
            others = len(self.site.channels) - 1
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            self.turn()
            self.assertEqual(len(self.site.channels), others)
        client = self.client()
        client.sendall(PAGE)
        self.assertIn(b"200 OK", self.received(client))

    def test_number_again(self) -> None:
        """What epoll said of a connection that was closed meanwhile does not harm who has got its
        number in the same turn.
        """
        for asks in (False, True):
            gone = self.client()
            turn: ReactorHook = self.reactor.doIteration
            [channel] = [
                each
                for each in self.site.channels
                if each.transport.getPeer().port == gone.getsockname()[1]
            ]
            number = channel.transport.fileno()
            gone.close()
            client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
            self.addCleanup(client.close)
            client.setblocking(False)
            if asks:
                client.sendall(PAGE)
            before = self.fast_path.answered
            events = [
                (number, reactor_hook.EPOLLIN),
                (cast("Any", self.port).fileno(), reactor_hook.EPOLLIN),
                (number, reactor_hook.EPOLLIN),
            ]
            turn._serve([*events, (number, reactor_hook.EPOLLIN)])
            self.assertEqual(self.fast_path.answered - before, asks)
            [newer] = [
                each
                for each in self.site.channels
                if each.transport.getPeer().port == client.getsockname()[1]
            ]
            self.assertEqual(newer.transport.fileno(), number)
            if not asks:
                client.sendall(PAGE)
            self.assertIn(b"200 OK", self.received(client))

    def test_errors(self) -> None:
        """A mistake of ours is logged, and ends that connection and no other."""
        client, other = self.client(), self.client()
        self.patch(CachedChannel, "answer_now", lambda *_: 1 / 0)
        client.sendall(PAGE)
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.recv(10), b"")
        self.patch(CachedChannel, "answer_now", lambda *_: False)
        other.sendall(PAGE)
        self.assertIn(b"200 OK", self.received(other))
        for channel in self.site.channels:
            self.patch(channel, "read_on", lambda _: 1 / 0)
        other.sendall(PAGE)
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(other.recv(10), b"")


class FallingBackTests(TurnCase):
    """Twisted's own way."""

    def test_stopped(self) -> None:
        """When nobody listens any more the reactor has its own turn again, also for connections
        that are open.
        """
        client = self.client()
        self.port.stopListening()
        self.turn()
        self.assertNotIn("doIteration", vars(self.reactor))
        self.long_way.clear()
        client.sendall(PAGE)
        self.assertIn(b"200 OK", self.received(client))
        self.assertNotEqual(self.long_way, [])
        client.close()
        self.turn()


class ShorteningTests(SynchronousTestCase):
    """Which reactors' turns are shortened."""

    def test_names(self) -> None:
        """Twisted has the names that this lives on, and its turn is shortened once for all who want
        it.
        """
        reactor = new_reactor(self)
        own = reactor.doIteration
        turn = install_hook(reactor)
        assert turn is not None
        self.assertIs(install_hook(reactor), turn)
        turn.release()
        self.assertIs(reactor.doIteration, turn)
        turn.release()
        self.assertEqual(reactor.doIteration, own)
