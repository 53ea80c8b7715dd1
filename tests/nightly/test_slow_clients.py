"""A pypid with few file descriptors, and clients that hold many connections."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import time
from contextlib import ExitStack

from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.test_daemon import OwnCase

DESCRIPTORS = 256


class SlowHeadTests(OwnCase):
    """Heads that never end."""

    settings = Settings(server="header_timeout = 3s")

    def start(self) -> LiveIndex:
        self.place = self.folder / "p"
        self.place.mkdir()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
        try:
            return self.stack.enter_context(pypid(self.place, self.settings))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def hold(self, source: str, count: int, data: bytes) -> list[socket.socket]:
        """Open connections from this address, and send `data` on each."""
        made = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", self.index.port), 10, (source, 0))
            self.addCleanup(connection.close)
            connection.sendall(data)
            made.append(connection)
        return made

    def status(self, source: str, path: str) -> int:
        """The status of the answer to a client at this address."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.index.port, timeout=5, source_address=(source, 0)
        )
        self.addCleanup(connection.close)
        connection.request("GET", path)
        return connection.getresponse().status

    def test_unfinished_heads_keep_no_client_out(self) -> None:
        """500 connections whose heads trickle leave room for others at once, and are closed after
        `header_timeout`.
        """
        held = [
            each
            for number in range(2, 7)
            for each in self.hold(f"127.0.0.{number}", 100, b"GET / HTTP/1.1\r\nHost")
        ]
        self.assertEqual(self.status("127.0.0.9", "/health"), 200)
        self.assertEqual(self.status("127.0.0.9", "/simple/"), 200)
        time.sleep(4)
        for connection in held:
            connection.settimeout(5)
            try:
                said = connection.recv(4096)
            except ConnectionResetError:
                said = b""
            self.assertTrue(said == b"" or said.startswith(b"HTTP/1.1 408 "), said)
        self.assertNotIn("Too many open files", self.index.log())

    def test_many_clients_at_once_keep_no_client_out(self) -> None:
        """More connections than descriptors are left wait to be accepted in one turn of the reactor:
        each one that makes room gives its descriptor back at once, so the last client is served.
        """
        pid = self.index.running.process.pid
        self.hold("127.0.0.2", 80, b"GET / HTTP/1.1\r\nHost")
        self.assertEqual(self.status("127.0.0.9", "/health"), 200)
        os.kill(pid, signal.SIGSTOP)
        try:
            for number in range(3, 7):
                self.hold(f"127.0.0.{number}", 100, b"GET / HTTP/1.1\r\nHost")
            late = socket.create_connection(("127.0.0.1", self.index.port), 10, ("127.0.0.9", 0))
            self.addCleanup(late.close)
            late.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        finally:
            os.kill(pid, signal.SIGCONT)
        late.settimeout(10)
        self.assertIn(b" 200 OK\r\n", late.recv(4096))
        self.assertNotIn("EMFILE", self.index.log())

    def test_120_clients_behind_one_address_are_served(self) -> None:
        """Clients behind NAT keep their connections, as long as the descriptors
        suffice for them.
        """
        held = self.hold("127.0.0.1", 120, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for connection in held:
            self.assertIn(b" 200 OK\r\n", connection.recv(4096))
        for connection in held:
            connection.sendall(b"GET /simple/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            self.assertIn(b" 200 OK\r\n", connection.recv(4096))
