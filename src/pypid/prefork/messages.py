"""What workers tell one another: JSON objects, a line each, over the pipes between the first one
and each of the others.

There is no way from one of the others to the next but through the first one. All of it stays within
one machine and one version of pypid, so what cannot be read is an error of ours, and the connection
ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import define, field
from twisted.logger import Logger

Message: TypeAlias = Mapping[str, Any]
"""A JSON object. ``kind`` says what it is, and who wants to hear it."""

LONGEST = 65536
"""Bytes of a line, with its end."""

ENDED = "ended"
"""The kind of the message that a worker (``worker``: its number) has ended, whatever the reason;
another takes its place.
"""


class GarbledMessage(Exception):
    """What came is no message, or a longer one than any that is sent."""


def encode(message: Message) -> bytes:
    """The line of a message. Raises `ValueError` for what is too long, or no JSON."""
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
    """Makes messages of the bytes that come, in whatever pieces."""

    _rest: bytes = field(default=b"", init=False, repr=False)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with this. Raises `GarbledMessage`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST or any(len(line) >= LONGEST for line in lines):
            raise GarbledMessage(f"a line of more than {LONGEST} bytes")
        return [_decoded(line) for line in lines]


def _decoded(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:  # UnicodeDecodeError is one, too
        raise GarbledMessage("no JSON") from None
    if not isinstance(message, dict):
        raise GarbledMessage("no JSON object")
    return message


@define(eq=False)
class Siblings:
    """All workers, this one with them. Where it is the only one, what it tells is
    heard here alone.
    """

    _log = Logger()
    send: Callable[[Message], object] | None = field(default=None, repr=False)
    """Brings a message to all other workers; None: there are none."""
    _callbacks: dict[str, list[Callable[[Message], object]]] = field(
        factory=dict, init=False, repr=False
    )

    def on(self, kind: str, callback: Callable[[Message], object]) -> None:
        """Have messages of this kind heard, by whomever they were told, also by this worker. In the
        reactor's thread.
        """
        self._callbacks.setdefault(kind, []).append(callback)

    def tell(self, message: Message) -> None:
        """Have all workers hear it, this one before this returns; those that are starting just now
        may miss it.

        `message` has a ``kind``. In the reactor's thread. Raises `ValueError` for what is too long,
        or no JSON.
        """
        encode(message)
        if self.send is not None:
            self.send(message)
        self.hear(message)

    def hear(self, message: Message) -> None:
        """Somebody told it. What goes wrong with it is logged."""
        for callback in self._callbacks.get(str(message.get("kind")), ()):
            try:
                callback(message)
            except Exception:
                self._log.failure("a message of another worker could not be heeded")
