"""A service that says who people are, as a process of its own: honest, but for some users.

    python -m tests.live.peopleservice HOST PORT [CHAIN KEY]

With a certificate's chain and key it speaks TLS. A user named like one of `FAULTS` causes that
fault. ``GET /asked`` tells what was asked since the last time: a list of [path, user, connection].
"""

import base64
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

TYPE: Final = "application/vnd.pypid.people.v1+json"
LOGIN: Final = ("pypid", "sésame: öffne dich")
PEOPLE: Final[dict[str, dict[str, Any]]] = {
    "alice": {"password": "wonder land", "groups": ["team"], "admin": False},
    "Bob": {"password": "pa:ss:wörd", "groups": ["crew"], "admin": False},
    "root": {"password": "toor of all", "groups": ["team"], "admin": True},
}


class Service(BaseHTTPRequestHandler):
    """Answers one connection after the other's questions."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    asked: Final[list[tuple[str, str, int]]] = []
    seen: Final[set[str]] = set()
    lock: Final = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """``/asked``."""
        with self.lock:
            document = json.dumps(self.asked).encode()
            self.asked.clear()
        self.answer(document)

    def do_POST(self) -> None:
        """A question."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = question["user"]
        with self.lock:
            self.asked.append((self.path, user, self.client_address[1]))
        pair = base64.b64encode(":".join(LOGIN).encode()).decode()
        if self.headers.get("Authorization") != f"Basic {pair}":
            self.answer(
                b"who are you?",
                401,
                WWW_Authenticate='Basic realm="people"',
                Content_Type="text/plain",
            )
        elif user in FAULTS:
            FAULTS[user](self)
        else:
            self.answer(self.truth(question))

    def truth(self, question: dict[str, str]) -> bytes:
        """What is so."""
        user, check = question["user"], self.path.endswith("/check")
        person = PEOPLE.get(user)
        if person is None:
            return b'{"answer": "unknown"}'
        if check and question["password"] != person["password"]:
            return b'{"answer": "wrong"}'
        return self.granted(user, check, person["groups"], person["admin"])

    def granted(
        self, user: str, check: bool = True, groups: object = (), admin: object = False
    ) -> bytes:
        """That this is the user."""
        word = "right" if check else "known"
        return json.dumps({"answer": word, "user": user, "groups": groups, "admin": admin}).encode()

    def yes(self) -> bytes:
        """An answer that would let such a user in."""
        return self.granted("", True, ["team"], True)

    def answer(self, document: bytes, status: int = 200, **headers: str) -> None:
        """A whole answer; all headers can be lied about."""
        self.send_response(status)
        for name, value in {
            "Content_Type": TYPE,
            "Content_Length": str(len(document)),
            **headers,
        }.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(document)

    # --- faults ---

    def reset(self) -> None:
        """End the connection as a crash does, in the middle of an answer's head."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def torn(self) -> None:
        """Half of what was promised."""
        self.answer(b'{"answer": "wrong"', Content_Length="1000")
        self.close_connection = True

    def cut(self) -> None:
        """Half an answer, without a Content-Length."""
        self.answer(b'{"answer": "right", "user": "cut"', Content_Length="", Connection="close")
        self.close_connection = True

    def trickle(self, head: bool) -> None:
        """A little, for ever."""
        if not head:
            self.answer(b"", Content_Length="60000")
        for _ in range(600):
            self.wfile.write(b"X-More: x\r\n" if head else b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def without_end(self) -> None:
        """As much as the other side takes."""
        self.answer(b"", Transfer_Encoding="chunked", Content_Length="")
        while True:
            self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    def once(self) -> None:
        """The first time nothing, then the truth."""
        with self.lock:
            first = self.path not in self.seen
            self.seen.add(self.path)
        if first:
            self.close_connection = True
        else:
            self.answer(self.granted("fails-once", self.path.endswith("/check")))


FAULTS: Final[dict[str, Callable[[Service], object]]] = {
    "slow": lambda it: (time.sleep(0.3), it.answer(it.granted("slow", it.path.endswith("/check")))),
    "fails-once": Service.once,
    "silent": lambda it: time.sleep(30),
    "trickling-head": lambda it: it.trickle(True),
    "trickling": lambda it: it.trickle(False),
    "reset": Service.reset,
    "torn": Service.torn,
    "cut": Service.cut,
    "huge": lambda it: it.answer(it.granted("huge", True, ["g" * 200] * 900)),
    "endless": Service.without_end,
    "no-http": lambda it: it.wfile.write(b"220 mail.example ESMTP\r\n" * 10),
    "no-json": lambda it: it.answer(b"<html>right</html>"),
    "binary": lambda it: it.answer(bytes(range(256))),
    "deep": lambda it: it.answer(b"[" * 50_000),
    "empty": lambda it: it.answer(b""),
    "packed": lambda it: it.answer(b"\x1f\x8b\x08\x00", Content_Encoding="gzip"),
    "html": lambda it: it.answer(it.yes(), Content_Type="text/html"),
    "no-type": lambda it: it.answer(it.yes(), Content_Type=""),
    "plain-json": lambda it: it.answer(it.yes(), Content_Type="application/json"),
    "v2": lambda it: it.answer(it.yes(), Content_Type=TYPE.replace("v1", "v2")),
    "somebody-else": lambda it: it.answer(it.granted("root", True, [], True)),
    "typo": lambda it: it.answer(b'{"answer": "right", "user": "typo", "admn": true}'),
    "text-for-truth": lambda it: it.answer(it.granted("text-for-truth", True, [], "false")),
    "moved": lambda it: it.answer(b"", 307, Location="/elsewhere"),
    **{
        f"s{status}": lambda it, status=status: it.answer(it.yes(), status)
        for status in (201, 400, 401, 403, 404, 429, 500, 503)
    },
}
"""By the name of the user who meets it."""


class Server(ThreadingHTTPServer):
    """Each connection has a thread, TLS included."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__((host, port), Service)
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """One connection."""
        if self._tls is not None:
            request = self._tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that end connections are meant to."""


def main() -> None:
    """Serve until the process is ended."""
    host, port, *files = sys.argv[1:]
    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
    Server(host, int(port), tls).serve_forever()


if __name__ == "__main__":
    main()
