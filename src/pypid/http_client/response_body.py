"""The body of a response as a stream: as fast as it is read, and never silent for long."""

# Twisted's web client and TLS are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from pypid.http_client.connections import Fault

FULL = 1 << 17
"""Unread bytes at which reading from the connection pauses; one more read of the connection may
follow.
"""
SILENT = "it stopped in the middle of an answer."
BROKEN_OFF = "its answer broke off."


class IncomingBody(Protocol):
    """A `pypid.ports.Body` of what the connection receives. Raises `Fault` where it ends early or
    falls silent.

    The caller that creates one closes it. Closing it before its end ends the connection.
    """

    transport: Any

    def __init__(self, response: IResponse, clock: IReactorTime, patience: float) -> None:
        self._response = response
        self._clock = clock
        self._patience = patience
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._is_paused = False
        self._ended = False
        self._closed = False
        self._failure: Exception | None = None
        self._reader: Deferred[None] | None = None
        self.may_be_cut = False
        """After the end: whether the response had no length, so that it may have ended too
        early.
        """
        response.deliverBody(self)

    @property
    def size(self) -> int | None:
        return None if self._response.length is UNKNOWN_LENGTH else int(self._response.length)

    def error_of(self, fault: Fault) -> Exception:
        """Return the exception to raise for a fault: a service may have an error of its own."""
        return fault

    # --- from the connection ---

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        self._wake()
        if self._waiting >= FULL and not self._closed:  # no reader has taken it at once
            self._is_paused = True
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.web.client import (
            ResponseDone,
        )  # here: it is there when an answer is, and not before

        self._ended = True
        if reason.check(PotentialDataLoss):
            self.may_be_cut = True
        elif not reason.check(ResponseDone) and self._failure is None:
            self._failure = self.error_of(Fault(BROKEN_OFF))
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    # --- reading ---

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._closed:
                raise RuntimeError("this body was closed")
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            await self._more()
        taken = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._is_paused and not self._ended:
            self._is_paused = False
            self.transport.resumeProducing()
        return taken

    async def _more(self) -> None:
        """Wait for the connection; the time limit for silence runs only now."""
        if self._reader is not None:
            raise RuntimeError("this body is already being read")
        self._reader = Deferred()
        alarm: IDelayedCall = self._clock.callLater(self._patience, self._give_up)
        try:
            await self._reader
        finally:
            self._reader = None
            if alarm.active():
                alarm.cancel()

    def _give_up(self) -> None:
        self._failure = self.error_of(Fault(SILENT, timed_out=True))
        self._abort()
        self._wake()

    async def aclose(self) -> None:
        """Close the body, and the connection if it has not ended."""
        if self._closed:
            return
        self._closed = True
        self._pieces.clear()
        self._abort()
        self._wake()

    def _abort(self) -> None:
        """End the connection at once: the server may ignore a polite close and go on sending
        forever.
        """
        if self._ended:
            return
        connection = getattr(
            self.transport, "_producer", None
        )  # Twisted's proxy in between only closes politely
        if connection is not None and hasattr(connection, "abortConnection"):
            connection.abortConnection()
        else:
            self.transport.loseConnection()
