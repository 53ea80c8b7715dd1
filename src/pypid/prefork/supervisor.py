"""The supervisor in the first worker: starts, notifies, replaces and stops the other workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from signal import Signals
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.prefork.connection_balance import Scales
from pypid.prefork.messages import ENDED, Message, Siblings
from pypid.prefork.sockets import ListeningSocket
from pypid.prefork.worker_process import (
    HEARS,
    HURRY,
    ORDER,
    RELOAD,
    SCALES,
    SOCKETS,
    STOP,
    TELLS,
    TEXT,
    TOLD,
    WorkerProcess,
)

_log = Logger()

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
class _Place:
    """The slot of one worker number, for a worker and its replacements."""

    number: int
    member: WorkerProcess | None = None
    failures: int = 0
    """How many of them ended soon, one after the other."""
    waiting: Any = None
    """The scheduled call that starts the next one."""


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
    _places: tuple[_Place, ...] = field(default=(), init=False)
    _reloaded: bool = field(default=False, init=False)
    """Whether more is in force than the configuration that they start with."""
    _stopped: Deferred[None] | None = field(default=None, init=False, repr=False)
    _killing: Any = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.siblings.send = self._spread

    # --- start ------------------------------------------------------------------------------------

    def begin(self, sockets: Sequence[ListeningSocket]) -> None:
        """Start the workers, once, with these sockets. Call it while the reactor runs."""
        if self._places or self._stopped is not None:
            return
        self._sockets = tuple(sockets)
        self._places = tuple(_Place(number) for number in range(2, self.count + 1))
        for place in self._places:
            self._start(place)

    def _start(self, place: _Place) -> None:
        place.waiting = None
        listening = [{"text": socket.text, "family": socket.family} for socket in self._sockets]
        orders = {**self.command.orders(), "worker": place.number, "sockets": listening}
        place.member = member = WorkerProcess(
            place.number, self, orders, self.write, self.reactor.seconds()
        )
        try:
            with open(os.devnull, "rb") as nothing:
                self.reactor.spawnProcess(
                    member,
                    self.command.arguments[0],
                    [*self.command.arguments, str(place.number)],
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
            self._replace(
                place, f"worker {place.number} cannot be started: {error.strerror}", soon=False
            )

    def is_ready(self, member: WorkerProcess) -> None:
        """Log that the worker answers, and order a reload if there was one."""
        _log.info(
            "worker {worker} (process {pid}) answers, too", worker=member.number, pid=member.pid
        )
        if self._reloaded:
            member.send({ORDER: RELOAD})

    # --- reload and messages ----------------------------------------------------------------------

    def reload(self) -> None:
        """Have all workers reload, also those that start later."""
        self._reloaded = True
        self._order(RELOAD)

    def _order(self, what: str) -> None:
        for member in self._members():
            member.send({ORDER: what})

    def _members(self) -> list[WorkerProcess]:
        return [place.member for place in self._places if place.member is not None]

    def _spread(self, message: Message, teller: WorkerProcess | None = None) -> None:
        for member in self._members():
            if member is not teller:
                member.send({TOLD: message})

    def heard(self, member: WorkerProcess, message: Message) -> None:
        """Pass a worker's message on to all others."""
        self._spread(message, member)
        self.siblings.hear(message)

    # --- ends -------------------------------------------------------------------------------------

    def has_ended(self, member: WorkerProcess, reason: Failure) -> None:
        """Replace an ended worker, unless all are to end."""
        place = self._places[member.number - 2]
        place.member = None
        self.scales.leave(member.number)
        self.siblings.tell({"kind": ENDED, "worker": member.number})
        if self._stopped is not None:
            self._look_whether_all_ended()
            return
        said = f"worker {member.number} (process {member.pid}) {_how(member, reason.value)}"
        self._replace(
            place, said, soon=member.ready and self.reactor.seconds() - member.started >= STEADY
        )

    def _replace(self, place: _Place, said: str, *, soon: bool) -> None:
        place.member = None
        if soon:
            place.failures, pause = 0, 0.0
            _log.warn("{said}; another takes its place", said=said)
        else:
            pause = min(FIRST_PAUSE * 2.0**place.failures, LONGEST_PAUSE)
            place.failures = min(place.failures + 1, 10)
            _log.error(
                "{said}; another is started in {pause:.0f} s, and this one goes on",
                said=said,
                pause=pause,
            )
        place.waiting = self.reactor.callLater(pause, self._start, place)

    # --- stop -------------------------------------------------------------------------------------

    def stop(self) -> Deferred[None]:
        """Stop all workers as this one stops: requests under way finish first. Fires when all have
        ended.
        """
        self._stopped = Deferred()
        for place in self._places:
            if place.waiting is not None:
                place.waiting.cancel()
                place.waiting = None
        for member in self._members():
            if member.ready:
                member.send({ORDER: STOP})
            else:
                member.kill()  # it has no clients yet
        if not self._members():
            return succeed(None)
        self._killing = self.reactor.callLater(PATIENCE, self._kill)
        return self._stopped

    def hurry(self) -> None:
        """Stop waiting for requests under way."""
        self._order(HURRY)

    def _kill(self) -> None:
        for member in self._members():
            _log.error(
                "worker {worker} (process {pid}) does not end, and is killed",
                worker=member.number,
                pid=member.pid,
            )
            member.kill()

    def _look_whether_all_ended(self) -> None:
        if self._members() or self._stopped is None or self._stopped.called:
            return
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        self._stopped.callback(None)


def _how(member: WorkerProcess, error: BaseException | None) -> str:
    """Return how it ended, in words."""
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        return f"was ended by {Signals(error.signal).name}"
    status = getattr(error, "exitCode", None)
    if not member.ready:
        return f"could not start (status {status}; its own lines say why)"
    return (
        "ended in order, though it was not told to"
        if status == 0
        else f"ended with status {status}"
    )
