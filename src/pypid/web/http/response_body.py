"""Streaming of a body into a response at the pace of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from pypid.flow.bodies import PIECE

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
