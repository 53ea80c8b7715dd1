"""Large responses at the pace of the client: bytes that the kernel does not take at once stay in
the cache, shared by all clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field
from twisted.python.failure import Failure

from pypid.flow import PIECE, Blocking
from pypid.web.fastpath.open_files import Passing
from pypid.web.fastpath.socket_write import LARGE, pages_of, send_direct, send_pages
from pypid.web.http.response_body import Producer, abort, let_pieces_through
from pypid.web.http.sendfile import WINDOW

if TYPE_CHECKING:
    from pypid.web.fastpath.response_cache import Sent
    from pypid.web.http.channel import Channel


def sent_at_once(channel: Channel, said: Sent) -> bool:
    """Send head and body as far as possible without waiting; return whether that was all. Else
    `pour_on` has to follow.
    """
    transport: Any = channel.transport
    head, body = said.head, said.body
    if channel.direct:
        if said.pages is None and len(body) >= LARGE:
            said.pages = pages_of(body)
        channel.out = (
            send_direct(transport, head, body)
            if said.pages is None
            else send_pages(transport, head, said.pages)
        )
        return channel.out == len(body)
    at_once: Callable[[Any, bytes, bytes, int], int] | None = getattr(
        type(transport), "send_both", None
    )
    if at_once is None:
        transport.write(head)
        channel.out = 0
        return False
    channel.out = at_once(transport, head, body, PIECE)
    return channel.out == len(body) and not channel._waitingForTransport


def pour_on(channel: Channel, body: bytes, blocking: Blocking, told: Callable[[int], None]) -> None:
    """Send the rest of the body. `told` is called once, with the bytes of it that were sent."""
    passing = PassingBytes(channel, None, told, channel.out, body)
    channel.occupy(passing)
    passing.go_on(blocking)


@define(eq=False)
class PassingBytes(Passing):
    """The rest of a response that is being sent."""

    body: bytes = field(repr=False)
    _producer: _Rest | None = field(default=None, init=False, repr=False)

    def go_on(self, blocking: Blocking) -> None:
        assert self.channel is not None
        self._producer = producer = _Rest(cast("Any", self), self.sentLength)
        self.registerProducer(producer, True)
        producer.watch()
        if self.channel.direct:
            self._wait()
            return
        let_pieces_through(cast("Any", self))
        if self.channel._waitingForTransport:
            producer.pauseProducing()
        else:
            producer.resumeProducing()

    def send_more(self, producer: _Rest) -> None:
        """Send what can be sent now; the last of it may still be in the transport when the channel
        goes on, as with any response.
        """
        channel = self.channel
        if channel is None:
            return
        if channel.direct:
            self._send_directly(channel)
        else:
            while not producer.paused and not producer.stopped and self.sentLength < len(self.body):
                self.write(self.body[self.sentLength : self.sentLength + PIECE])
        producer.sent = self.sentLength
        if self.sentLength == len(self.body) and not producer.paused and self.channel is not None:
            producer.close()
            self._tell()
            self.channel = None
            channel.requestDone(cast("Any", self))

    def _send_directly(self, channel: Channel) -> None:
        transport: Any = channel.transport
        if not (transport._tempDataBuffer or transport.dataBuffer):
            try:
                self.sentLength += transport.socket.send(
                    memoryview(self.body)[self.sentLength : self.sentLength + WINDOW]
                )
            except BlockingIOError:
                pass
            except OSError:  # the transport finds out when it reads; do not wait for that
                abort(cast("Any", self))
                return
        if self.sentLength < len(self.body):
            self._wait()

    def _wait(self) -> None:
        """Wait until the kernel has space, by pausing as the transport does when its own buffer is
        full.
        """
        channel = self.channel
        assert channel is not None
        transport: Any = channel.transport
        transport.producerPaused = True
        channel.pauseProducing()
        transport.startWriting()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if self._producer is not None:
            self._producer.close()


@define(eq=False)
class _Rest(Producer):
    """The producer that the channel pauses and resumes for it."""

    @property
    def paused(self) -> bool:
        return self._paused

    def resumeProducing(self) -> None:
        self._paused = False
        if not self.stopped:
            cast("PassingBytes", self.request).send_more(self)
