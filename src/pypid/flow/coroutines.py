"""Coroutines at the boundary to Twisted: start them, and run them to their end."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import PypidError

_log = Logger()

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run the coroutine and return it as a Deferred (at the boundary, where Twisted calls this
    code).
    """
    return Deferred.fromCoroutine(coroutine)


is_patient: ContextVar[bool] = ContextVar("is_patient", default=False)
"""Whether the client of the current task waits anyway: a storage that fails is then retried for up
to a minute.
"""


async def shielded(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end even if its caller is cancelled (a client that disconnected).

    An error that it raises after that is logged, unless it is a refusal made for clients.
    """
    done: Deferred[T] = Deferred(canceller=lambda _: None)

    def failed(failure: Failure) -> None:
        if not done.called:
            done.errback(failure)
        elif not isinstance(failure.value, PypidError):
            _log.failure(
                "work that continued after its client disconnected failed", failure=failure
            )

    start(coroutine).addCallbacks(
        lambda value: None if done.called else done.callback(value), failed
    )
    return await done
