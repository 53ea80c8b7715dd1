"""Sockets that several processes listen on: how the first worker gives them away, and the others
take them.

All wait for the same queue of connections, so one that dies takes none of those with it that nobody
has accepted yet. (Not so with a socket for each, SO_REUSEPORT.) `scales` sees to it that each gets
its share.
"""

from __future__ import annotations

import re
from socket import AF_UNIX
from typing import Any

from attrs import frozen
from twisted.internet import unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from pypid.core.errors import CannotStart

BACKLOG = 50
"""What Twisted says where an endpoint says nothing."""
_SYSTEMD = re.compile(r"systemd:.*", re.DOTALL)


@frozen
class ListeningSocket:
    """One that listens. `text` is its endpoint, as configured."""

    text: str
    descriptor: int
    family: int

    @classmethod
    def of(cls, text: str, port: Any) -> ListeningSocket:
        """The socket of a port of Twisted's. Raises `CannotStart` for what is none."""
        try:
            return cls(text, port.fileno(), port.addressFamily)
        except AttributeError:
            advice = "Choose another one, or 1 worker ([server] workers)."
            raise CannotStart(
                f"[server] listen: {text!r} is no socket that workers can share. {advice}"
            ) from None


def endure(port: Any) -> None:
    """Have this port, which Twisted has made, close without ending the socket for everybody who has
    it: no shutdown(2).
    """
    port._shouldShutdown = False


def endpoint_text(text: str) -> str:
    """The endpoint's text for `Adopting`: what systemd gives, it gives to the first worker only."""
    return _SYSTEMD.sub("tcp:0", text)


class Adopting:
    """A reactor that listens on the socket `descriptor`, whatever it is asked to listen on, and
    else is `reactor`.
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
        """As the reactor's."""
        return self._adopt(factory, backlog)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,
        backlog: int = BACKLOG,
        interface: str = "",
    ) -> IListeningPort:
        """As the reactor's."""
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory), backlog)

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = BACKLOG,
        mode: int = 0o666,
        wantPID: object = 0,
    ) -> IListeningPort:
        """As the reactor's."""
        return self._adopt(factory, backlog)

    def _adopt(self, factory: IProtocolFactory, backlog: int) -> IListeningPort:
        if self._family != AF_UNIX:
            return self._reactor.adoptStreamPort(self._descriptor, self._family, factory)  # type: ignore[no-any-return]
        port: Any = unix.Port._fromListeningDescriptor(self._reactor, self._descriptor, factory)  # type: ignore[no-untyped-call]
        port.backlog = backlog  # it says listen(2) once more
        port._bindPath = (
            b"\0" + port._bindPath
        )  # else it sets the file's mode, and removes it at the end
        port.startListening()
        return port  # type: ignore[no-any-return]
