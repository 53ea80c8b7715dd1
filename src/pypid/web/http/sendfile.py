"""Sending of files by the kernel: ``sendfile(2)`` from the file's pages to the socket, without a
copy in user space.

500 MB to one client cost three copies of each byte when they went through
`pypid.web.http.response_body`, and half of nginx's speed. TLS needs the bytes in user space, and so
does a storage that is not a folder: these are still streamed.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.tcp import Connection
from twisted.web.http import Request

from pypid.core.model import Span
from pypid.flow import FileBody
from pypid.web.http.response_body import Producer, abort, gone, producing, stream_body, write
from pypid.web.http.twisted_internals import flush

WINDOW = 1 << 21
"""Bytes that one connection sends before the others have their turn (as in nginx:
sendfile_max_chunk).
"""

_NOT_FROM_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""Errors of ``sendfile`` where a file system, or a kernel, does not support it."""


def socket_of(request: Request) -> Connection | None:
    """Return the plain stream socket (TCP or unix) of the response; None if it is not one, or the
    client has disconnected.
    """
    transport = None if request.channel is None else request.channel.transport
    # a class, not an interface: wrappers of a transport claim its interfaces, and TLS claims those
    # of its transport
    if (
        isinstance(transport, Connection)
        and not ISSLTransport.providedBy(transport)
        and hasattr(os, "sendfile")
    ):
        return transport
    return None


async def warm(body: FileBody) -> None:
    """Read the beginning of `body` into memory, while a failure can still be answered; raises what
    `send` would raise.
    """
    await body.have_at_hand(body.span.start, _window(body, body.span.start))


async def send(request: Request, body: FileBody, socket: Connection) -> None:
    """Write `body` as the response's body, to the `socket_of` the request. The caller closes the
    body.

    A file that cannot be read, or ended early (`EOFError`), closes the connection at once, so that
    what was sent cannot be taken for the whole; a client that disconnects raises `CancelledError`.
    """
    write(request, b"")  # the head
    await proceed(request, body, socket)


async def proceed(request: Request, body: FileBody, socket: Connection) -> None:
    """Write `body` like `send`, after the head has been written."""
    async with producing(request) as producer:
        reached = await _send_all(producer, body, socket)
    if reached < body.span.stop:
        left = FileBody(body.file, Span(reached, body.span.stop), body.blocking)
        await stream_body(request, b"", aiter(left), body.span.stop - reached)


async def _send_all(producer: Producer, body: FileBody, socket: Connection) -> int:
    """Return the position that was reached: before the end only if the client has disconnected, or
    the kernel cannot send this file.
    """
    position = body.span.start
    at_once = flush(socket)
    while position < body.span.stop and not producer.stopped:
        most = _window(body, position)
        await body.have_at_hand(position, most)
        if not at_once:
            await _writable(producer, socket)
        at_once = False
        if producer.stopped:
            break
        try:
            sent = os.sendfile(socket.fileno(), body.file.fileno(), position, most)
        except BlockingIOError:
            continue
        except ConnectionError:  # the transport finds out when it reads; do not wait for that
            abort(producer.request)
            await gone(producer.request)
        except OSError as error:
            if error.errno in _NOT_FROM_HERE:
                break
            raise
        if not sent:
            raise EOFError("the file is shorter than it was")
        position += sent
        producer.count(sent)
    return position


def _window(body: FileBody, position: int) -> int:
    return min(WINDOW, body.span.stop - position)


async def _writable(producer: Producer, socket: Connection) -> None:
    """Wait until the kernel has all that was written before, which `sendfile` must not overtake,
    and has space for more.

    This always takes a turn of the reactor, so that other connections are served. It pauses the
    channel as the transport does when its own buffer is full; the transport resumes the channel,
    and that the producer, when the buffer is empty and the socket writable.
    """
    if producer.stopped:
        return
    pause_until_writable(socket, producer.request.channel)
    await producer.room()


def pause_until_writable(socket: Connection, channel: Any) -> None:
    """Pause the channel; the transport resumes it when its buffer is empty and the socket
    writable.
    """
    socket.producerPaused = True  # as the transport itself does when its buffer is full
    channel.pauseProducing()
    socket.startWriting()  # type: ignore[no-untyped-call]
