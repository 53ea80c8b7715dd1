"""The certificate in force: what is refused, and what a change of its files does."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.daemon.listeners import Certificate, harden
from tests.live.certificates import Authority


class CertificateCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = Authority()
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self.serial = self.authority.issue(self.chain, self.key)
        self.certificate = Certificate(self.chain, self.key)

    def shown(
        self,
        maximum: int = SSL.TLS1_3_VERSION,
        ciphers: str = "ALL:@SECLEVEL=0",
        make: Callable[[], SSL.Connection] | None = None,
    ) -> int | None:
        """The serial number of the certificate that a new connection is shown; None where there is
        no agreement.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(maximum)
        context.set_cipher_list(ciphers.encode())
        client = SSL.Connection(context, None)
        server = self.certificate.serverConnectionForTLS(None) if make is None else make()  # type: ignore[arg-type]
        client.set_connect_state()
        server.set_accept_state()
        for _ in range(4):
            for one, other in (client, server), (server, client):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error:
                    return None
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(1 << 16))
        certificate = client.get_peer_certificate()
        return None if certificate is None else certificate.get_serial_number()


class LoadTests(CertificateCase):
    def test_tls_1_2_has_forward_secrecy_and_authenticated_encryption(self) -> None:
        """Over TLS 1.2 neither RSA key exchange nor CBC is spoken, by `ssl` endpoints of Twisted's
        either.
        """
        pair = PrivateCertificate.loadPEM(self.chain.read_bytes() + b"\n" + self.key.read_bytes())
        options = CertificateOptions(privateKey=pair.privateKey.original, certificate=pair.original)
        harden(options)
        makers = (
            lambda: self.certificate.serverConnectionForTLS(None),  # type: ignore[arg-type]
            lambda: SSL.Connection(options.getContext(), None),
        )
        for make in makers:
            for cipher, spoken in (
                ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", True),
                ("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305", True),
                ("ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256", False),
                ("ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA", False),
                ("AES128-GCM-SHA256:AES256-SHA", False),
                ("DHE-RSA-AES128-GCM-SHA256", False),
            ):
                found = self.shown(SSL.TLS1_2_VERSION, cipher, make)
                self.assertEqual(found, self.serial if spoken else None, cipher)

    def test_key_that_all_can_read_is_logged(self) -> None:
        """A key file that every user of the machine can read is named in the log, at the start and
        after a change.
        """
        for mode, warned in ((0o600, 0), (0o640, 0), (0o644, 1)):
            self.key.chmod(mode)
            with capturedLogs() as lines:
                Certificate(self.chain, self.key)
            self.assertEqual(
                len([line for line in lines if "tls_key" in line["log_format"]]), warned, oct(mode)
            )

    def test_not_the_key(self) -> None:
        """A key of another certificate is named as that."""
        other = self.key.with_name("other.pem")
        self.authority.issue(self.chain.with_name("unused.pem"), other)
        with self.assertRaisesRegex(CannotStart, "is not the key of the certificate"):
            Certificate(self.chain, other)

    def test_wrapped(self) -> None:
        """What is wrapped speaks TLS on the wire: who speaks plain HTTP to it is cut off, and no
        protocol hears of it.
        """
        protocol = self.certificate.wrap(Factory.forProtocol(Protocol)).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(transport.disconnecting)


class ChangeTests(CertificateCase):
    def test_settled_change(self) -> None:
        """A change is taken up at the second look that finds it: the two files of a pair are not
        replaced at one stroke.
        """
        new = self.authority.issue(self.chain, self.key)
        self.certificate.reload_if_changed()
        self.assertEqual(self.shown(), self.serial)
        self.certificate.reload_if_changed()
        self.assertEqual(self.shown(), new)

    def test_half_a_pair(self) -> None:
        """While only the chain is new, nothing is said; when the key has come, the pair is taken
        up.
        """
        fresh, key = self.chain.with_name("fresh.pem"), self.key.with_name("fresh-key.pem")
        new = self.authority.issue(fresh, key)
        fresh.replace(self.chain)
        self.certificate.reload_if_changed()
        key.replace(self.key)
        self.certificate.reload_if_changed()
        self.certificate.reload_if_changed()
        self.assertEqual(self.shown(), new)

    def test_unusable(self) -> None:
        """What cannot be used changes nothing, and is tried once, not at each look; `reload` tries
        it again.
        """
        self.chain.write_text("junk")
        for _ in range(4):
            self.certificate.reload_if_changed()
        self.assertEqual(self.shown(), self.serial)
        new = self.authority.issue(self.chain, self.key)
        self.certificate.reload()
        self.assertEqual(self.shown(), new)
