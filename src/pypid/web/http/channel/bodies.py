"""Streaming of request bodies: handlers run when the headers are in, and bodies come with
back-pressure.

The parser never runs a handler of a request with a body: `dataReceived` lets it finish with all
that came, and then delivers. So no handler ends a request while the parser is working on it, and a
response to a small request, whose body came along with its headers, leaves the connection open.
"""

from __future__ import annotations

from twisted.web import http

from pypid.core.errors import BadRequest
from pypid.web.http.channel.framing import FramingChannel
from pypid.web.http.request import Request

READ = 1 << 20
"""Bytes requested from the kernel at once while a body comes (Twisted requests 64 KiB)."""

BROKEN_CHUNKS = (
    "The body is not what Transfer-Encoding: chunked says. Send the request again, or with a "
    "Content-Length."
)


class BodyChannel(FramingChannel):
    """A `FramingChannel` that streams the bodies of requests to their handlers."""

    timeOut: float | None
    _receiving: Request | None = None
    """The request whose body is coming."""
    _due: Request | None = None
    """The request that has something new for its handler."""
    _delivering = False
    _continue_due = False
    """The client waits for 100 Continue before it sends the body."""
    _kept = 0
    """Bytes of further requests that wait for the response to this one."""
    _paused = False
    """Reading is paused, because too much of a body waits unread."""

    def _receive_body(self, request: Request) -> None:
        """Begin to receive the body of a request whose headers are in."""
        request.headersReceived(self._command, self._path, self._version)
        self._receiving = self._due = request
        self._body_begins(excused=False)
        self._read_at_once(READ)
        if self._waitingForTransport:
            self._networkProducer.resumeProducing()  # see pauseProducing
        expect = request.requestHeaders.getRawHeaders(b"Expect")
        if expect and expect[0].lower() == b"100-continue" and self._version == b"HTTP/1.1":
            self._continue_due = True
            self._excuse_body()
            self.setTimeout(None)  # the client waits for the server, not the server for the client

    def _read(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._delivering:
            return
        self._watch_head()
        self._delivering = True
        try:
            while (request := self._due) is not None:
                self._due = None
                request.deliver()
                if request is self._receiving and request.bodyFull:
                    self._pause()
        finally:
            self._delivering = False

    @property
    def _body_stands(self) -> bool:
        return self._paused or self._continue_due

    def rawDataReceived(self, data: bytes) -> None:
        if self._handlingRequest:
            self._keep_for_later(data)
        elif self._transferDecoder is not None:
            self._due = self._receiving
            self._body_bytes += len(data)
            if self._continue_due:
                self._continue_due = False
                self.setTimeout(self._patience)
            try:
                self._transferDecoder.dataReceived(data)
            except http._MalformedChunkedDataError:
                self._break_off()
        # else the rest of a refused request

    def _keep_for_later(self, data: bytes) -> None:
        """Hold the beginning of a pipelined request; Twisted would hold any amount while the
        response is blocked.
        """
        self._count_kept(data)
        self._dataBuffer.append(data)
        if self._kept > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def _count_kept(self, data: bytes) -> None:
        """Count the bytes in Twisted's buffer: adding up its pieces for each new one would take
        quadratic time.
        """
        self._kept = len(data) if not self._dataBuffer else self._kept + len(data)

    def _break_off(self) -> None:
        """Stop parsing after broken framing, which hides where the next request begins. The reader
        of the body gets the error.
        """
        self._transferDecoder = None
        self.persistent = False
        self._body_is_in()
        self.setTimeout(None)
        if self._receiving is not None:
            self._receiving.failBody(BadRequest(BROKEN_CHUNKS))

    def _finishRequestBody(self, data: bytes) -> None:
        if self._lingering:
            self._transferDecoder = None
            if (
                self._is_socket and not data
            ):  # else more is on its way, and closing now could destroy the response
                self.transport.loseConnection()
            return
        self._count_kept(data)
        super()._finishRequestBody(data)

    def allContentReceived(self) -> None:
        if self._lingering:
            return
        if self._receiving is not None:
            self._receiving = None
            self._continue_due = False
            self._body_is_in()
            self.setTimeout(self._patience)  # twisted.web restores it when the response is finished
            self._read_at_once(None)
        super().allContentReceived()

    def _read_at_once(self, most: int | None) -> None:
        """Request up to `most` bytes per read from the kernel; None: the transport's default."""
        transport = self.transport
        if not self._is_socket:
            return
        if most is not None:  # Twisted documents no other way to read more at once
            transport.bufferSize = most
        elif "bufferSize" in vars(transport):
            del transport.bufferSize

    # --- requests of the body (`web.http.request_body.BodyFeed`) ---

    def bodyAsked(self) -> None:
        if self._continue_due:
            self._continue_due = False
            if self._receiving is not None and not self._receiving.startedWriting:
                self._send100Continue()
            self.setTimeout(self._patience)

    def bodyDrained(self) -> None:
        if self._paused:
            self._paused = False
            self._networkProducer.resumeProducing()
            if not self._lingering:
                self.setTimeout(self._patience)

    def _pause(self) -> None:
        self._paused = True
        self._excuse_body()
        self._networkProducer.pauseProducing()
        self.setTimeout(None)  # nothing comes, because reading is paused
