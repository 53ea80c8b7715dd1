"""A worker as the first one sees it: a process, its messages and log, and the pipes to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.prefork.messages import GarbledMessage, Message, MessageParser
from pypid.prefork.outlet import Outlet

_log = Logger()

HEARS, TELLS, SCALES, TEXT, SOCKETS = 3, 4, 5, 6, 7
"""The descriptors in such a process: where it reads messages and writes them, the memory of
`Scales`, the text of the configuration, and the listening sockets.
"""
ORDER, STATE, BROADCAST = "order", "state", "told"
"""Keys of messages in the pipes: from the first worker, to it, and those of `Siblings`."""
STOP, HURRY, RELOAD = "stop", "hurry", "reload"
"""The orders to a worker."""
READY = "ready"
"""The state that a worker reports once it answers."""
_LONGEST = 1 << 20
"""Bytes after which an incomplete line of its log is written."""


class WorkerObserver(Protocol):
    """The receiver of a worker's events."""

    def is_ready(self, worker: WorkerProcess) -> None:
        """Handle that the worker answers."""

    def received(self, worker: WorkerProcess, message: Message) -> None:
        """Handle a message of the worker to all workers."""

    def has_ended(self, worker: WorkerProcess, reason: Failure) -> None:
        """Handle the end of the process, after all its output was read."""


@define(slots=False, eq=False)
class WorkerProcess(ProcessProtocol):
    """One process. `write` takes whole lines of its log; its standard error is logged."""

    number: int
    supervisor: WorkerObserver
    orders: Message
    """The first message: all that the worker needs."""
    write: Callable[[str], object] = field(repr=False)
    started: float = 0.0
    ready: bool = field(default=False, init=False)
    pid: int | None = field(default=None, init=False)
    _outlet: Outlet | None = field(default=None, init=False, repr=False)
    _messages: MessageParser = field(factory=MessageParser, init=False, repr=False)
    _lines: dict[int, bytes] = field(factory=lambda: {1: b"", 2: b""}, init=False, repr=False)

    transport: Any = field(default=None, init=False, repr=False)

    def connectionMade(self) -> None:
        self.pid = self.transport.pid
        self._outlet = Outlet(self.transport.pipes[HEARS], self._deaf)
        self._outlet.send(self.orders)

    def send(self, message: Message) -> None:
        """Send a message, if the process has started."""
        if self._outlet is not None:
            self._outlet.send(message)

    def kill(self) -> None:
        """Kill the process."""
        try:
            self.transport.signalProcess("KILL")
        except (ProcessExitedAlready, AttributeError):  # AttributeError: not started yet
            return

    def _deaf(self) -> None:
        _log.error(
            "worker {worker} (process {pid}) no longer responds, and is stopped",
            worker=self.number,
            pid=self.pid,
        )
        self.kill()

    # --- messages and output ----------------------------------------------------------------------

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == TELLS:
            self._hear(data)
            return
        lines, end, rest = (self._lines[childFD] + data).rpartition(b"\n")
        if len(rest) > _LONGEST:
            lines, end, rest = lines + end + rest, b"\n", b""
        self._lines[childFD] = rest
        if end:
            self._pass_on(childFD, lines + end)

    def _pass_on(self, childFD: int, lines: bytes) -> None:
        text = lines.decode(errors="backslashreplace")
        if childFD == 1:
            self.write(text)
        elif text.strip():
            _log.error(
                "worker {worker} (process {pid}): {text}",
                worker=self.number,
                pid=self.pid,
                text=text.strip(),
            )

    def _hear(self, data: bytes) -> None:
        try:
            messages = self._messages.feed(data)
        except GarbledMessage as error:
            _log.error(
                "worker {worker} (process {pid}) sent an invalid message ({reason}), and is "
                "stopped",
                worker=self.number,
                pid=self.pid,
                reason=str(error),
            )
            self.kill()
            return
        for message in messages:
            if message.get(STATE) == READY and not self.ready:
                self.ready = True
                self.supervisor.is_ready(self)
            elif BROADCAST in message:
                self.supervisor.received(self, message[BROADCAST])

    def processEnded(self, reason: Failure) -> None:
        for childFD, rest in self._lines.items():
            if rest:
                self._pass_on(childFD, rest + b"\n")
        if self._outlet is not None:
            self._outlet.stopProducing()
        self.supervisor.has_ended(self, reason)
