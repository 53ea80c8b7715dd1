"""Sockets that several processes listen on: each takes one connection at a time, and none closes them for the others.

All wait for the same queue. Whoever has nothing to do is first to take the next connection, and a process with much to do comes
round less often: so they share them by themselves. Twisted takes a hundred at a time, which with a burst of connections gives
all of them to one process. (A socket for each, SO_REUSEPORT, would not do: those in the queue of a process that dies are lost.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from socket import AF_UNIX
from typing import Any

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from pypid.core.errors import CannotStart

BACKLOG = 50
"""What Twisted says where an endpoint says nothing."""
_SYSTEMD = re.compile(r"systemd:.*", re.DOTALL)


@frozen
class Socket:
    """One that listens. `text` is its endpoint, as configured."""

    text: str
    descriptor: int
    family: int

    @classmethod
    def of(cls, text: str, port: Any) -> Socket:
        """The socket of a port of Twisted's. Raises `CannotStart` for what is none."""
        try:
            return cls(text, port.fileno(), port.addressFamily)
        except AttributeError:
            advice = "Choose another one, or 1 worker ([server] workers)."
            raise CannotStart(f"[server] listen: {text!r} is no socket that workers can share. {advice}") from None


class _Tcp(tcp.Port):
    """Takes one connection at a time."""

    def doRead(self) -> None:
        self.numberAccepts = 1
        super().doRead()  # type: ignore[no-untyped-call]


class _Unix(unix.Port):
    """The same, and leaves the socket's file alone: that is the first worker's."""

    def doRead(self) -> None:
        self.numberAccepts = 1
        super().doRead()  # type: ignore[no-untyped-call]


def share(port: Any) -> IListeningPort:
    """Have this port, which Twisted has made, take one connection at a time, and when it closes go on for the others."""
    port._shouldShutdown = False  # shutdown(2) ends the socket for everybody who has it
    read: Callable[[], object] = port.doRead

    def fairly() -> object:
        port.numberAccepts = 1
        return read()

    port.doRead = fairly
    return port  # type: ignore[no-any-return]


def endpoint_text(text: str) -> str:
    """The endpoint's text for `Adopting`: what systemd gives, it gives to the first worker only."""
    return _SYSTEMD.sub("tcp:0", text)


class Adopting:
    """A reactor that listens on the socket `descriptor`, whatever it is asked to listen on, and else is `reactor`."""

    def __init__(self, reactor: Any, descriptor: int, family: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = BACKLOG, interface: str = "", **more: object
    ) -> IListeningPort:
        """As the reactor's."""
        return self._adopt(factory, backlog)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """As the reactor's."""
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory), backlog)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = BACKLOG, mode: int = 0o666, wantPID: object = 0
    ) -> IListeningPort:
        """As the reactor's."""
        return self._adopt(factory, backlog)

    def _adopt(self, factory: IProtocolFactory, backlog: int) -> IListeningPort:
        port: Any
        if self._family == AF_UNIX:
            port = _Unix._fromListeningDescriptor(self._reactor, self._descriptor, factory)  # type: ignore[no-untyped-call]
            port.backlog = backlog  # it says listen(2) once more
            port._bindPath = b"\0" + port._bindPath  # else it sets the file's mode, and removes the file at its end
        else:
            port = _Tcp._fromListeningDescriptor(  # type: ignore[no-untyped-call]
                self._reactor, self._descriptor, self._family, factory
            )
        port.startListening()
        return port  # type: ignore[no-any-return]
