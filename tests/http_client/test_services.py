"""Requests to services: what is sent, and which responses are rejected, over connections in memory."""

# Twisted's web client and trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from pypid.flow import start
from pypid.http_client.connections import Fault
from pypid.http_client.services import ServiceClient, ServiceRequest, UnusableResponse

LIMIT = 1 << 16


def check(response: IResponse) -> None:
    """Reject every status but 200."""
    if response.code != 200:
        raise UnusableResponse(f"it answered with the status {response.code}.")


REQUEST = ServiceRequest(
    method="GET",
    url="https://service.example/keys",
    headers={"Accept": "application/json"},
    check=check,
    limit=LIMIT,
    timeout=10.0,
)


@implementer(IAgentEndpointFactory)
class Connections:
    """The connections that the client opened: pairs of its protocol and the transport below."""

    def __init__(self) -> None:
        self.opened: list[tuple[Any, StringTransport]] = []
        self.refused = False

    def endpointForURI(self, uri: object) -> Connections:
        """Return the endpoint."""
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        """Open a connection, or refuse it."""
        if self.refused:
            failed: Deferred[Any] = Deferred()
            failed.errback(ConnectionRefusedError())
            return failed
        protocol, transport = factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        self.opened.append((protocol, transport))
        return succeed(protocol)


class ServiceCase(SynchronousTestCase):
    """A client, and a service that a test plays."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connections = Connections()
        pool = HTTPConnectionPool(self.clock)
        pool.retryAutomatically = False
        agent = Agent.usingEndpointFactory(self.clock, self.connections, pool)
        self.client = ServiceClient(agent, self.clock)

    def fetch(self, request: ServiceRequest = REQUEST) -> Deferred[bytes]:
        """Send a request."""
        return start(self.client.fetch(request))

    def sent(self, connection: int = -1) -> list[bytes]:
        """Return the lines that were sent over a connection since the last time."""
        transport = self.connections.opened[connection][1]
        value = transport.value()
        transport.clear()
        return value.split(b"\r\n")

    def respond(self, *headers: str, body: bytes = b"", status: str = "200 OK") -> None:
        """Send a response over the last connection; its Content-Length is that of the body."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.receive("\r\n".join(lines).encode() + body)

    def receive(self, data: bytes) -> None:
        """Send these bytes over the last connection."""
        self.connections.opened[-1][0].dataReceived(data)

    def lose(self) -> None:
        """End the last connection."""
        self.connections.opened[-1][0].connectionLost(Failure(ConnectionLost()))

    def assert_aborted(self, connection: int = -1) -> None:
        """The client ended the connection at once."""
        self.assertTrue(self.connections.opened[connection][1].disconnected)


class RequestTests(ServiceCase):
    """What is sent."""

    def test_headers(self) -> None:
        """Exactly these headers are sent: compression is not requested, although treq would."""
        fetched = self.fetch()
        line, *headers = self.sent()
        self.assertEqual(line, b"GET /keys HTTP/1.1")
        self.assertEqual(
            {header.partition(b":")[0].lower() for header in headers if header},
            {b"host", b"user-agent", b"accept", b"accept-encoding"},
        )
        self.assertIn(b"Accept-Encoding: identity", headers)
        self.respond(body=b"{}")
        self.assertEqual(self.successResultOf(fetched), b"{}")

    def test_connection_is_reused(self) -> None:
        """The second request goes over the first one's connection."""
        for _ in range(2):
            fetched = self.fetch()
            self.respond(body=b"1")
            self.assertEqual(self.successResultOf(fetched), b"1")
        self.assertEqual(len(self.connections.opened), 1)

    def test_no_cookies(self) -> None:
        """A cookie is neither stored nor sent back."""
        fetched = self.fetch()
        self.respond(
            "Set-Cookie: session=x; Path=/", "Set-Cookie: a=\xe9", "Set-Cookie2: y=z", body=b"1"
        )
        self.successResultOf(fetched)
        self.assertEqual(list(self.client._treq._cookiejar), [])
        self.sent()
        self.fetch()
        self.assertNotIn(b"cookie", b"\n".join(self.sent()).lower())

    def test_invalid_url(self) -> None:
        """An invalid URL is an error at once, and leaves no timer behind."""
        for url in ("https://service.example:-/", "https://\xe9\u2028.example/", "//"):
            failure = self.failureResultOf(self.fetch(evolve(REQUEST, url=url)))
            self.assertIsInstance(failure.value, (ValueError, Fault), url)
        self.assertEqual((self.clock.getDelayedCalls(), self.connections.opened), ([], []))

    def test_hosts_that_idna_rejects(self) -> None:
        """Requests go to IPv6 addresses and to hosts with underscores, as they are written."""
        for host in ("[::1]:8000", "auth_service:8443", "ab--c.example", "b\xfccher.example"):
            self.setUp()
            fetched = self.fetch(evolve(REQUEST, url=f"http://{host}/a%2Fb//c"))
            lines = self.sent()
            self.assertEqual(lines[0], b"GET /a%2Fb//c HTTP/1.1")
            named = host.replace("b\xfccher", "xn--bcher-kva").encode()
            self.assertIn(b"Host: " + named, lines)
            self.respond(body=b"1")
            self.assertEqual(self.successResultOf(fetched), b"1")

    def test_line_breaks_in_a_url(self) -> None:
        """Line breaks and spaces in a URL are encoded: they add no header."""
        self.fetch(evolve(REQUEST, url="https://service.example/\r\nX: y z"))
        self.assertEqual(self.sent()[0], b"GET /%0D%0AX:%20y%20z HTTP/1.1")


