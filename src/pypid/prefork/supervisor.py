"""The supervisor in the first worker: starts, notifies, balances, replaces and stops the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from pathlib import Path
from signal import Signals
from tempfile import TemporaryFile
from typing import Any

from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.prefork.messages import (
    ENDED,
    GarbledMessage,
    ListeningSocket,
    Message,
    MessageParser,
    Outlet,
    Siblings,
)

# A worker as the first one sees it: a process, its messages and log, and the pipes to it.

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


@define(slots=False, eq=False)
class WorkerProcess(ProcessProtocol):
    """One process. `write` takes whole lines of its log; its standard error is logged."""

    number: int
    supervisor: Supervisor
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


# The number of connections of each worker, in shared memory: a worker with more lets others accept
# the next one.

MOST = 64
"""The largest number of workers that are balanced."""
_SIZE = 4 * MOST
_NOBODY = 0xFFFFFFFF
_LOOK = 0.002
"""Seconds until a worker checks whether another one has accepted the connection."""
_LOOKS = 10
"""The number of checks: then the others are busy, and the worker with more accepts it, and all that
come in the next `_FREE`.
"""
_FREE = 0.02


@define(eq=False)
class Scales:
    """The connection counts as one `worker` sees them. `connections` returns its own number;
    `descriptor` is that of the memory.
    """

    descriptor: int
    worker: int
    connections: Callable[[], int] = field(repr=False)
    _counts: memoryview = field(
        default=Factory(
            lambda self: memoryview(mmap(self.descriptor, _SIZE)).cast("I"), takes_self=True
        ),
        init=False,
        repr=False,
    )

    def weigh(self) -> None:
        """Publish this worker's number of connections. Before the first call the others do not wait
        for this worker.
        """
        if self.worker <= MOST:
            self._counts[self.worker - 1] = self.connections()

    def leave(self, worker: int) -> None:
        """Remove a worker that has ended."""
        if worker <= MOST:
            self._counts[worker - 1] = _NOBODY

    def has_more(self) -> bool:
        """Return whether this worker has more connections than some other one, by more than
        chance.
        """
        fewest = min(self._counts)  # including this worker
        return self.connections() > fewest + 1 + fewest // 8


def make_scales(folder: Path, connections: Callable[[], int]) -> Scales:
    """Return the scales of the first worker; the memory is an unnamed file in `folder`. Raises
    `OSError`.
    """
    with TemporaryFile(dir=folder) as file:
        file.write(b"\xff" * _SIZE)
        file.flush()
        return Scales(os.dup(file.fileno()), 1, connections)


def weighed(port: Any, scales: Scales) -> None:
    """Have a port accept one connection at a time, and let workers with fewer connections go first.
    (Twisted accepts a hundred at a time.)
    """
    read: Callable[[], object] = port.doRead
    looks, free = 0, 0.0

    def fairly() -> object:
        nonlocal looks, free
        scales.weigh()
        if scales.has_more() and (now := port.reactor.seconds()) >= free:
            looks += 1
            if looks <= _LOOKS:
                port.stopReading()
                port.reactor.callLater(_LOOK, again)
                return None
            free = now + _FREE
        looks = 0
        port.numberAccepts = 1  # Twisted's port has no setting for it
        result = read()
        scales.weigh()
        return result

    def again() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()

    port.doRead = fairly  # the reactor calls it; endpoints offer no class for their ports
    port.reactor.callWhenRunning(scales.weigh)


STEADY = 10.0
"""Seconds of life after which a worker's end does not delay the next one."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the next try, if the previous worker ended sooner."""
PATIENCE = 20.0
"""Seconds that workers get to end in order: as long as requests under way may take, and the rest of
a stop.
"""


@frozen(kw_only=True)
class Command:
    """How a worker is started. No secrets in `arguments`: all users of the machine see them."""

    arguments: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    folder: str
    orders: Callable[[], Message]
    """Return the first message to a new worker, to which its ``worker`` number and the ``sockets``
    are added.
    """
    text: int
    """The descriptor of a file with the text of the configuration."""


