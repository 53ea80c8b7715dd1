"""TLS that pypid speaks itself, seen by clients that trust one authority, and through a change of
the certificate.
"""

import http.client
import signal
import socket
import ssl
import time
from collections.abc import Callable

from cryptography import x509

from tests.live.certificates import Authority
from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, pip, uv, works
from tests.live.projects import Artifact, wheel
from tests.live.test_install import NEWEST
from tests.live.test_ranges import MEBIBYTE, large


class TlsCase(IndexTestCase):
    """One pypid for each test: its certificate is changed."""

    def start(self) -> LiveIndex:
        self.authority = Authority()
        self.trusted = self.authority.pem(self.folder)
        self.chain, self.key = self.folder / "chain.pem", self.folder / "key.pem"
        self.serial = self.authority.issue(self.chain, self.key)
        place = self.folder / "pypid"
        place.mkdir()
        return self.entered(pypid(place, Settings(certificate=self.chain, key=self.key)))

    def context(self) -> ssl.SSLContext:
        """Trusts the authority alone."""
        return ssl.create_default_context(cafile=str(self.trusted))

    def serial_seen(self) -> int:
        """The serial number of the certificate that a new connection is shown."""
        plain = socket.create_connection(("127.0.0.1", self.index.port), 10)
        with self.context().wrap_socket(
            plain, server_hostname="127.0.0.1"
        ) as secure:  # and closes it
            shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number

    def until(self, condition: Callable[[], bool], within: float) -> None:
        """Wait for it."""
        deadline = time.monotonic() + within
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.index.log(self.since))
            time.sleep(0.05)

    def publish(self, *artifacts: Artifact) -> None:
        """Publish with twine, which trusts the authority too."""
        files = [artifact.into(self.folder / "dist") for artifact in artifacts]
        fixed = [
            client("twine"),
            "upload",
            "--non-interactive",
            "--disable-progress-bar",
            "--cert",
            self.trusted,
        ]
        where = [
            "--repository-url",
            self.index.url("/legacy/"),
            "-u",
            "alice",
            "-p",
            PASSWORDS["alice"],
        ]
        works([*fixed, *where, *files], self.folder)


class ClientTests(TlsCase):
    def test_pip(self) -> None:
        """twine and pip with `--cert` of the pinned authority publish and install; without it pip
        refuses.
        """
        self.publish(wheel("tls-pip"))
        command = pip(NEWEST, "install", self.index.url(), "--target", self.folder / "t", "tls-pip")
        works([*command, "--cert", self.trusted], self.folder)
        self.answered("GET", "/packages/tls-pip/tls_pip-1.0-py2.py3-none-any.whl", agent="pip/")
        said = fails([*command, "--retries", "0"], self.folder)
        self.assertIn("certificate", said.lower())

    def test_uv(self) -> None:
        """uv with SSL_CERT_FILE of the pinned authority publishes and installs; without it uv
        refuses.
        """
        path = wheel("tls-uv").into(self.folder / "dist")
        publishing = [
            client("uv"),
            "publish",
            "--trusted-publishing",
            "never",
            "--publish-url",
            self.index.url("/legacy/"),
        ]
        credential = ("-u", "alice", "-p", PASSWORDS["alice"])
        works([*publishing, *credential, path], self.folder, SSL_CERT_FILE=str(self.trusted))
        command = uv(self.index.url(), "--target", self.folder / "t", "tls-uv")
        works(command, self.folder, SSL_CERT_FILE=str(self.trusted))
        self.answered("GET", "/packages/tls-uv/tls_uv-1.0-py2.py3-none-any.whl", agent="uv/")
        said = fails([*command, "--no-cache", "--reinstall"], self.folder, UV_HTTP_RETRIES="0")
        self.assertIn("certificate", said.lower())

    def test_pip_9_on_python_2_7(self) -> None:
        """The oldest client that is supported agrees with the cipher suites."""
        self.publish(wheel("tls-old"))
        url = self.index.url().replace(
            "127.0.0.1", "localhost"
        )  # it compares certificates with names alone
        command = pip("pip-9-on-2.7", "install", url, "--target", self.folder / "t", "tls-old")
        works([*command, "--cert", self.trusted], self.folder)
        self.answered("GET", "/packages/tls-old/tls_old-1.0-py2.py3-none-any.whl", agent="pip/9")


class ChangeTests(TlsCase):
    def test_reload(self) -> None:
        """After SIGHUP new connections see the new certificate; an idle one and a slow download go
        on.
        """
        artifact = large("tls-slow", 8 * MEBIBYTE)
        self.publish(artifact)
        idle = http.client.HTTPSConnection(
            "127.0.0.1", self.index.port, timeout=30, context=self.context()
        )
        self.addCleanup(idle.close)
        self.assertEqual(self.fetched(idle, "/simple/"), 200)
        slow = http.client.HTTPSConnection(
            "127.0.0.1", self.index.port, timeout=30, context=self.context()
        )
        self.addCleanup(slow.close)
        slow.request("GET", f"/packages/tls-slow/{artifact.filename}")
        answer = slow.getresponse()
        begun = answer.read(MEBIBYTE)

        self.assertEqual(self.serial_seen(), self.serial)
        new = self.authority.issue(self.chain, self.key)
        self.index.running.process.send_signal(signal.SIGHUP)
        self.until(
            lambda: self.serial_seen() == new, within=4
        )  # before the files are looked at by themselves

        self.assertEqual(begun + answer.read(), artifact.data)
        before = idle.sock
        self.assertEqual(self.fetched(idle, "/simple/tls-slow/"), 200)
        self.assertIs(idle.sock, before)

    def fetched(self, connection: http.client.HTTPSConnection, path: str) -> int:
        """The status of an answer, all of which was read."""
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
