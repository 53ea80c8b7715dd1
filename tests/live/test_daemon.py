"""The life of a real pypid: stopped, killed, started again, its storage gone for a while, told to
read its users again.
"""

import http.client
import signal
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack

from tests.live.certificates import Authority
from tests.live.daemon import (
    PASSWORDS,
    IndexTestCase,
    LiveIndex,
    Settings,
    pypid,
)
from tests.live.processes import BIN, done
from tests.live.projects import call, listed, publish, wheel
from tests.live.test_ranges import MEBIBYTE, large

DRAIN = 10.0
"""Seconds that requests under way get."""


def until(condition: Callable[[], bool], what: Callable[[], str], within: float = 20.0) -> None:
    """Wait for it. Raises `AssertionError` with what `what` says."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


class OwnCase(IndexTestCase):
    """One pypid for each test, which may end it."""

    settings = Settings()

    def start(self) -> LiveIndex:
        self.place = self.folder / "p"
        self.place.mkdir()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        return self.stack.enter_context(pypid(self.place, self.settings))

    def again(self) -> LiveIndex:
        """Start pypid on the same folder; the one before has ended."""
        self.index = self.stack.enter_context(pypid(self.place, self.settings))
        self.since = 0
        return self.index

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open until the test is over."""
        connection = http.client.HTTPConnection("127.0.0.1", self.index.port, timeout=30)
        self.addCleanup(connection.close)
        return connection

    def says(self, text: str) -> None:
        """Wait for `text` in the log."""
        until(
            lambda: text in self.index.log(self.since),
            lambda: f"no {text!r} in:\n{self.index.log()}",
        )

    def ended(self, within: float = 20.0) -> int:
        """The exit status, awaited."""
        return self.index.running.process.wait(within)

    def send(self, number: signal.Signals) -> float:
        """Send a signal to pypid; when, on the monotonic clock."""
        self.index.running.process.send_signal(number)
        return time.monotonic()

    def half_an_upload(self, project: str) -> tuple[http.client.HTTPConnection, bytes]:
        """A connection that has sent the first half of an upload, and the other half."""
        artifact = wheel(project)
        head = (
            '--x\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
            '--x\r\nContent-Disposition: form-data; name="protocol_version"\r\n\r\n1\r\n'
            f'--x\r\nContent-Disposition: form-data; name="content"; '
            f'filename="{artifact.filename}"\r\n\r\n'
        ).encode()
        body = head + artifact.data + b"\r\n--x--\r\n"
        connection = self.connect()
        connection.putrequest("POST", "/legacy/")
        connection.putheader(
            "Authorization", "Basic " + b64encode(f"alice:{PASSWORDS['alice']}".encode()).decode()
        )
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        proceed = b"HTTP/1.1 100 Continue\r\n\r\n"
        self.assertEqual(connection.sock.recv(len(proceed), socket.MSG_WAITALL), proceed)
        half = len(head) + len(artifact.data) // 2
        connection.send(body[:half])
        return connection, body[half:]


class StopTests(OwnCase):
    def test_term(self) -> None:
        """SIGTERM: no connection is taken or kept idle; a slow download and upload end whole; a
        start knows all.
        """
        artifact = large("slow-down", 16 * MEBIBYTE)
        publish(self.index, artifact)
        idle = self.connect()
        idle.request("GET", "/simple/")
        idle.getresponse().read()
        down = self.connect()
        down.request("GET", f"/packages/slow-down/{artifact.filename}")
        coming = down.getresponse()
        begun = coming.read(MEBIBYTE)
        up, rest = self.half_an_upload("slow-up")

        self.send(signal.SIGTERM)
        self.says("stopping: requests under way")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.index.port), 5)
        self.assertEqual(idle.sock.recv(1), b"")
        time.sleep(1)
        self.assertIsNone(self.index.running.process.poll())
        self.assertEqual(begun + coming.read(), artifact.data)
        up.send(rest)
        answer = up.getresponse()
        self.assertEqual((answer.status, answer.getheader("Connection")), (200, "close"))
        answer.read()
        self.assertEqual(self.ended(), 0)
        self.assertTrue((self.place / "state/packages/.pypid/clean-stop.json").exists())
        self.assertEqual(list((self.place / "state/spool").iterdir()), [])

        again = self.again()
        self.assertIn("of them read again, 0 changed", again.log())
        self.assertEqual(listed(again, "slow-up"), ["slow_up-1.0-py2.py3-none-any.whl"])


class SecureStopTests(OwnCase):
    def start(self) -> LiveIndex:
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        Authority().issue(chain, key)
        self.settings = Settings(certificate=chain, key=key)  # type: ignore[misc]
        return super().start()

    def test_idle(self) -> None:
        """An idle TLS client, which does not answer the good-bye, does not hold up the end."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.index.port), 10)
        ) as idle:
            idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", idle.recv(4096))
            begun = self.send(signal.SIGTERM)
            self.assertEqual(self.ended(), 0)
            self.assertLess(time.monotonic() - begun, 5)


class KilledTests(OwnCase):
    def test_killed(self) -> None:
        """After SIGKILL during an upload a start succeeds: lock free, spool and socket cleared,
        what was taken kept.
        """
        publish(self.index, wheel("kept"))
        self.half_an_upload("lost")
        spool = self.place / "state/spool"
        (spool / "incoming-of-a-crash").write_bytes(b"half")
        self.send(signal.SIGKILL)
        self.assertEqual(self.ended(), -signal.SIGKILL)
        self.assertTrue((self.place / "state/control.sock").exists())
        (self.place / "state/control.sock.lock").symlink_to(
            "1"
        )  # as an older pypid's, in a container, would have left it
        index = self.again_after_kill()
        self.assertEqual(listed(index, "kept"), ["kept-1.0-py2.py3-none-any.whl"])
        self.assertEqual(list(spool.iterdir()), [])
        self.assertIn(
            "yanked", done([BIN / "pypid", "project", "yank", "-c", index.config, "kept", "1.0"])
        )

    def again_after_kill(self) -> LiveIndex:
        """As `again`; the log of what was killed ended without a good-bye, which the harness would
        look for.
        """
        self.stack.pop_all()
        return self.again()


class StorageTests(OwnCase):
    def test_away(self) -> None:
        """While the storage folder is away pages go on and files and uploads are 503; when it is
        back, all goes on.
        """
        publish(self.index, wheel("near"))
        away = self.index.storage.with_name("away")
        self.index.storage.rename(away)
        self.assertEqual(listed(self.index, "near"), ["near-1.0-py2.py3-none-any.whl"])
        path = "/packages/near/near-1.0-py2.py3-none-any.whl"
        with self.assertRaisesRegex(
            AssertionError, "-> 503: The storage of this index is unavailable"
        ):
            call(self.index, "GET", path)
        with self.assertRaisesRegex(
            AssertionError, "-> 503: The storage of this index is unavailable"
        ):
            publish(self.index, wheel("far"))
        self.says(
            f"in the storage failed: [Errno 2] No such file or directory: b'{self.index.storage}"
        )
        self.assertFalse(self.index.storage.exists())
        away.rename(self.index.storage)
        self.assertEqual(call(self.index, "GET", path), wheel("near").data)
        publish(self.index, wheel("far"))
