"""What stands between everybody and a store, passes all on, and writes down who asked for what."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from tests.live.stores.asking import Store

HEAD: Final = re.compile(
    rb"(GET|HEAD|PUT|POST|DELETE) (/\S*) HTTP/1\.1\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)+)\r\n"
)
"""Of a request, among the bytes of a connection. (The bodies that tests send hold none.)"""


@frozen
class Heard:
    """A request; `headers` by lower-case name."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def agent(self) -> str:
        """Who asked."""
        return self.headers.get("user-agent", "")


@define
class Between:
    """In front of `store`: its `endpoint` is what pypid and clients are told, and what they sign
    for.
    """

    store: Store
    listener: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _said: list[bytearray] = field(factory=list)

    @property
    def endpoint(self) -> str:
        """http, on 127.0.0.1."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def heard(self, path: str = "") -> list[Heard]:
        """The requests whose target has `path` in it, connection by connection."""
        found = [match for said in self._said for match in HEAD.finditer(bytes(said))]
        return [request for match in found if path in (request := _heard(match)).target]

    def serve(self) -> None:
        """Until the listener is closed."""
        address = urlsplit(self.store.endpoint)
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection((address.hostname, address.port))
                said = bytearray()
                self._said.append(said)
                for source, sink, into in (client, server, said), (server, client, None):
                    threading.Thread(target=pass_on, args=(source, sink, into), daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket, into: bytearray | None) -> None:
    """One direction of one connection."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if into is not None:
                into += data
            sink.sendall(data)
    for end in source, sink:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _heard(match: re.Match[bytes]) -> Heard:
    lines = match[3].decode("latin-1").splitlines()
    pairs = (line.partition(":") for line in lines)
    return Heard(
        match[1].decode(),
        match[2].decode(),
        {name.lower(): value.strip() for name, _, value in pairs},
    )


@contextmanager
def between(store: Store) -> Iterator[Between]:
    """One that serves."""
    made = Between(store)
    threading.Thread(target=made.serve, daemon=True).start()
    try:
        yield made
    finally:
        made.listener.close()
