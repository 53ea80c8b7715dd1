"""Bytes on their way out: straight into the socket where that is possible, and into the transport where it is not.

`transport.write` alone appends, asks epoll for a turn, comes back, sends, and tells epoll that it is done: half of the time
that a finished answer takes. Where a private name of Twisted's is missing `transport.write` does it all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

_OF_SOCKETS = ("_tempDataBuffer", "dataBuffer", "socket")

Send = Callable[[Any, bytes], None]


def goes_direct(transport: Any) -> bool:
    """Whether it is a plain socket of a Twisted that we know, so that what is to be sent may go past it."""
    return isinstance(transport, Connection) and not ISSLTransport.providedBy(transport) and _has(transport, _OF_SOCKETS)


def way_of(transport: Any) -> Send:
    """How to send something small by this transport."""
    if goes_direct(transport):
        return _send
    at_once: Send | None = getattr(type(transport), "send_at_once", None)  # of `pypid.web.frontdoor.tlswire.Wire`
    return _write if at_once is None else at_once


def send_direct(transport: Any, head: bytes, body: bytes) -> int:
    """Send what can be sent at once, and have the transport send the rest of the head; how much of the body went out."""
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(head)
        return 0
    try:
        sent: int = transport.socket.sendmsg((head, body))
    except OSError:  # it is full; or the connection is lost, which the transport finds out
        sent = 0
    if sent < len(head):
        transport.write(head[sent:])
        return 0
    return sent - len(head)


def _has(transport: Any, names: tuple[str, ...]) -> bool:
    return all(hasattr(transport, name) for name in names)


def _write(transport: Any, data: bytes) -> None:
    transport.write(data)


def _send(transport: Any, data: bytes) -> None:
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:  # it is full; or the connection is lost, which the transport finds out
        sent = 0
    if sent < len(data):
        transport.write(data[sent:])
