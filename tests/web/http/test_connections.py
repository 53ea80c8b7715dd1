"""Slow clients, and clients with many
connections: `pypid.web.http.connections`, `pypid.web.http.channel`.
"""

from __future__ import annotations

from ipaddress import ip_network

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.http.channel import Channel
from pypid.web.http.connections import RESERVED, ConnectionSettings, HostPolicy, TrustedProxies
from pypid.web.http.request import Request
from pypid.web.http.site import Site
from tests.web.http.test_channel import Waiting, echo
from tests.web.raw_http import Answering, Handle, Socket, Wire, chunked, request

GET = request("GET", "/a")
LIMITS = ConnectionSettings()


class Crowd:
    """Several connections to one site."""

    def __init__(
        self, handle: Handle, limits: ConnectionSettings, trusted: TrustedProxies | None = None
    ) -> None:
        self.clock = Clock()
        resource = Answering(handle)
        self.site = Site(
            resource,
            reactor=self.clock,
            limits=limits,
            trusted_proxies=trusted or TrustedProxies(),
            hosts=HostPolicy(("*",)),
        )
        self.site.startFactory()

    def connect(
        self, peer: str | IAddress = "192.0.2.7", data: bytes = b""
    ) -> tuple[Channel, Socket]:
        """Open a connection and send `data`."""
        if isinstance(peer, str):
            peer = (IPv6Address if ":" in peer else IPv4Address)("TCP", peer, 4711)
        socket, channel = Socket(peerAddress=peer), self.site.buildProtocol(None)
        channel.makeConnection(socket)
        if data:
            channel.dataReceived(data)
        return channel, socket


def status(socket: Socket) -> int:
    """The status of the only answer."""
    return int(socket.value().split()[1])


class HeadTests(SynchronousTestCase):
    """The head of a request has a deadline."""

    def test_head_that_trickles_is_answered_408_after_20_seconds(self) -> None:
        """A byte a second does not renew the deadline of a head."""
        wire = Wire(echo)
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n"[:19]:
            wire.send(bytes([byte]))
            wire.pass_time(1)
        self.assertEqual(wire.statuses, [])
        wire.pass_time(1.5)
        self.assertEqual(wire.statuses, [408])
        self.assertTrue(wire.closed)

    def test_nothing_is_answered_while_a_connection_is_being_closed(self) -> None:
        """A head that is late or invalid after the end of its connection, which TLS reads on."""
        for late in b"GET / HT", b"GET / HTTP/9\r\n":
            wire = Wire(echo)
            wire.channel.dataReceived(late[:3])
            wire.channel.drain()
            wire.channel.dataReceived(late[3:])
            wire.clock.advance(30)
            self.assertEqual((wire.received, wire.closed), (b"", True))

    def test_second_head_on_a_connection_has_the_same_deadline(self) -> None:
        """A head that begins behind a complete request has 20 seconds of its own."""
        wire = Wire(echo)
        wire.send(GET + b"GET /b")
        wire.pass_time(15)
        wire.send(GET[6:] + b"GE")  # completes the second, begins the third
        wire.pass_time(15)
        self.assertEqual(wire.statuses, [200, 200])
        self.assertFalse(wire.closed)
        wire.pass_time(6)
        self.assertEqual(wire.statuses, [200, 200, 408])

    def test_head_behind_a_slow_answer_waits_for_it(self) -> None:
        """The head of a pipelined request is not read, and not timed, before the answer in front of
        it is complete.
        """
        handler = Waiting()
        wire = Wire(handler)
        wire.send(GET + b"GET /b HT")
        wire.pass_time(100)
        self.assertFalse(wire.closed)
        handler.go.callback(b"")
        wire.pass_time(19)
        self.assertEqual(wire.statuses, [200])
        wire.pass_time(2)
        self.assertEqual(wire.statuses, [200, 408])

    def test_idle_connection_keeps_its_timeout(self) -> None:
        """Between two requests a client may be silent for as long as before."""
        wire = Wire(echo, timeout=60)
        wire.send(GET)
        wire.pass_time(59)
        self.assertFalse(wire.closed)
        wire.send(GET)
        self.assertEqual(wire.statuses, [200, 200])


class BodyRateTests(SynchronousTestCase):
    """A body has a least rate."""

    def test_body_that_trickles_is_ended(self) -> None:
        """Ten bytes a second are too few, with and without a Content-Length."""
        for head, piece in (
            ("Content-Length: 100000", b"x" * 10),
            ("Transfer-Encoding: chunked", chunked(b"x" * 10, 10)[:-5]),
        ):
            wire = Wire(echo)
            wire.send(request("POST", "/", head))
            for _ in range(29):
                wire.send(piece)
                wire.pass_time(1)
            self.assertFalse(wire.closed)
            wire.pass_time(2)
            self.assertTrue(wire.closed)

    def test_slow_line_is_enough(self) -> None:
        """A thousand bytes a second go on for as long as it takes."""
        wire = Wire(echo)
        wire.send(request("POST", "/", "Content-Length: 300000"))
        for _ in range(300):
            wire.pass_time(1)
            wire.send(b"x" * 1000)
        self.assertEqual(wire.statuses, [200])

    def test_client_that_waits_for_100_continue_is_not_slow(self) -> None:
        """A client that waits for the server sends nothing, and is not ended for it."""
        handler = Waiting()
        wire = Wire(handler)
        wire.send(request("POST", "/", "Content-Length: 10", "Expect: 100-continue"))
        wire.pass_time(200)
        self.assertFalse(wire.closed)