class ResponseTests(ServiceCase):
    """Which responses are rejected."""

    def assert_unusable(self, fetched: Deferred[bytes], reason: str) -> None:
        """The response was rejected, its connection ended, and the request not repeated."""
        self.assertIn(reason, self.failureResultOf(fetched, UnusableResponse).value.reason)
        self.assert_aborted()
        self.assertEqual(len(self.connections.opened), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_redirect(self) -> None:
        """A redirect is not followed, whether with the method or as GET."""
        for status in ("301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"):
            self.setUp()
            fetched = self.fetch(evolve(REQUEST, method="POST"))
            self.receive(
                f"HTTP/1.1 {status}\r\nLocation: https://elsewhere.example/\r\n"
                "Content-Length: 3\r\n\r\n".encode()
            )
            self.assert_unusable(fetched, f"status {status[:3]}")

    def test_compressed(self) -> None:
        """A compressed response is rejected before any of it is decompressed."""
        bomb = gzip.compress(bytes(1 << 24))
        self.assertLess(len(bomb), LIMIT)
        for coding in ("gzip", "GZIP", "x-gzip", "deflate", "identity, gzip", "br"):
            self.setUp()
            fetched = self.fetch()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(bomb)}\r\nContent-Encoding: {coding}"
            self.receive(head.encode() + b"\r\n\r\n" + bomb[:100])
            self.assert_unusable(fetched, "compressed")

    def test_identity(self) -> None:
        """A response that names the absence of a coding is accepted."""
        fetched = self.fetch()
        self.respond("Content-Encoding: identity", body=b"1")
        self.assertEqual(self.successResultOf(fetched), b"1")

    def test_longest(self) -> None:
        """A response as long as the limit is accepted."""
        fetched = self.fetch()
        self.respond(body=bytes(LIMIT))
        self.assertEqual(self.successResultOf(fetched), bytes(LIMIT))

    def test_too_long(self) -> None:
        """A longer one is rejected while it arrives, whether its length was announced or not."""
        for header in ("Content-Length: 100000000", "Transfer-Encoding: chunked", "X-Y: z"):
            self.setUp()
            fetched = self.fetch()
            chunk = b"10000\r\n" if "chunked" in header else b""
            self.receive(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
            self.receive(chunk + bytes(LIMIT))
            self.assertNoResult(fetched)
            self.receive(b"\r\n1\r\n1" if chunk else b"1")
            self.assert_unusable(fetched, "larger than 64 KiB")


class FaultTests(ServiceCase):
    """What can go wrong on the way."""

    def assert_late(self, fetched: Deferred[bytes]) -> None:
        """The request is ended when its time is over, and is not repeated."""
        self.clock.advance(9.9)
        self.assertNoResult(fetched)
        self.clock.advance(0.1)
        fault = self.failureResultOf(fetched, Fault).value
        self.assertEqual(
            (fault.reason, fault.timed_out), ("it did not answer within 10 seconds.", True)
        )
        self.assert_aborted()
        self.assertEqual(len(self.connections.opened), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """A service that does not respond is given up."""
        self.assert_late(self.fetch())

    def test_slow_response(self) -> None:
        """The time limit is for all of the response: bytes that trickle in do not extend it."""
        fetched = self.fetch()
        self.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(9):
            self.clock.advance(1)
            self.receive(b"x")
        self.assertNoResult(fetched)
        self.clock.advance(1)
        self.assertTrue(self.failureResultOf(fetched, Fault).value.timed_out)
        self.assert_aborted()

    def test_cancelled(self) -> None:
        """A caller that goes away ends the connection, in front of the response and within it."""
        for received in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"):
            self.setUp()
            fetched = self.fetch()
            self.receive(received)
            fetched.cancel()
            self.failureResultOf(fetched)
            self.assert_aborted()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_repeated_once(self) -> None:
        """A request whose connection is closed is sent once more, and not a third time."""
        for received in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"):
            self.setUp()
            fetched = self.fetch()
            self.receive(received)
            self.lose()
            self.assertNoResult(fetched)
            self.respond(body=b"1")
            self.assertEqual(self.successResultOf(fetched), b"1")
            self.assertEqual(len(self.connections.opened), 2)
        fetched = self.fetch()
        self.lose()
        self.lose()
        self.failureResultOf(fetched, Fault)

    def test_repeated_within_the_limit(self) -> None:
        """The time limit includes both attempts."""
        fetched = self.fetch()
        self.clock.advance(9)
        self.lose()
        self.clock.advance(1)
        self.assertTrue(self.failureResultOf(fetched, Fault).value.timed_out)

    def test_no_connection(self) -> None:
        """A request that could not be sent is not repeated."""
        self.connections.refused = True
        fault = self.failureResultOf(self.fetch(), Fault).value
        self.assertEqual((fault.reason, fault.connected), ("it refuses connections.", False))
