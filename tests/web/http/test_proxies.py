"""What trusted proxies say: `pypid.web.http.connections`."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.http.connections import TrustedProxies, client_of, host_of, read_address, scheme_of
from pypid.web.http.request import Request
from tests.web.raw_http import Wire, request

OURS = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("::1/128")))


ORIGINS = (
    "https://index.example",
    "https://index.example:8443",
    "https://index.example.evil.example",
    "null",
    "",
)


class ProxyTests(SynchronousTestCase):
    """Headers are believed only of those we trust."""

    def test_the_client(self) -> None:
        """The right-most address that is not a proxy of ours is the client's."""
        for peer, forwarded, client in (
            ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1, _hidden, 10.0.0.7"], "10.0.0.7"),
            ("10.0.0.1", ["198.51.100.1:5555"], "198.51.100.1"),
            ("::1", ['"[2001:db8::7]:443"'], "2001:db8::7"),
            ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
            (None, ["198.51.100.1"], None),
        ):
            self.assertEqual(client_of(peer, forwarded, OURS), client, (peer, forwarded))

    def test_unix_sockets(self) -> None:
        """A peer on a unix socket is trusted only where that is asked for."""
        self.assertEqual(
            client_of(None, ["198.51.100.1"], TrustedProxies(unix=True)), "198.51.100.1"
        )
        self.assertEqual(scheme_of(None, False, ["https"], TrustedProxies(unix=True)), "https")
        self.assertEqual(scheme_of(None, False, ["https"], OURS), "http")

    def test_scheme(self) -> None:
        """http or https; anything else is not believed."""
        self.assertEqual(scheme_of("10.0.0.1", False, ["http, HTTPS"], OURS), "https")
        self.assertEqual(scheme_of("10.0.0.1", True, ["http"], OURS), "http")
        self.assertEqual(scheme_of("10.0.0.1", False, ["javascript"], OURS), "http")
        self.assertEqual(scheme_of("192.0.2.1", False, ["https"], OURS), "http")

    def test_host(self) -> None:
        """A host is believed if it can be one."""
        self.assertEqual(host_of("10.0.0.1", "inner", ["evil, outer:8443"], OURS), "outer:8443")
        for said in ("a/b", "user@host", "a b", "", "[::1"):
            self.assertEqual(host_of("10.0.0.1", "inner", [said], OURS), "inner")
        self.assertEqual(host_of("192.0.2.1", "inner", ["outer"], OURS), "inner")

    @given(st.text(max_size=40))
    @settings(max_examples=50, deadline=None, database=None)
    def test_anything(self, text: str) -> None:
        """No entry makes it fall over, and what is read is an address."""
        address = read_address(text)
        self.assertTrue(address is None or str(address))

    def test_requests(self) -> None:
        """A request says what its headers say of a trusted peer, and what its connection says of
        another.
        """
        seen: list[tuple[str | None, str, str, bool]] = []

        async def look(request: Request) -> bytes:
            seen.append(
                (request.client_address(), request.scheme, request.base_host, request.isSecure())
            )
            return b""

        sent = request(
            "GET",
            "/",
            "X-Forwarded-For: 198.51.100.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: outer",
        )
        peers: list[IAddress] = [
            IPv4Address("TCP", "10.0.0.1", 1),
            IPv4Address("TCP", "192.0.2.1", 1),
            UNIXAddress(b""),
        ]
        logs = []
        for peer in peers:
            wire = Wire(look, peer=peer, trusted=OURS)
            wire.send(sent)
            logs.append(wire.log[0].split(" ")[0])
        self.assertEqual(
            seen,
            [
                ("198.51.100.1", "https", "outer", True),
                ("192.0.2.1", "http", "index.example", False),
                (None, "http", "index.example", False),
            ],
        )
        self.assertEqual(logs, ["198.51.100.1", "192.0.2.1", "-"])


class OriginTests(SynchronousTestCase):
    """Whose page it is that sends something."""

    def asked(self, *lines: str, public_url: str | None = None, trusted: bool = True) -> list[bool]:
        """Whether pages of these origins are ours, to a request with these lines."""
        seen: list[bool] = []

        async def look(request: Request) -> bytes:
            seen.extend(request.is_of(origin) for origin in ORIGINS)
            return b""

        wire = Wire(look, peer=IPv4Address("TCP", "10.0.0.1", 1), trusted=OURS if trusted else None)
        wire.site.public_url = public_url
        wire.send(("\r\n".join(["GET / HTTP/1.1", *lines]) + "\r\n\r\n").encode())
        return seen

    def test_host(self) -> None:
        """Our own pages are of the host that was asked for, in any letters, with or without the
        port that it has anyway.
        """
        for host in ("index.example", "INDEX.example", "index.example:443"):
            self.assertEqual(self.asked(f"Host: {host}"), [True, False, False, False, False], host)
        self.assertEqual(self.asked("Host: index.example:8443"), [False, True, False, False, False])
        self.assertEqual(self.asked("Host: "), [False] * 5)

    def test_proxy(self) -> None:
        """Where a proxy asks for another host, ours is what it is trusted to say, or what is
        configured.
        """
        changed = "Host: 127.0.0.1:6543"
        self.assertEqual(self.asked(changed), [False] * 5)
        said = "X-Forwarded-Host: index.example:8443"
        self.assertEqual(self.asked(changed, said), [False, True, False, False, False])
        self.assertEqual(self.asked(changed, said, trusted=False), [False] * 5)
        for url in ("https://index.example", "https://Index.Example:443/python/"):
            self.assertEqual(
                self.asked(changed, public_url=url), [True, False, False, False, False], url
            )


class NoHostTests(SynchronousTestCase):
    """What the router is told where there is no host."""

    def test_unix_socket(self) -> None:
        """A request of HTTP/1.0 over a unix socket, with no host anywhere, is routed like any
        other.
        """
        seen: list[bytes] = []

        async def look(request: Request) -> bytes:
            seen.append(request.getRequestHostname())
            return b""

        wire = Wire(look, peer=UNIXAddress(b""))
        wire.socket.hostAddr = UNIXAddress(b"/run/pypid.sock")
        wire.send(b"GET /health HTTP/1.0\r\n\r\n")
        self.assertEqual(seen, [b"localhost"])
