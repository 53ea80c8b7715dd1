"""Messages between workers: JSON objects, a line each, over the pipes between the first one and
each of the others.

The others reach each other through the first one only. All of it stays within one machine and one
version of pypid, so an unreadable message is a bug of pypid, and the connection ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

Message: TypeAlias = Mapping[str, Any]
"""A JSON object. ``kind`` says what it is, and selects its callbacks."""

LONGEST = 65536
"""The longest line in bytes, with its end."""

ENDED = "ended"
"""The kind of the message that a worker (``worker``: its number) has ended, whatever the reason;
another takes its place.
"""


class GarbledMessage(Exception):
    """The received bytes are not a message, or one that is too long."""


def encode(message: Message) -> bytes:
    """Return the line of a message. Raises `ValueError` for one that is too long, or not JSON."""
    try:
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except TypeError as error:
        raise ValueError(str(error)) from None
    if len(line) > LONGEST:
        raise ValueError(
            f"a message to other workers of {len(line)} bytes is longer than {LONGEST}"
        )
    return line


@define
class MessageParser:
    """A parser of received bytes, in whatever pieces, into messages."""

    _rest: bytes = field(default=b"", init=False, repr=False)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with this. Raises `GarbledMessage`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST or any(len(line) >= LONGEST for line in lines):
            raise GarbledMessage(f"a line of more than {LONGEST} bytes")
        return [_decoded(line) for line in lines]


def _decoded(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:  # UnicodeDecodeError included
        raise GarbledMessage("no JSON") from None
    if not isinstance(message, dict):
        raise GarbledMessage("no JSON object")
    return message


@define(eq=False)
class Siblings:
    """All workers, this one included. Without others, only this one receives its messages."""

    _log = Logger()
    send: Callable[[Message], object] | None = field(default=None, repr=False)
    """Sends a message to all other workers; None: there are none."""
    _callbacks: dict[str, list[Callable[[Message], object]]] = field(
        factory=dict, init=False, repr=False
    )

    def connect(self, send: Callable[[Message], object]) -> None:
        """Send messages to all other workers by `send` from now on."""
        self.send = send

    def on(self, kind: str, callback: Callable[[Message], object]) -> None:
        """Register a callback for messages of this kind from any worker, also from this one. It
        runs in the reactor's thread.
        """
        self._callbacks.setdefault(kind, []).append(callback)

    def tell(self, message: Message) -> None:
        """Send a message to all workers, to this one before this returns; workers that are starting
        may miss it.

        `message` has a ``kind``. In the reactor's thread. Raises `ValueError` for one that is too
        long, or not JSON.
        """
        encode(message)
        if self.send is not None:
            self.send(message)
        self.hear(message)

    def hear(self, message: Message) -> None:
        """Call the callbacks of a received message. Their errors are logged."""
        for callback in self._callbacks.get(str(message.get("kind")), ()):
            try:
                callback(message)
            except Exception:
                self._log.failure("a message of another worker could not be handled")


@define(eq=False)
class Acknowledgement:
    """The workers that have confirmed one message; `done` fires after the last of `others`."""

    others: int
    done: Deferred[None]
    _confirmed: set[int] = field(factory=set, init=False)

    def count(self, worker: int) -> None:
        """Note that this worker has confirmed it."""
        self._confirmed.add(worker)
        if len(self._confirmed) >= self.others and not self.done.called:
            self.done.callback(None)
