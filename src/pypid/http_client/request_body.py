"""A request whose body is a stream, sent as fast as the connection takes it."""

# Twisted's interfaces are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pypid.http_client.connections import Fault, fault_of


class Payload(Protocol):
    """Bytes that can be sent again: each call of `pieces` begins at their beginning. Close the
    returned generator explicitly.
    """

    @property
    def size(self) -> int:
        """The number of bytes."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, exactly `size` of them; raises where they are no longer readable."""


@implementer(IBodyProducer)
class OutgoingBody:
    """One transmission of a payload. `progress` is called whenever the connection has taken some
    more.

    `failure` is what the payload raised: then the server is not to blame for the failed request.
    """

    def __init__(self, payload: Payload, progress: Callable[[], None]) -> None:
        self.length = payload.size
        self.failure: Exception | None = None
        self._payload = payload
        self._progress = progress
        self._consumer: Any = None
        self._transmission: Deferred[None] | None = None
        self._paused: Deferred[None] | None = None
        self._over = False

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self._consumer = consumer
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._transmission = Deferred.fromCoroutine(self._send())
        self._transmission.addCallbacks(
            lambda _: self._ended(done), lambda failure: self._failed(done, failure)
        )
        return done

    async def _send(self) -> None:
        async with aclosing(self._payload.pieces()) as pieces:
            async for piece in pieces:
                while self._paused is not None:
                    await self._paused
                if self._over:
                    return
                self._consumer.write(piece)
                self._progress()

    def _ended(self, done: Deferred[None]) -> None:
        if not self._over:
            self._over = True
            done.callback(None)

    def _failed(self, done: Deferred[None], failure: Failure) -> None:
        if self._over and failure.check(CancelledError):
            return
        self._over = True
        if isinstance(failure.value, Exception):
            self.failure = failure.value
        if not done.called:
            done.errback(failure)

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred(lambda _: None)

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            self._progress()
            paused.callback(None)

    def stopProducing(self) -> None:
        """Stop: the rest is not needed."""
        if self._over:
            return
        self._over = True
        self._paused = None
        if self._transmission is not None:
            self._transmission.cancel()

    def abandon(self) -> None:
        """End the connection, since the answer came before all was sent: Twisted would wait for the
        rest forever.
        """
        if self._over or self._consumer is None:
            return
        self.stopProducing()
        connection = getattr(
            self._consumer, "_consumer", self._consumer
        )  # Twisted's counting consumer is in between
        connection.abortConnection()


async def exchange(
    agent: IAgent,
    clock: IReactorTime,
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: Payload | None,
    patience: float,
) -> IResponse:
    """Send a request and return the response, whatever its status; its body is still to come.

    The server may be silent for `patience` seconds: take nothing of the payload, or not begin to
    answer. Raises `Fault`, and what the payload raises.
    """
    alarm: IDelayedCall | None = None

    def progress() -> None:
        if alarm is not None and alarm.active():
            alarm.reset(patience)

    body = None if payload is None else OutgoingBody(payload, progress)
    fields = Headers({name: [value] for name, value in headers.items()})
    sent = agent.request(method.encode("ascii"), url.encode("ascii"), fields, body)
    alarm = clock.callLater(patience, sent.cancel)
    try:
        response: IResponse = await sent
    except Exception as error:
        if not alarm.active():
            raise Fault(f"it did not answer within {patience:g} seconds.", timed_out=True) from None
        if body is not None and body.failure is not None:
            raise body.failure from None
        raise fault_of(error) from None
    finally:
        if alarm.active():
            alarm.cancel()
    if body is not None:
        body.abandon()
    return response
