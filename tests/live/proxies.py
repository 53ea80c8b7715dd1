"""Proxies between a client and pypid that do what networks do: cut, and slow down."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from attrs import define, field

PIECE: Final = 16 << 10


@define
class CuttingProxy:
    """Passes everything on, but once cuts the connection that brings more than `after` bytes of
    answers.
    """

    target: int
    after: int
    listener: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    cuts: int = 0
    seen: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink, answers in (client, server, False), (server, client, True):
                    threading.Thread(
                        target=self.pass_on, args=(source, sink, answers), daemon=True
                    ).start()

    def pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        """One direction of one connection."""
        with suppress(OSError):
            while data := source.recv(PIECE):
                if answers and self.cut_now(len(data)):
                    break
                sink.sendall(data)
        for end in source, sink:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_now(self, size: int) -> bool:
        """Whether these bytes are the ones that do not arrive."""
        with self.lock:
            self.seen += size
            if self.cuts or self.seen <= self.after:
                return False
            self.cuts += 1
            return True


@contextmanager
def cutting(target: int, after: int) -> Iterator[CuttingProxy]:
    """A `CuttingProxy` in front of that port of 127.0.0.1."""
    proxy = CuttingProxy(target, after)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.listener.close()
