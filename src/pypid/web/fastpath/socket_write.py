"""Writes of bytes: straight into the socket if possible, else into the transport.

`transport.write` alone appends, asks epoll for a turn, comes back, sends, and notifies epoll that
it is done: half of the time that a cached response takes. If a private name of Twisted's is
missing, `transport.write` does it all.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

_OF_SOCKETS = ("_tempDataBuffer", "dataBuffer", "socket")

Send = Callable[[Any, bytes], None]

LARGE = 1 << 16
"""Bytes of a body from which it is sent quicker from a file than from memory: nothing is copied
into the kernel.
"""
MOST_PAGES = 64


class MemoryFile:
    """A body as a file that exists only in memory."""

    there: ClassVar[int] = 0
    """The number of existing ones."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        MemoryFile.there += 1

    def __del__(self) -> None:
        MemoryFile.there -= 1
        os.close(self.descriptor)


def pages_of(body: bytes) -> MemoryFile | None:
    """Return the body as a file; None if such files are unavailable, or there are too many
    already.
    """
    if (
        MemoryFile.there >= MOST_PAGES
        or not hasattr(os, "memfd_create")
        or not hasattr(os, "sendfile")
    ):
        return None
    try:
        pages = MemoryFile(os.memfd_create("page"), len(body))
        return pages if os.pwrite(pages.descriptor, body, 0) == len(body) else None
    except OSError:
        return None


def send_pages(transport: Any, head: bytes, pages: MemoryFile) -> int:
    """Send what can be sent at once of the head and a body in a memory file, and have the transport
    send the rest of the head; return how many bytes of the body were sent.
    """
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(head)
        return 0
    try:
        taken = transport.socket.send(head, socket.MSG_MORE)
    except OSError:  # full; or the connection is lost, which the transport finds out
        taken = 0
    if taken < len(head):
        transport.write(head[taken:])
        return 0
    try:
        return os.sendfile(transport.fileno(), pages.descriptor, 0, pages.size)
    except OSError:  # any error will recur when the rest is sent
        return 0


def goes_direct(transport: Any) -> bool:
    """Return whether it is a plain socket of a known Twisted version, so that data may bypass the
    transport.
    """
    return (
        isinstance(transport, Connection)
        and not ISSLTransport.providedBy(transport)
        and _has(transport, _OF_SOCKETS)
    )


def way_of(transport: Any) -> Send:
    """Return the function that sends short data by this transport."""
    if goes_direct(transport):
        return _send
    at_once: Send | None = getattr(
        type(transport), "send_at_once", None
    )  # of `pypid.web.fastpath.tls_wire.TlsWire`
    return _write if at_once is None else at_once


def send_direct(transport: Any, head: bytes, body: bytes) -> int:
    """Send what can be sent at once, and have the transport send the rest of the head; return how
    many bytes of the body were sent.
    """
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(head)
        return 0
    try:
        sent: int = transport.socket.sendmsg((head, body))
    except OSError:  # full; or the connection is lost, which the transport finds out
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
    except OSError:  # full; or the connection is lost, which the transport finds out
        sent = 0
    if sent < len(data):
        transport.write(data[sent:])
