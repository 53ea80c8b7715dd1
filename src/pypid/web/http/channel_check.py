"""A check at start that Twisted has, and calls, what this package overrides.

A framing check in a hook that Twisted no longer calls would be silently off, and requests could be
smuggled past a proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource

from pypid.core.errors import CannotStart
from pypid.flow.coroutines import TESTED
from pypid.web.http.site import Site

PRIVATE_NAMES = (
    "_HTTPChannel__first_line",
    "_buffer",
    "_command",
    "_dataBuffer",
    "_finishRequestBody",
    "_handlingRequest",
    "_maybeChooseTransferDecoder",
    "_networkProducer",
    "_optimisticEagerReadSize",
    "_path",
    "_requestProducer",
    "_respondToBadRequestAndDisconnect",
    "_savedTimeOut",
    "_send100Continue",
    "_transferDecoder",
    "_version",
    "_waitingForTransport",
)
"""The private names of `HTTPChannel` that this package depends on."""

REFUSED = {
    "a folded header field": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "Transfer-Encoding: identity": b"POST / HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: identity\r\n\r\n",
    "a Content-Length of 20 digits": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    % 10**19,
    "two Content-Lengths": b"POST / HTTP/1.1\r\nHost: a\r\n"
    + b"Content-Length: 1\r\n" * 2
    + b"\r\n",
    "two Host fields": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
}
"""Requests with ambiguous framing, each of which is refused by another check."""


def check_framing() -> None:
    """Raise `CannotStart` if a request with ambiguous framing would not be refused."""
    try:
        missing = _missing_names()
        accepted = [
            what
            for what, request in REFUSED.items()
            if not _answer(request).startswith(b"HTTP/1.1 400 ")
        ]
    except AttributeError as error:  # a name that these requests need themselves
        raise _unusable(str(error)) from error
    if missing:
        raise _unusable(f"its HTTP channel has no {', '.join(missing)}")
    if accepted:
        raise _unusable(f"a request with {accepted[0]} is not refused")


def _missing_names() -> list[str]:
    channel, _ = _channel()
    channel.dataReceived(b"GET / HTTP/1.1\r\n")  # some names exist while a head is read
    return [
        name
        for name in PRIVATE_NAMES
        if not hasattr(HTTPChannel, name) and name not in vars(channel)
    ]


def _answer(request: bytes) -> bytes:
    """Return what a site answers to the request."""
    channel, transport = _channel()
    channel.dataReceived(request)
    return b"".join(transport.written)


def _channel() -> tuple[Any, _Transport]:
    channel = Site(Resource(), reactor=Clock()).buildProtocol(None)  # type: ignore[no-untyped-call]
    transport = _Transport()
    channel.makeConnection(transport)
    return channel, transport


def _unusable(reason: str) -> CannotStart:
    first, last = TESTED["Twisted"]
    return CannotStart(
        f"The installed Twisted cannot be used: {reason}. Install Twisted {first} to {last}."
    )


class _Transport:
    """A connected transport that keeps what is written."""

    disconnecting = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.written += data

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(None)

    getHost = getPeer

    def loseConnection(self) -> None:
        self.disconnecting = True

    def _ignore(self, *_: object) -> None:
        pass

    registerProducer = unregisterProducer = abortConnection = _ignore
    pauseProducing = resumeProducing = stopProducing = _ignore