class CountTests(SynchronousTestCase):
    """The connections of one client are limited, and those of all."""

    def test_oldest_idle_connection_makes_room(self) -> None:
        """Of one client's connections the one that has been idle for longest is closed, others' are
        not.
        """
        crowd = Crowd(echo, evolve(LIMITS, per_client=3))
        _, other = crowd.connect("192.0.2.8", GET)
        made = []
        for _ in range(3):
            crowd.clock.advance(1)
            made.append(crowd.connect(data=GET))
        crowd.clock.advance(1)
        made[0][0].dataReceived(GET)
        _, newest = crowd.connect(data=GET)
        self.assertEqual([socket.disconnecting for _, socket in made], [False, True, False])
        self.assertFalse(other.disconnecting)
        self.assertEqual(status(newest), 200)

    def test_unfinished_head_goes_first(self) -> None:
        """A connection whose head trickles is as idle as one without a request."""
        crowd = Crowd(echo, evolve(LIMITS, per_client=2))
        _, slow = crowd.connect(data=b"GET / HT")
        crowd.clock.advance(1)
        _, idle = crowd.connect(data=GET)
        crowd.connect(data=GET)
        self.assertTrue(slow.disconnecting)
        self.assertFalse(idle.disconnecting)

    def test_requests_under_way_are_not_cut_off(self) -> None:
        """Where all connections of a client are at work, a further one is answered 503, unless it
        asks for the health.
        """
        crowd = Crowd(Waiting(), evolve(LIMITS, per_client=2))
        busy = [crowd.connect(data=GET)[1] for _ in range(2)]
        _, further = crowd.connect(data=GET)
        self.assertEqual(status(further), 503)
        self.assertIn(b"\r\nRetry-After: ", further.value())
        self.assertEqual([socket.disconnecting for socket in busy], [False, False])
        _, elsewhere = crowd.connect("192.0.2.8", GET)
        self.assertEqual(elsewhere.value(), b"")  # is being answered

    def test_health_is_answered_when_all_descriptors_are_in_use(self) -> None:
        """With every connection at work `/health` and `/ready` are answered; more connections than
        the reserve replace it.
        """

        async def handle(request: object) -> bytes | None:
            return (
                b"well" if getattr(request, "path", b"") == b"/health" else await Waiting()(request)
            )  # type: ignore[arg-type]

        limits = evolve(LIMITS, descriptors=100)
        total = limits.total
        assert total is not None
        crowd = Crowd(handle, limits)
        for number in range(total):
            crowd.connect(f"192.0.2.{number}", GET)
        made = [crowd.connect("198.51.100.1") for _ in range(RESERVED)]
        silent = [socket for _, socket in made]
        _, probe = crowd.connect("203.0.113.1", request("GET", "/health?from=lb"))
        self.assertEqual(status(probe), 200)
        self.assertIn(b"Connection: close", probe.value())
        self.assertEqual(
            [socket.disconnecting for socket in silent], [True] + [False] * (RESERVED - 1)
        )
        made[0][0].connectionLost()
        crowd.clock.advance(6)
        self.assertTrue(all(socket.disconnecting or socket.half_closed for socket in silent))

    def test_ipv6_network_is_one_client(self) -> None:
        """Addresses of one /64 count together, since one customer has all of them."""
        crowd = Crowd(echo, evolve(LIMITS, per_client=2))
        _, first = crowd.connect("2001:db8::1")
        crowd.connect("2001:db8::2")
        crowd.connect("2001:db8:0:1::1")
        self.assertFalse(first.disconnecting)
        crowd.connect("2001:db8::3")
        self.assertTrue(first.disconnecting)

    def test_trusted_proxy_counts_for_its_clients(self) -> None:
        """A trusted proxy may hold any number; requests under way are counted for the client that
        it names.
        """
        waiting: list[Deferred[bytes]] = []

        async def handle(request: Request) -> bytes:
            waiting.append(Deferred())
            return await waiting[-1]

        crowd = Crowd(
            handle, evolve(LIMITS, per_client=2), TrustedProxies((ip_network("10.0.0.1/32"),))
        )
        for number in range(5):
            crowd.connect("10.0.0.1", request("GET", "/", f"X-Forwarded-For: 192.0.2.{number}"))
        _, second = crowd.connect("10.0.0.1", request("GET", "/", "X-Forwarded-For: 192.0.2.1"))
        _, third = crowd.connect("10.0.0.1", request("GET", "/", "X-Forwarded-For: 192.0.2.1"))
        self.assertEqual(second.value(), b"")
        self.assertEqual(status(third), 503)
        waiting[-1].callback(b"")
        _, fourth = crowd.connect("10.0.0.1", request("GET", "/", "X-Forwarded-For: 192.0.2.1"))
        self.assertEqual((status(second), fourth.value()), (200, b""))

    def test_unix_socket_has_no_limit(self) -> None:
        """Peers on a unix socket have no address to be counted by."""
        crowd = Crowd(echo, evolve(LIMITS, per_client=2))
        sockets = [crowd.connect(UNIXAddress(None), GET)[1] for _ in range(5)]
        self.assertEqual(
            {(status(socket), socket.disconnecting) for socket in sockets}, {(200, False)}
        )

    def test_closed_connections_are_forgotten(self) -> None:
        """Nothing remains of a connection that is closed."""
        crowd = Crowd(echo, evolve(LIMITS, per_client=1, descriptors=100))
        for _ in range(3):
            channel, _ = crowd.connect(data=GET)
            channel.connectionLost()
        limits = crowd.site.limits
        self.assertEqual(
            (len(limits._all), len(limits._by_client), len(limits._reserved)), (0, 0, 0)
        )
