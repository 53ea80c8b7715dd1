"""Bodies of responses: streams, and files sent by the kernel.

Streaming of a body into a response at the pace of the client.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, NoReturn, cast

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ISSLTransport
from twisted.internet.tcp import Connection
from twisted.web.http import Request
from zope.interface import implementer

from pypid.core.model import Span
from pypid.flow import Blocking, FileBody
from pypid.flow.bodies import PIECE, at_hand
from pypid.web.http.twisted_internals import flush

PATIENCE = 120.0
"""Seconds between two checks of a client; one that took no piece meanwhile is disconnected (nginx:
send_timeout, 60).
"""


class WrongLength(Exception):
    """A body that ended before, or went on after, the length that was announced."""


def abort(request: Request) -> None:
    """Close the connection at once, so that what was sent cannot be taken for the whole."""
    transport = None if request.channel is None else request.channel.transport
    if transport is not None:
        # both TCP and TLS have it, ITransport does not
        transport.abortConnection()  # type: ignore[attr-defined]


def write(request: Request, data: bytes) -> None:
    """Write a part of the response's body; the head goes first."""
    request.write(data)  # type: ignore[no-untyped-call]  # Twisted's Request is not annotated


def let_pieces_through(request: Request) -> None:
    """Let the transport send a whole piece in one go; its own limit, 128 KiB, costs a turn of the
    reactor and a copy of the rest.
    """
    transport = None if request.channel is None else request.channel.transport
    while (below := getattr(transport, "transport", None)) is not None:  # TLS runs over TCP
        transport = below
    if getattr(transport, "SEND_LIMIT", PIECE) < PIECE:
        # of `twisted.internet.abstract.FileDescriptor`, which reads it from the instance
        transport.SEND_LIMIT = PIECE  # type: ignore[union-attr]


async def gone(request: Request) -> NoReturn:
    """Wait until the connection is lost, then raise `CancelledError`.

    For a response that was broken off: the caller that renders the request must not finish it, and
    would do so on return.
    """
    if request.channel is not None:  # else it was lost before, and notifyFinish would never fire
        try:
            await request.notifyFinish()
        except Exception:
            raise CancelledError() from None
    raise CancelledError()


async def stream_body(
    request: Request, first: bytes, rest: AsyncIterator[bytes], size: int
) -> None:
    """Write `first` and then `rest`, together `size` bytes, as the response's body. The caller
    closes the body.

    In memory are the piece being sent and the next one. A body that fails, or is not of `size`
    bytes, closes the connection at once and raises what happened (`WrongLength`); a client that
    disconnects raises `CancelledError`.
    """
    let_pieces_through(request)
    async with producing(request) as producer:
        await _write_all(producer, first, rest, size)


@asynccontextmanager
async def producing(request: Request) -> AsyncIterator[Producer]:
    """Context manager that provides the `Producer` of the response's body: at the client's pace,
    and watched.

    An exception inside closes the connection at once; a client that disconnects raises
    `CancelledError` at the end.
    """
    producer = Producer(request)
    request.registerProducer(producer, True)  # type: ignore[no-untyped-call]
    try:
        producer.watch()
        yield producer
    except Exception:
        abort(request)
        raise
    finally:
        producer.close()
    if producer.stopped:
        await gone(request)


async def _write_all(
    producer: Producer, first: bytes, rest: AsyncIterator[bytes], size: int
) -> None:
    piece: bytes | None = first
    while piece is not None and not producer.stopped:
        if producer.sent + len(piece) > size:
            raise WrongLength(f"the body has more than the {size} bytes that were announced")
        producer.write(piece)
        # fetched while the client takes what was written
        piece = await anext(rest, None)
        await producer.room()
    if not producer.stopped and producer.sent != size:
        raise WrongLength(f"the body ended after {producer.sent} of {size} bytes")


@implementer(IPushProducer)
@define(eq=False)
class Producer:
    """Push producer of a response: the channel pauses it while its buffer is full, and stops it
    when the client disconnects.
    """

    request: Request
    sent: int = 0
    stopped: bool = False
    _paused: bool = False
    _waiting: Deferred[None] | None = None
    _sent_then: int = -1
    _watch: IDelayedCall | None = field(default=None, repr=False)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True
        self.resumeProducing()

    def write(self, piece: bytes) -> None:
        self.sent += len(piece)
        write(self.request, piece)

    def count(self, sent: int) -> None:
        """Count bytes of the body that were sent by another way than `write`; for the watch, and
        for the access log.
        """
        self.sent += sent
        self.request.sentLength += sent  # which Twisted counts in its own `write` only

    async def room(self) -> None:
        """Wait until the client has taken what was written, or has disconnected."""
        while self._paused and not self.stopped:
            self._waiting = Deferred()
            await self._waiting

    def watch(self) -> None:
        """Disconnect a client that took nothing since the last check."""
        if self._paused and self.sent == self._sent_then:
            abort(self.request)
            return
        self._sent_then = self.sent
        # the clock that Twisted gives to each channel; a channel of a test may have none
        later: Callable[..., IDelayedCall] | None = getattr(self.request.channel, "callLater", None)
        if later is not None:
            self._watch = later(PATIENCE, self.watch)

    def close(self) -> None:
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        if self.request.channel is not None:
            self.request.unregisterProducer()  # type: ignore[no-untyped-call]


# Sending of files by the kernel: ``sendfile(2)`` from the file's pages to the socket, without a
# copy in user space.
#
# 500 MB to one client cost three copies of each byte when they went through
# `pypid.web.http.response_body`, and half of nginx's speed. TLS needs the bytes in user space, and
# so does a storage that is not a folder: these are still streamed.

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


# A file that stays open between responses, so that the next one need not look it up.


class OpenFile:
    """An open file, closed when the last reference is dropped: those of caches and of responses in
    progress.
    """

    __slots__ = ("descriptor", "size")
    in_memory = False
    """Whether it never needs a disk."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Duplicate `descriptor`, which the caller keeps."""
        self.descriptor = os.dup(descriptor)
        self.size = size

    def __del__(self) -> None:
        os.close(self.descriptor)

    def is_at_hand(self) -> bool:
        """Return whether its first window can be sent without waiting for a disk."""
        return bool(
            at_hand(self.descriptor, 0, 1)
            and at_hand(self.descriptor, min(WINDOW, self.size) - 1, 1)
        )

    def body(self, position: int, blocking: Blocking) -> FileBody:
        """Return a body from this position to the end."""
        return FileBody(
            cast("BinaryIO", _Reading(self)),
            Span(position, self.size),
            blocking,
            in_memory=self.in_memory,
        )


class _Reading:
    """As much of a file object as a `FileBody` needs, with a position of its own."""

    def __init__(self, file: OpenFile) -> None:
        self._file: OpenFile | None = file
        self._position = 0

    def fileno(self) -> int:
        return -1 if self._file is None else self._file.descriptor

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, most: int) -> bytes:
        file = self._file  # a local reference keeps it open until the read is done
        return b"" if file is None else os.pread(file.descriptor, most, self._position)

    def close(self) -> None:
        self._file = None
