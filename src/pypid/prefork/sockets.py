"""Listening sockets that several processes share: how the first worker passes them, and the others
adopt them.

All accept from the same queue of connections, so a worker that dies takes no connections with it
that were not accepted yet. (Not so with a socket for each, SO_REUSEPORT.) `connection_balance`
gives each its share.
"""

from __future__ import annotations

import re
from socket import AF_UNIX, SOCK_STREAM, fromfd
from typing import Any, cast

from attrs import frozen
from twisted.internet import unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from pypid.core.errors import CannotStart

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
