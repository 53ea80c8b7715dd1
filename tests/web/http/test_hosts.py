"""Which values of Host are answered: `pypid.web.http.connections`."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress

from pypid.web.http.connections import HostPolicy, TrustedProxies, hsts_of
from tests.web.full_app import Connection, WholeCase

PORT = 6543
LOOPBACK = IPv4Address("TCP", "127.0.0.1", PORT)
LAN = IPv4Address("TCP", "192.168.1.10", PORT)
PROXY = TrustedProxies((ip_network("192.0.2.7"),))

OWN = (
    "127.0.0.1",
    "127.0.0.1:6543",
    "[::1]:6543",
    "192.168.1.10:6543",
    "localhost:6543",
    "LOCALHOST.",
    "a.localhost",
    "build7",
)
FOREIGN = (
    "evil.example:6543",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "build7.evil.example",
    "1.2.3",
)


class HostTests(WholeCase):
    """Requests for hosts that are this index, and for others."""

    def policy(self, *allowed: str, public_url: str | None = None) -> None:
        """Configure the hosts."""
        names = frozenset({"build7"})
        self.pypid.site.hosts = HostPolicy(allowed, public_url, names)

    def status(
        self, host: str, local: IAddress = LOOPBACK, path: str = "/simple/", *lines: str
    ) -> int:
        """The status of the answer to a request for this host that arrives at this address."""
        connection = Connection(self.pypid.site, local)
        connection.send(
            "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "\r\n"]).encode()
        )
        answer = connection.answer()
        assert answer is not None
        connection.lose(ConnectionDone())
        return answer.status

    def test_foreign_name_is_421(self) -> None:
        """A page of another site whose name leads to this machine (DNS rebinding) reads nothing, on
        each listener.
        """
        self.policy()
        refusal = self.pypid.get("/simple/")
        self.assertEqual(refusal.status, 421)
        self.assertIn("[server] allowed_hosts", refusal.text)
        for local in (LOOPBACK, LAN):
            for host in (*FOREIGN, "packages.lan", "docker-host:8080"):
                self.assertEqual(self.status(host, local), 421, host)
            for host in OWN:
                self.assertEqual(self.status(host, local), 200, host)

    def test_listed_hosts_are_all_that_is_answered(self) -> None:
        """Where hosts are listed, these, the machine's own names and addresses are answered, on
        each listener.
        """
        self.policy("packages.lan", "*.acme.example", public_url="https://index.acme.test/python/")
        for local in (LOOPBACK, LAN):
            for host in (
                *OWN,
                "packages.lan:6543",
                "PACKAGES.lan",
                "a.acme.example",
                "index.acme.test",
            ):
                self.assertEqual(self.status(host, local), 200, host)
            for host in (*FOREIGN, "acme.example", "packages.lan.evil.example"):
                self.assertEqual(self.status(host, local), 421, host)

    def test_host_of_an_absolute_target_is_checked(self) -> None:
        """Of a target in absolute form its own host counts, whatever the Host header says."""
        self.policy()
        connection = Connection(self.pypid.site, LOOPBACK)
        connection.send(b"GET http://evil.example/simple/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = connection.answer()
        self.assertEqual(answer and answer.status, 421)

    def test_probes_name_any_host(self) -> None:
        """Load balancers and monitors ask /health, /ready and /metrics by names of their own."""
        self.policy("packages.lan")
        for path in ("/health", "/ready", "/metrics"):
            self.assertNotEqual(self.status("probe.internal", LAN, path), 421, path)

    def test_trusted_proxies_and_unix_sockets_are_exempt(self) -> None:
        """Whoever stands before this index decides itself which hosts it takes."""
        self.policy("packages.lan")
        self.pypid.site.trusted_proxies = PROXY
        self.assertEqual(self.status("front.example"), 200)
        self.pypid.site.trusted_proxies = TrustedProxies()
        self.assertEqual(self.status("front.example"), 421)
        connection = Connection(self.pypid.site, UNIXAddress(b"/run/pypid.sock"), UNIXAddress(b""))
        connection.send(b"GET /simple/ HTTP/1.1\r\nHost: front.example\r\n\r\n")
        answer = connection.answer()
        self.assertEqual(answer and answer.status, 200)


class ServerTests(WholeCase):
    """The `Server` header."""

    def test_names_neither_twisted_nor_a_version(self) -> None:
        """Pages, refusals, `OPTIONS *` and requests that are no HTTP name pypid alone."""
        for line, status in (
            (b"GET /simple/ HTTP/1.1\r\nHost: localhost", 200),
            (b"GET /nothing/at/all HTTP/1.1\r\nHost: localhost", 404),
            (b"GET /simple/ HTTP/1.1\r\nHost: evil.example", 421),
            (b"OPTIONS * HTTP/1.1\r\nHost: localhost", 200),
            (b"no HTTP", 400),
        ):
            connection = self.pypid.connect()
            connection.send(line + b"\r\n\r\n")
            answer = connection.answer()
            assert answer is not None
            self.assertEqual((answer.status, answer["server"]), (status, "pypid"), line)


class ForwardedHostTests(WholeCase):
    """X-Forwarded-Host behind the documented nginx, which passes on what the client sends."""

    def named(self, *lines: tuple[str, str]) -> str:
        """What `/config/pip.conf` says."""
        self.pypid.site.trusted_proxies = PROXY
        answer = self.pypid.get("/config/pip.conf", None, *lines)
        self.assertEqual(answer.status, 200)
        return answer.text

    def test_forwarded_host_of_a_client_names_no_url(self) -> None:
        """A host that the configuration does not name is in no generated file and in no JSON."""
        self.have_wheel("foo")
        evil = ("X-Forwarded-Host", "evil.example")
        self.assertIn("http://index.example/", self.named(evil))
        for path in ("/config/pip.conf", "/config/uv.toml", "/pypi/foo/json", "/rss/updates.xml"):
            self.assertNotIn("evil.example", self.pypid.get(path, None, evil).text, path)

    def test_forwarded_host_that_is_configured_names_urls(self) -> None:
        """A proxy that changes the Host may forward a host that the configuration names."""
        for policy in (
            HostPolicy(("front.example",)),
            HostPolicy(("*",)),
            HostPolicy(public_url="http://front.example/"),
        ):
            self.pypid.site.hosts = policy
            self.assertIn(
                "http://front.example/", self.named(("X-Forwarded-Host", "front.example"))
            )


class StrictTransportTests(WholeCase):
    """Strict-Transport-Security."""

    def said(
        self,
        *lines: tuple[str, str],
        public_url: str | None = "https://index.example/python",
        days: int = 365,
    ) -> str | None:
        """The header of a page that a trusted proxy asks for."""
        self.pypid.site.trusted_proxies = PROXY
        self.pypid.site.hsts = hsts_of(public_url, timedelta(days=days))
        return self.pypid.get("/simple/", None, *lines)["strict-transport-security"]

    def test_https_index_is_to_be_reached_by_https_alone(self) -> None:
        """The header is sent over https, for the host of public_url, without its subdomains."""
        secure = ("X-Forwarded-Proto", "https")
        self.assertEqual(self.said(secure), "max-age=31536000")
        self.assertEqual(
            self.said(secure, public_url="https://INDEX.example:443"), "max-age=31536000"
        )
        self.assertIsNone(self.said())  # over http
        self.assertIsNone(self.said(secure, days=0))
        for url in (
            None,
            "http://index.example",
            "https://other.example",
            "https://index.example:8443",
        ):
            self.assertIsNone(self.said(secure, public_url=url), url)
