"""Writes of bytes: straight into the socket if possible, else into the transport.

`transport.write` alone appends, registers with epoll, sends in a later turn, and unregisters: half
of the time that a cached response takes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakSet

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection

from pypid.web.http.response_body import OpenFile

NAMES = ("_tempDataBuffer", "dataBuffer", "socket")
"""The names of a `tcp.Connection` that this module needs."""

Send = Callable[[Any, bytes], None]

LARGE = 1 << 16
"""Bytes of a body from which it is sent quicker from a file than from memory: nothing is copied
into the kernel.
"""
MOST_PAGES = 64


class MemoryFile(OpenFile):
    """A body as a file that exists only in memory."""

    __slots__ = ("__weakref__",)
    in_memory = True
    existing: ClassVar[WeakSet[MemoryFile]] = WeakSet()

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor, size)
        self.existing.add(self)


def memory_file(body: bytes) -> MemoryFile | None:
    """Return the body as a file; None if such files are unavailable, or there are too many
    already.
    """
    if (
        len(MemoryFile.existing) >= MOST_PAGES
        or not hasattr(os, "memfd_create")
        or not hasattr(os, "sendfile")
    ):
        return None
    try:
        with open(os.memfd_create("page"), "wb", buffering=0) as memory:
            is_whole = memory.write(body) == len(body)
            return MemoryFile(memory.fileno(), len(body)) if is_whole else None
    except OSError:
        return None


def is_clear(transport: Any) -> bool:
    """Return whether the transport has nothing to send, so that data may bypass it."""
    return not (transport._tempDataBuffer or transport.dataBuffer)


def send_with_file(transport: Any, head: bytes, descriptor: int, most: int) -> int:
    """Send what can be sent at once of the head and the first `most` bytes of a file, and have the
    transport send the rest of the head; return how many bytes of the file were sent.
    """
    if not is_clear(transport):
        transport.write(head)
        return 0
    try:
        taken = transport.socket.send(head, getattr(socket, "MSG_MORE", 0))
    except OSError:  # full; or the connection is lost, which the transport finds out
        taken = 0
    if taken < len(head):
        transport.write(head[taken:])
        return 0
    try:
        return os.sendfile(transport.fileno(), descriptor, 0, most)
    except OSError:  # any error will recur when the rest is sent
        return 0


def goes_direct(transport: Any) -> bool:
    """Return whether it is a plain socket, so that data may bypass the transport."""
    return isinstance(transport, Connection) and not ISSLTransport.providedBy(transport)


def send_function(transport: Any) -> Send:
    """Return the function that sends short data by this transport."""
    if goes_direct(transport):
        return _send
    at_once: Send | None = getattr(
        type(transport), "send_at_once", None
    )  # of `web.fastpath.os.tls_wire.TlsWire`
    return _write if at_once is None else at_once


def send_direct(transport: Any, head: bytes, body: bytes) -> int:
    """Send what can be sent at once, and have the transport send the rest of the head; return how
    many bytes of the body were sent.
    """
    if not is_clear(transport):
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
