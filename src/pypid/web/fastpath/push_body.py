"""Large responses at the pace of the client: bytes that the kernel does not take at once stay in
the cache, shared by all clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.python.failure import Failure

from pypid.flow import Blocking
from pypid.flow.bodies import PIECE
from pypid.web.fastpath.open_files import FileSending
from pypid.web.fastpath.os.socket_write import LARGE, is_clear, send_direct, send_with_file
from pypid.web.fastpath.response_cache import SentResponse
from pypid.web.http.channel.channel import Channel
from pypid.web.http.response_body import Producer, abort, let_pieces_through
from pypid.web.http.sendfile import WINDOW, pause_until_writable


def send_at_once(channel: Channel, sent: SentResponse) -> int | None:
    """Send head and body as far as possible without waiting; return the position in the body from
    which `send_rest` has to go on, None if all is sent.
    """
    transport: Any = channel.transport
    head, body = sent.head, sent.body
    if channel.direct:
        pages = sent.copy_to_memory_file() if len(body) >= LARGE else None
        position = (
            send_direct(transport, head, body)
            if pages is None
            else send_with_file(transport, head, pages.descriptor, pages.size)
        )
        return None if position == len(body) else position
    at_once: Callable[[Any, bytes, bytes, int], int] | None = getattr(
        type(transport), "send_both", None
    )
    if at_once is None:
        transport.write(head)
        return 0
    position = at_once(transport, head, body, PIECE)
    return None if position == len(body) and not channel.is_blocked else position


def send_rest(
    channel: Channel,
    body: bytes,
    position: int,
    blocking: Blocking,
    on_sent: Callable[[int], None],
) -> None:
    """Send the body from this position. `on_sent` is called once, with the bytes of it that were
    sent.
    """
    rest = BytesSending(channel, None, on_sent, position, body)
    channel.occupy(rest)
    rest.send_rest(blocking)


@define(eq=False)
class BytesSending(FileSending):
    """The rest of a response that is being sent."""

    body: bytes = field(repr=False)
    _producer: _Rest | None = field(default=None, init=False, repr=False)

    def send_rest(self, blocking: Blocking) -> None:
        assert self.channel is not None
        self._producer = producer = _Rest(cast("Any", self), self.sentLength)
        self.registerProducer(producer, True)
        producer.watch()
        if self.channel.direct:
            self._wait()
            return
        let_pieces_through(cast("Any", self))
        if self.channel.is_blocked:
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
        producer.count_to(self.sentLength)
        if self.sentLength == len(self.body) and not producer.paused and self.channel is not None:
            producer.close()
            self._report()
            self.channel = None
            channel.requestDone(cast("Any", self))

    def _send_directly(self, channel: Channel) -> None:
        transport: Any = channel.transport
        if is_clear(transport):
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
        """Wait until the kernel has space."""
        assert self.channel is not None
        pause_until_writable(self.channel.transport, self.channel)

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

    def count_to(self, position: int) -> None:
        """Record how many bytes of the body were sent, for `watch`."""
        self.sent = position

    def resumeProducing(self) -> None:
        self._paused = False
        if not self.stopped:
            cast("BytesSending", self.request).send_more(self)
