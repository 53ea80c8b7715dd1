"""What passes between the first worker and the others: messages, in bounded queues, and sockets.

Messages between workers: JSON objects, a line each, over the pipes between the first one and
each of the others.

The others reach each other through the first one only. All of it stays within one machine and one
version of pypid, so an unreadable message is a bug of pypid, and the connection ends.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from socket import AF_UNIX, SOCK_STREAM, fromfd
from typing import Any, TypeAlias, cast

from attrs import define, field, frozen
from twisted.internet import unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IPushProducer
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from pypid.core.errors import CannotStart

Message: TypeAlias = Mapping[str, Any]
"""A JSON object. ``kind`` says what it is, and selects its callbacks."""

LONGEST = 65536
"""The longest line in bytes, with its end."""

ENDED = "ended"
"""The kind of the message that a worker (``worker``: its number) has ended, whatever the reason;
another takes its place.
"""


class GarbledMessage(Exception):
    """The received bytes are not a message, or one that is too long."""


def encode(message: Message) -> bytes:
    """Return the line of a message. Raises `ValueError` for one that is too long, or not JSON."""
    try:
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except TypeError as error:
        raise ValueError(str(error)) from None
    if len(line) > LONGEST:
        raise ValueError(
            f"a message to other workers of {len(line)} bytes is longer than {LONGEST}"
        )
    return line


@define
class MessageParser:
    """A parser of received bytes, in whatever pieces, into messages."""

    _rest: bytes = field(default=b"", init=False, repr=False)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with this. Raises `GarbledMessage`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST or any(len(line) >= LONGEST for line in lines):
            raise GarbledMessage(f"a line of more than {LONGEST} bytes")
        return [_decoded(line) for line in lines]


def _decoded(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:  # UnicodeDecodeError included
        raise GarbledMessage("no JSON") from None
    if not isinstance(message, dict):
        raise GarbledMessage("no JSON object")
    return message


@define(eq=False)
class Siblings:
    """All workers, this one included. Without others, only this one receives its messages."""

    _log = Logger()
    send: Callable[[Message], object] | None = field(default=None, repr=False)
    """Sends a message to all other workers; None: there are none."""
    _callbacks: dict[str, list[Callable[[Message], object]]] = field(
        factory=dict, init=False, repr=False
    )

    def connect(self, send: Callable[[Message], object]) -> None:
        """Send messages to all other workers by `send` from now on."""
        self.send = send

    def on(self, kind: str, callback: Callable[[Message], object]) -> None:
        """Register a callback for messages of this kind from any worker, also from this one. It
        runs in the reactor's thread.
        """
        self._callbacks.setdefault(kind, []).append(callback)

    def tell(self, message: Message) -> None:
        """Send a message to all workers, to this one before this returns; workers that are starting
        may miss it.

        `message` has a ``kind``. In the reactor's thread. Raises `ValueError` for one that is too
        long, or not JSON.
        """
        encode(message)
        if self.send is not None:
            self.send(message)
        self.hear(message)

    def hear(self, message: Message) -> None:
        """Call the callbacks of a received message. Their errors are logged."""
        for callback in self._callbacks.get(str(message.get("kind")), ()):
            try:
                callback(message)
            except Exception:
                self._log.failure("a message of another worker could not be handled")


@define(eq=False)
class Acknowledgement:
    """The workers that have confirmed one message; `done` fires after the last of `others`."""

    others: int
    done: Deferred[None]
    _confirmed: set[int] = field(factory=set, init=False)

    def count(self, worker: int) -> None:
        """Note that this worker has confirmed it."""
        self._confirmed.add(worker)
        if len(self._confirmed) >= self.others and not self.done.called:
            self.done.callback(None)


# Outgoing messages, in a bounded queue: a reader that does not read for long is not waited for.

MOST = 1000
"""Messages that wait beyond what the transport takes (64 KiB) and the pipe holds."""


@implementer(IPushProducer)
@define(eq=False)
class Outlet:
    """The sender of messages through `consumer`, a transport. `full` is called in place of a
    message that does not fit.
    """

    consumer: Any
    full: Callable[[], object]
    _waiting: deque[bytes] = field(factory=deque, init=False, repr=False)
    _paused: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.consumer.registerProducer(self, True)

    def send(self, message: Message) -> None:
        """Send a message soon, in the order of the calls. Raises `ValueError` for one that is too
        long, or not JSON.
        """
        line = encode(message)
        if self._over:
            return
        if not self._paused:
            self.consumer.write(line)
        elif len(self._waiting) < MOST:
            self._waiting.append(line)
        else:
            self.full()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            self.consumer.write(self._waiting.popleft())

    def stopProducing(self) -> None:
        """Drop what waits: the reader has gone."""
        self._over = True
        self._waiting.clear()


# Listening sockets that several processes share: how the first worker passes them, and the others
# adopt them.
#
# All accept from the same queue of connections, so a worker that dies takes no connections with it
# that were not accepted yet. (Not so with a socket for each, SO_REUSEPORT.) `connection_balance`
# gives each its share.

BACKLOG = 50
"""Twisted's default backlog."""
_SYSTEMD = re.compile(r"systemd:.*", re.DOTALL)


