"""A running pypid, asked over its socket; an answer that comes in lines."""

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.daemon.control import (
    LINES,
    Control,
    ControlRefused,
    ControlRequest,
    _last,
    _Lines,
    account,
)

EVENTS: list[dict[str, Any]] = [
    {"event": "resolving", "text": "\u00e4\n"},
    {"event": "file", "n": 1},
    {"event": "result", "cached": ["x"]},
]


class LinesTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.integers(0, 120), max_size=8))
    def test_any_pieces(self, cuts: list[int]) -> None:
        """However the bytes are cut, each line is heard once, and the last is the answer."""
        data = b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS)
        told: list[Any] = []
        lines = _Lines(told.append)
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        for start, stop in pairwise(places):
            lines.feed(data[start:stop])
        self.assertEqual(told, [{"text": "\u00e4\n"}, {"n": 1}])
        self.assertEqual(_last(lines.last), {"cached": ["x"]})

    def test_ends(self) -> None:
        """An error in place of the answer is refused with its text, and so is an answer that breaks
        off.
        """
        lines = _Lines(lambda event: None)
        lines.feed(b'{"event":"file"}\n{"event":"error","error":true,"message":"no uv"}\n')
        self.assertEqual(str(self.assertRaises(ControlRefused, _last, lines.last)), "no uv")
        lines = _Lines(lambda event: None)
        lines.feed(b'{"event":"file"}\n{"event":"resu')
        self.assertIn(
            "ended before it answered", str(self.assertRaises(ControlRefused, _last, lines.last))
        )


class Talking(BaseHTTPRequestHandler):
    """A daemon with little to say."""

    protocol_version = "HTTP/1.1"
    said: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        """Well; or nothing at all; or half an answer; or none for a long time; or lines."""
        self.said.append((self.path, self.headers["Authorization"], self.headers["Accept"]))
        if self.path == "/nothing":
            self.close_connection = True
            return
        if self.path == "/long":
            self.rfile.read(1)
            return
        body = (
            b'{"event":"file"}\n{"event":"result","n":2}\n'
            if self.path == "/lines"
            else b'{"tokens":[]}'
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (self.path == "/half")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_POST(self) -> None:
        """Refuse what is large before it was sent."""
        self.send_response(413)
        self.send_header("Content-Length", "22")
        self.end_headers()
        self.wfile.write(b'{"message":"too much"}')
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


class ControlTests(SynchronousTestCase):
    """Over a real socket."""

    def setUp(self) -> None:
        made = TemporaryDirectory()  # its path is short: there is a socket in it
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.path = self.folder / "control.sock"
        self.server = ThreadingUnixStreamServer(str(self.path), Talking)
        self.server.daemon_threads = True
        self.addCleanup(self.server.server_close)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)
        Talking.said.clear()

    def refused(self, question: ControlRequest, control: Control | None = None) -> str:
        """Why there is no answer."""
        return str(
            self.assertRaises(ControlRefused, (control or Control(self.path)).answer, question)
        )

    def test_answers(self) -> None:
        """The answer, decoded; of one in lines the last, and the others are told; the daemon learns
        which account asks.
        """
        control = Control(self.path)
        self.assertEqual(control.answers(ControlRequest("GET", "/api")), {"tokens": []})
        told: list[Any] = []
        self.assertEqual(
            control.answers(ControlRequest("GET", "/lines", tell=told.append)), {"n": 2}
        )
        self.assertEqual(told, [{}])
        credentials = "Basic " + b64encode(f"operator/{account()}:-".encode()).decode()
        self.assertEqual({said[1] for said in Talking.said}, {credentials})
        self.assertEqual(
            [said[::2] for said in Talking.said][1::2],
            [("/api", "application/json"), ("/lines", LINES)],
        )

    def test_ends(self) -> None:
        """A daemon that ends in the middle of its answer, or before it, may have done what was
        asked: that is said.
        """
        for path in "/nothing", "/half":
            self.assertIn("ended before it answered", self.refused(ControlRequest("GET", path)))

    def test_too_much(self) -> None:
        """The answer of a daemon that does not read what it will not take is heard."""
        self.assertEqual(
            self.refused(ControlRequest("POST", "/api/acl", {"x": "x" * 10_000_000})), "too much"
        )

    def test_left(self) -> None:
        """Who waits for an answer that is not wanted any more stops to wait; and so does who begins
        to.
        """
        control = Control(self.path)
        begun = threading.Timer(0.3, control.leave)
        begun.start()
        self.addCleanup(begun.join)
        self.assertIn(
            "ended before it answered", self.refused(ControlRequest("GET", "/long"), control)
        )
        self.assertIn("does not answer", self.refused(ControlRequest("GET", "/api"), control))
