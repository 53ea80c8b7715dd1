"""Responses with files that are too large for memory: their heads are cached, and the files stay
open; the kernel sends them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.flow import Blocking, start
from pypid.web.fastpath.os.socket_write import send_with_file
from pypid.web.fastpath.response_cache import CachedResponse
from pypid.web.http.channel.channel import Channel
from pypid.web.http.open_file import OpenFile
from pypid.web.http.sendfile import WINDOW, proceed

OPEN_FOR = 10.0
"""Seconds that a file stays open: it takes disk space for so long after it was deleted."""
MOST_OPEN = 64

_log = Logger()


def send_file(
    channel: Channel,
    head: bytes,
    file: OpenFile,
    blocking: Blocking,
    on_sent: Callable[[int], None],
) -> bool:
    """Send the head and then the file; return whether all went out at once. Else `on_sent` is
    called once, with the bytes of the file that were sent.

    What the kernel takes at once goes at once; for the rest the channel is busy, as with any
    request.
    """
    sent = send_with_file(channel.transport, head, file.descriptor, min(WINDOW, file.size))
    if sent == file.size:
        return True
    rest = FileSending(channel, file, on_sent, sent)
    channel.occupy(rest)
    rest.send_rest(blocking)
    return False


@define(eq=False)
class OpenFiles:
    """The cached responses that have a file open: at most `MOST_OPEN`, each for `OPEN_FOR` seconds;
    then `drop` is called.
    """

    clock: IReactorTime
    drop: Callable[[CachedResponse], None]
    _until: dict[CachedResponse, float] = field(factory=dict, init=False, repr=False)
    _closing: IDelayedCall | None = field(default=None, init=False)

    @property
    def full(self) -> bool:
        """Whether the maximum number of files is open."""
        return len(self._until) >= MOST_OPEN

    def add(self, response: CachedResponse) -> None:
        """Add a response, or extend the time of one with another file."""
        until = self.clock.seconds() + OPEN_FOR
        self._until.pop(response, None)
        self._until[response] = until
        response.limit_to(until)
        if self._closing is None:
            self._closing = self.clock.callLater(OPEN_FOR, self._close_old)

    def _close_old(self) -> None:
        self._closing, now = None, self.clock.seconds()
        while self._until:
            response, until = next(iter(self._until.items()))  # the oldest
            if until > now:
                self._closing = self.clock.callLater(until - now, self._close_old)
                return
            self._close(response)

    def close(self) -> None:
        """Close all files."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        while self._until:
            self._close(next(iter(self._until)))

    def _close(self, response: CachedResponse) -> None:
        del self._until[response]
        self.drop(response)


@define(eq=False)
class FileSending:
    """A file that is being sent; to the channel, and to `web.http.sendfile`, it is a request whose
    response has begun.
    """

    channel: Channel | None
    file: OpenFile | None = field(repr=False)
    _on_sent: Callable[[int], None] = field(repr=False)
    sentLength: int  # named as in twisted.web's requests
    _has_reported: bool = field(default=False, init=False)
    recorder: None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    def send_rest(self, blocking: Blocking) -> None:
        """Send the rest, at the client's pace."""
        start(self._rest(blocking)).addErrback(self._failed)

    async def _rest(self, blocking: Blocking) -> None:
        channel = self.channel
        assert channel is not None and self.file is not None
        body = self.file.body(self.sentLength, blocking)
        self.file = None
        try:
            await proceed(cast("Any", self), body, channel.transport)
        finally:
            await body.aclose()
        self._report()
        self.channel = None
        channel.requestDone(cast("Any", self))

    def _report(self) -> None:
        """Report the bytes sent, once: the connection may still be lost after that, while the
        channel waits for its buffer.
        """
        if not self._has_reported:
            self._has_reported = True
            self._on_sent(self.sentLength)

    def _failed(self, failure: Failure) -> None:
        """Log the failure, unless it is a cancellation. The connection is closed, or about to be,
        so what was sent cannot be taken for the whole.
        """
        if not isinstance(failure.value, CancelledError):
            _log.failure("sending a file failed", failure=failure)

    # --- interface of a request ---

    def write(self, data: bytes) -> None:
        """Write data that the kernel cannot send by itself."""
        if self.channel is not None:
            self.sentLength += len(data)
            self.channel.write(data)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Register the producer that the channel pauses and resumes."""
        if self.channel is not None:
            self.channel.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        if self.channel is not None:
            self.channel.unregisterProducer()

    def notifyFinish(self) -> Deferred[None]:
        """Return a Deferred that fails when the connection is lost."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure) -> None:
        """Report the bytes sent and fail the waiting Deferreds. Called by the channel."""
        self.channel = None
        self._report()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(reason)
