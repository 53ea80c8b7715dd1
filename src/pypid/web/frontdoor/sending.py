"""Bytes on their way out: straight into the socket where that is possible, and into the transport where it is not.

`transport.write` alone appends, asks epoll for a turn, comes back, sends, and tells epoll that it is done: half of the time
that a finished answer takes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

_TWISTED = ("_tempDataBuffer", "dataBuffer", "socket")
"""The names of `tcp.Connection` that this module lives on; where one is missing `transport.write` does it all."""


def goes_direct(transport: Any) -> bool:
    """Whether `send_direct` may be used: a plain socket of a Twisted that we know."""
    if not isinstance(transport, Connection) or ISSLTransport.providedBy(transport):
        return False
    return all(hasattr(transport, name) for name in _TWISTED)


def send_direct(transport: Any, head: bytes, body: bytes) -> None:
    """Send both, now; what the kernel does not take goes the transport's way."""
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(head)
        if body:
            transport.write(body)
        return
    try:
        sent = transport.socket.sendmsg((head, body)) if body else transport.socket.send(head)
    except OSError:  # it is full; or the connection is lost, which the transport finds out
        sent = 0
    if sent < len(head):
        transport.write(head[sent:])
        sent = len(head)
    if sent < len(head) + len(body):
        transport.write(body[sent - len(head) :])