@frozen
class ListeningSocket:
    """A listening socket. `text` is its endpoint, as configured."""

    text: str
    descriptor: int
    family: int

    @classmethod
    def of(cls, text: str, port: Any) -> ListeningSocket:
        """Return the socket of a port of Twisted's. Raises `CannotStart` for a port without one."""
        try:
            return cls(text, port.fileno(), port.addressFamily)
        except AttributeError:
            advice = "Choose another one, or 1 worker ([server] workers)."
            raise CannotStart(
                f"[server] listen: {text!r} is no socket that workers can share. {advice}"
            ) from None


def endure(port: Any) -> None:
    """Have this port, which Twisted has made, close without shutdown(2), which would end the socket
    for all processes.
    """
    port._shouldShutdown = False


def endpoint_text(text: str) -> str:
    """Return the endpoint's text for `Adopting`: systemd passes its sockets to the first worker
    only.
    """
    return _SYSTEMD.sub("tcp:0", text)


class Adopting:
    """A reactor that listens on the socket `descriptor`, whatever address is given, and otherwise
    is `reactor`.
    """

    def __init__(self, reactor: Any, descriptor: int, family: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = BACKLOG,
        interface: str = "",
        **more: object,
    ) -> IListeningPort:
        """Listen on the adopted socket."""
        return self._adopt(factory, backlog)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,
        backlog: int = BACKLOG,
        interface: str = "",
    ) -> IListeningPort:
        """Listen with TLS on the adopted socket."""
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory), backlog)

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = BACKLOG,
        mode: int = 0o666,
        wantPID: object = 0,
    ) -> IListeningPort:
        """Listen on the adopted socket."""
        return self._adopt(factory, backlog)

    def _adopt(self, factory: IProtocolFactory, backlog: int) -> IListeningPort:
        if self._family != AF_UNIX:
            adopted = self._reactor.adoptStreamPort(self._descriptor, self._family, factory)
            return cast(IListeningPort, adopted)
        port: Any = _AdoptedUnixPort(self._reactor, self._descriptor, factory, backlog)
        port.startListening()
        return cast(IListeningPort, port)


class _AdoptedUnixPort(unix.Port):
    """A port on a Unix socket that listens already. Twisted's own way of adopting one takes no
    `backlog`, with which it calls listen(2) again.
    """

    def __init__(
        self, reactor: Any, descriptor: int, factory: IProtocolFactory, backlog: int
    ) -> None:
        adopted = fromfd(descriptor, AF_UNIX, SOCK_STREAM)
        super().__init__(adopted.getsockname(), factory, backlog, reactor=reactor)
        self._preexistingSocket = adopted
        # else it sets the file's mode, and removes it at the end
        self._bindPath = b"\0" + self._bindPath
