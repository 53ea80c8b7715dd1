"""Outgoing messages, in a bounded queue: a reader that does not read for long is not waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from pypid.prefork.messages import Message, encode

MOST = 1000
"""Messages that wait beyond what the transport takes (64 KiB) and the pipe holds."""


@implementer(IPushProducer)
@define(eq=False)
class Outlet:
    """The sender of messages through `consumer`, a transport. `full` is called in place of a
    message that does not fit.
    """

    consumer: Any
    full: Callable[[], object]
    _waiting: deque[bytes] = field(factory=deque, init=False, repr=False)
    _paused: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.consumer.registerProducer(self, True)

    def send(self, message: Message) -> None:
        """Send a message soon, in the order of the calls. Raises `ValueError` for one that is too
        long, or not JSON.
        """
        line = encode(message)
        if self._over:
            return
        if not self._paused:
            self.consumer.write(line)
        elif len(self._waiting) < MOST:
            self._waiting.append(line)
        else:
            self.full()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._waiting and not self._paused:
            self.consumer.write(self._waiting.popleft())

    def stopProducing(self) -> None:
        """Drop what waits: the reader has gone."""
        self._over = True
        self._waiting.clear()
