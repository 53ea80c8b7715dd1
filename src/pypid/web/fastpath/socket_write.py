"""Bytes on their way out: straight into the socket where that is possible, and into the transport
where it is not.

`transport.write` alone appends, asks epoll for a turn, comes back, sends, and tells epoll that it
is done: half of the time that a finished answer takes. Where a private name of Twisted's is missing
`transport.write` does it all.
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
"""Bytes of a body from which on it is sent quicker from a file than from memory: nothing is copied
into the kernel.
"""
MOST_PAGES = 64


class MemoryFile:
    """A body as a file that is nowhere but in memory."""

    there: ClassVar[int] = 0
    """How many there are."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        MemoryFile.there += 1

    def __del__(self) -> None:
        MemoryFile.there -= 1
        os.close(self.descriptor)


def pages_of(body: bytes) -> MemoryFile | None:
    """The body as a file; None where such files are not to be had, or are too many already."""
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
    """As `send_direct`, of a body that lies in a file."""
    if transport._tempDataBuffer or transport.dataBuffer:
        transport.write(head)
        return 0
    try:
        taken = transport.socket.send(head, socket.MSG_MORE)
    except OSError:  # it is full; or the connection is lost, which the transport finds out
        taken = 0
    if taken < len(head):
        transport.write(head[taken:])
        return 0
    try:
        return os.sendfile(transport.fileno(), pages.descriptor, 0, pages.size)
    except OSError:  # whoever sends the rest finds it out
        return 0


def goes_direct(transport: Any) -> bool:
    """Whether it is a plain socket of a Twisted that we know, so that what is to be sent may go
    past it.
    """
    return (
        isinstance(transport, Connection)
        and not ISSLTransport.providedBy(transport)
        and _has(transport, _OF_SOCKETS)
    )


def way_of(transport: Any) -> Send:
    """How to send something small by this transport."""
    if goes_direct(transport):
        return _send
    at_once: Send | None = getattr(
        type(transport), "send_at_once", None
    )  # of `pypid.web.fastpath.tls_wire.Wire`
    return _write if at_once is None else at_once


def send_direct(transport: Any, head: bytes, body: bytes) -> int:
    """Send what can be sent at once, and have the transport send the rest of the head; how much of
    the body went out.
    """
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
