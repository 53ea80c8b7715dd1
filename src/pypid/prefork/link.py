"""The link from a worker to the first one: orders, messages, and the loss of the first one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import stdio
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.prefork.messages import GarbledMessage, Message, MessageParser, Outlet, Siblings
from pypid.prefork.supervisor import BROADCAST, HEARS, ORDER, READY, STATE, TELLS

_log = Logger()


def first_orders(descriptor: int = HEARS) -> Message | None:
    """Return the first message of the first worker; None if that has ended. Blocks until it has
    come. Raises `GarbledMessage`.
    """
    lines = MessageParser()
    while piece := os.read(descriptor, 1):  # no more than this line: the rest is for the reactor
        for message in lines.feed(piece):
            return message
    return None


class SupervisorLink(Protocol):
    """The protocol to the first worker. `heed` is called with each order; `gone` when the first
    worker has ended, or sends garbage.
    """

    transport: ITransport
    _outlet: Outlet | None = None

    def __init__(
        self, siblings: Siblings, heed: Callable[[str], object], gone: Callable[[], object]
    ) -> None:
        self._siblings = siblings
        self._heed = heed
        self._gone = gone
        self._lines = MessageParser()

    def connectionMade(self) -> None:
        self._outlet = Outlet(self.transport, self._full)
        self._siblings.connect(lambda message: self._send({BROADCAST: message}))

    def is_ready(self) -> None:
        """Report that this worker answers."""
        self._send({STATE: READY})

    def _send(self, message: Message) -> None:
        if self._outlet is not None:
            self._outlet.send(message)

    def _full(self) -> None:
        _log.error("the first worker does not listen: a message to the others is lost")

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._lines.feed(data)
        except GarbledMessage:
            self._gone()
            return
        for message in messages:
            if BROADCAST in message:
                self._siblings.hear(message[BROADCAST])
            else:
                self._heed(str(message.get(ORDER)))

    def end(self) -> None:
        """Ignore the loss of the first worker from now on: this worker ends."""
        self._gone = lambda: None

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._gone()


def connect(link: SupervisorLink, reactor: Any) -> None:
    """Connect through the descriptors that the first worker has passed. (A pipe whose other end is
    closed is reported on each system.)
    """
    cast(Any, stdio).StandardIO(link, HEARS, TELLS, reactor)  # a name that each system defines
