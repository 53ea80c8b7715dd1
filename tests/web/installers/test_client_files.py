"""``/config/``: settings of clients, made for the host that was asked."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pypid.web.http.connections import HostPolicy, TrustedProxies
from tests.web.full_app import WholeCase


def certificate(subject: str, issuer: str) -> bytes:
    """A certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    begins = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
    )
    builder = (
        builder.serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=9))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


LEAF, ROOT = certificate("index.example", "Acme CA"), certificate("Acme CA", "Acme CA")


class FilesTests(WholeCase):
    def test_host(self) -> None:
        """The files name the host that was asked."""
        for name in ("pip.conf", ".pypirc", "uv.toml"):
            answer = self.pypid.get(f"/config/{name}")
            self.assertEqual(
                (answer.status, answer["content-type"]), (200, "text/plain; charset=utf-8")
            )
            self.assertIn(b"http://index.example/", answer.body)

    def test_no_host(self) -> None:
        """A host that may not be believed is in no file: whoever could choose it would choose where
        people install from.
        """
        self.pypid.site.hosts = HostPolicy(("index.example.org",))
        self.pypid.site.trusted_proxies = TrustedProxies(
            (ip_network("192.0.2.7"),)
        )  # else it is 421
        self.assertEqual(self.pypid.get("/config/pip.conf").status, 400)

    def test_odd_host(self) -> None:
        """A Host that is no name and no address goes into no file, though HTTP allows it; nor does
        one that nobody named.
        """
        self.pypid.site.hosts = HostPolicy(("*",))
        for name in ("pip.conf", ".pypirc", "uv.toml"):
            for host in (
                "[1]",
                "[192.0.2.1]",
                "[.]",
                "a%b",
                "a'b",
                "$(x)",
                "a;b",
                "a,b",
                "a:999999",
                "",
                ":80",
                None,
            ):
                said = (
                    b"HTTP/1.0\r\n" if host is None else b"HTTP/1.1\r\nHost: %s\r\n" % host.encode()
                )
                connection = self.pypid.connect()
                connection.send(b"GET /config/%s %s\r\n" % (name.encode(), said))
                answer = connection.answer()
                assert answer is not None
                self.assertEqual(answer.status, 400, (name, host))
            for host in ("[::1]:8080", "index.example:8080", "192.0.2.1", "my_host"):
                connection = self.pypid.connect()
                connection.send(f"GET /config/{name} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                answer = connection.answer()
                assert answer is not None
                self.assertIn(f"http://{host}/", answer.text)


class AuthorityTests(WholeCase):
    def chain(self, *certificates: bytes) -> Path:
        """The chain that TLS is spoken with."""
        path = Path(self.mktemp())
        path.write_bytes(b"".join(certificates))
        self.pypid.app.settings = attrs.evolve(
            self.pypid.app.settings, certificate=path, public_url="https://index.example"
        )
        return path

    def test_root(self) -> None:
        """Of a chain the certificate that vouches for itself is given, which any client can load;
        the files name it.
        """
        self.chain(LEAF, ROOT)
        answer = self.pypid.get("/config/ca.pem")
        self.assertEqual(
            (answer.status, answer["content-type"]), (200, "application/pem-certificate-chain")
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=answer.body.decode())
        self.assertEqual(answer.body, ROOT)
        self.assertIn(
            b"https://index.example/config/ca.pem", self.pypid.get("/config/pip.conf").body
        )