@define(eq=False)
class Supervisor:
    """The workers from 2 to `count`. `write` takes whole lines of their logs."""

    count: int
    command: Command
    siblings: Siblings
    scales: Scales
    reactor: Any
    write: Callable[[str], object] = field(repr=False)
    _sockets: tuple[ListeningSocket, ...] = field(default=(), init=False)
    _processes: dict[int, WorkerProcess] = field(factory=dict, init=False)
    """Those that run, by number."""
    _starts: dict[int, Any] = field(factory=dict, init=False)
    """The scheduled calls that start the next workers, by number."""
    _failures: Counter[int] = field(factory=Counter, init=False)
    """How many workers of each number ended soon, one after the other."""
    _reloaded: bool = field(default=False, init=False)
    """Whether more is in force than the configuration that they start with."""
    _stopped: Deferred[None] | None = field(default=None, init=False, repr=False)
    _killing: Any = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.siblings.connect(self._spread)

    # --- start ------------------------------------------------------------------------------------

    def begin(self, sockets: Sequence[ListeningSocket]) -> None:
        """Start the workers, once, with these sockets. Call it while the reactor runs."""
        if self._processes or self._starts or self._stopped is not None:
            return
        self._sockets = tuple(sockets)
        for number in range(2, self.count + 1):
            self._start(number)

    def _start(self, number: int) -> None:
        self._starts.pop(number, None)
        listening = [{"text": socket.text, "family": socket.family} for socket in self._sockets]
        orders = {**self.command.orders(), "worker": number, "sockets": listening}
        worker = WorkerProcess(number, self, orders, self.write, self.reactor.seconds())
        self._processes[number] = worker
        try:
            with open(os.devnull, "rb") as nothing:
                self.reactor.spawnProcess(
                    worker,
                    self.command.arguments[0],
                    [*self.command.arguments, str(number)],
                    env=dict(self.command.environ),
                    path=self.command.folder,
                    childFDs={
                        0: nothing.fileno(),
                        1: "r",
                        2: "r",
                        HEARS: "w",
                        TELLS: "r",
                        SCALES: self.scales.descriptor,
                        TEXT: self.command.text,
                        **{
                            SOCKETS + index: socket.descriptor
                            for index, socket in enumerate(self._sockets)
                        },
                    },
                )
        except OSError as error:  # the system is out of processes or descriptors
            del self._processes[number]
            end = f"worker {number} cannot be started: {error.strerror}"
            self._replace(number, end, is_steady=False)

    def is_ready(self, worker: WorkerProcess) -> None:
        """Log that the worker answers, and order a reload if there was one."""
        _log.info("worker {worker} (process {pid}) is ready", worker=worker.number, pid=worker.pid)
        if self._reloaded:
            worker.send({ORDER: RELOAD})

    # --- reload and messages ----------------------------------------------------------------------

    def reload(self) -> None:
        """Have all workers reload, also those that start later."""
        self._reloaded = True
        self._order(RELOAD)

    def _order(self, what: str) -> None:
        for worker in self._running():
            worker.send({ORDER: what})

    def _running(self) -> list[WorkerProcess]:
        return list(self._processes.values())

    def _spread(self, message: Message, sender: WorkerProcess | None = None) -> None:
        for worker in self._running():
            if worker is not sender:
                worker.send({BROADCAST: message})

    def received(self, worker: WorkerProcess, message: Message) -> None:
        """Pass a worker's message on to all others."""
        self._spread(message, worker)
        self.siblings.hear(message)

    # --- ends -------------------------------------------------------------------------------------

    def has_ended(self, worker: WorkerProcess, reason: Failure) -> None:
        """Replace a worker that has ended and whose output was read, unless all are to end."""
        del self._processes[worker.number]
        self.scales.leave(worker.number)
        self.siblings.tell({"kind": ENDED, "worker": worker.number})
        if self._stopped is not None:
            self._look_whether_all_ended()
            return
        end = f"worker {worker.number} (process {worker.pid}) {_how(worker, reason.value)}"
        is_steady = worker.ready and self.reactor.seconds() - worker.started >= STEADY
        self._replace(worker.number, end, is_steady=is_steady)

    def _replace(self, number: int, end: str, *, is_steady: bool) -> None:
        """Start another worker, after a pause that grows unless the last one was steady. `end`: how
        that one ended, for the log.
        """
        pause = 0.0
        if is_steady:
            self._failures[number] = 0
            _log.warn("{end}; another takes its place", end=end)
        else:
            pause = min(FIRST_PAUSE * 2.0 ** self._failures[number], LONGEST_PAUSE)
            self._failures[number] = min(self._failures[number] + 1, 10)
            _log.error(
                "{end}; another is started in {pause:.0f} s, and this one goes on",
                end=end,
                pause=pause,
            )
        self._starts[number] = self.reactor.callLater(pause, self._start, number)

    # --- stop -------------------------------------------------------------------------------------

    def stop(self) -> Deferred[None]:
        """Stop all workers as this one stops: requests under way finish first. Fires when all have
        ended.
        """
        self._stopped = Deferred()
        for starting in self._starts.values():
            starting.cancel()
        self._starts.clear()
        for worker in self._running():
            if worker.ready:
                worker.send({ORDER: STOP})
            else:
                worker.kill()  # it has no clients yet
        if not self._running():
            return succeed(None)
        self._killing = self.reactor.callLater(PATIENCE, self._kill)
        return self._stopped

    def hurry(self) -> None:
        """Stop waiting for requests under way."""
        self._order(HURRY)

    def _kill(self) -> None:
        for worker in self._running():
            _log.error(
                "worker {worker} (process {pid}) does not stop, and is killed",
                worker=worker.number,
                pid=worker.pid,
            )
            worker.kill()

    def _look_whether_all_ended(self) -> None:
        if self._running() or self._stopped is None or self._stopped.called:
            return
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        self._stopped.callback(None)


def _how(worker: WorkerProcess, error: BaseException | None) -> str:
    """Return how it ended, in words."""
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        return f"was ended by {Signals(error.signal).name}"
    status = getattr(error, "exitCode", None)
    if not worker.ready:
        return f"could not start (status {status}; its own lines say why)"
    return (
        "ended in order, though it was not told to"
        if status == 0
        else f"ended with status {status}"
    )
