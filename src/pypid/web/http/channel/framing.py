"""Strict framing of requests: what twisted.web's parser takes and a proxy may read differently is
refused (RFC 9112).
"""

from __future__ import annotations

import re
from typing import Protocol

from pypid.web.http.channel.slow_clients import TimedChannel
from pypid.web.http.proxies import HOST
from pypid.web.http.request import Request

NOT_HTTP = "This is not a request that HTTP/1.1 knows (RFC 9112), or its headers are too long."
ONE_HOST = (
    "A request needs exactly one Host header, with a host and perhaps a port (RFC 9112, 3.2)."
)

ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)
"""The beginning of a request target in absolute form, as clients send it to proxies."""


class RefusalCounter(Protocol):
    """The site of a connection, as far as refusals of requests are concerned."""

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route, with a body of `size` bytes."""


class FramingChannel(TimedChannel):
    """A `TimedChannel` that refuses requests with ambiguous framing.

    Some of its checks are overridden private hooks of Twisted's: `start_check` proves that Twisted
    calls them.
    """

    _path: bytes
    """Twisted's: the target of the request whose head is read."""
    reserved = False
    """Whether the connection exceeds the limits, so that it may only request the health of the
    service.
    """

    def _watch_head(self) -> None:
        """Set the deadline for the head of a request that has begun."""
        if (
            self.line_mode
            and not self._lingering
            and (self._buffer or self._HTTPChannel__first_line != 1)
        ):
            self._head_begins()
        elif not self.reserved:
            self._head_is_in()

    def _take_absolute_form(self, request: Request) -> bool:
        """Replace a target like ``http://host/path`` by its path, and the Host by its host (RFC
        9112, 3.2.2).

        False: the host is invalid.
        """
        match = ABSOLUTE.match(self._path)
        if match is None:
            return True
        host = match["host"]
        request.requestHeaders.setRawHeaders(b"Host", [host])
        path = self._path[match.end() :]
        self._path = path if path.startswith(b"/") else b"/" + path
        return bool(host) and HOST.fullmatch(host.decode("latin-1")) is not None

    def _host_is_good(self, request: Request) -> bool:
        hosts = request.requestHeaders.getRawHeaders(b"Host") or []
        if not hosts:
            return bool(self._version == b"HTTP/1.0")
        return len(hosts) == 1 and HOST.fullmatch(hosts[0].decode("latin-1")) is not None

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        # int() raises for digits without end, which Twisted does not catch
        is_too_long = header.lower() == b"content-length" and len(data) > 18
        # RFC 9112, 7: "identity" is no longer a transfer coding; a proxy may take such a body for a
        # request
        is_identity = header.lower() == b"transfer-encoding" and data.lower() == b"identity"
        if is_too_long or is_identity:
            self._refuse(NOT_HTTP)
            return False
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def lineReceived(self, line: bytes) -> None:
        # RFC 9112, 5.2: a folded header field, which proxies may read as two, is refused
        if line[:1] in (b" ", b"\t") and self._HTTPChannel__first_line == 0:
            self._refuse(NOT_HTTP)
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse(NOT_HTTP)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(NOT_HTTP)

    def _refuse(self, reason: str, status: bytes = b"400 Bad Request", fields: bytes = b"") -> None:
        """Answer invalid requests, and requests that are refused before routing."""
        if self._lingering:
            return
        text = reason.encode("ascii") + b"\n"
        self._transferDecoder = None
        self.transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n%s"
            b"Content-Length: %d\r\n\r\n%s" % (status, fields, len(text), text)
        )
        self.site.note_refused(len(text), status[:3].decode("ascii"))
        self._linger()
