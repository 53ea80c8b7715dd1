"""The daemon as a process: the signals that it handles, and how it ends where it cannot start."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from pypid.core.errors import CannotStart
from pypid.daemon.daemon import Daemon

_log = Logger()


class ProcessEnded(SystemExit, Exception):
    """The end of a process that has nothing to run; the text was logged.

    For an `Exception` twistd cleans up (its pid file, the process that waits for a daemon); for a
    `SystemExit` Python prints no traceback.
    """

    __module__ = "pypid"  # twistd prints 100 bytes of "module.Class: text": leave room for text

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1


class Process(MultiService):
    """A service that runs one `Daemon`, and handles signals.

    SIGTERM and SIGINT: stop, with status 0, since a stop was requested; a second time: do not wait
    for requests under way. SIGHUP: reload. SIGUSR1: `rotate` the log file, if there is one, as
    twistd does.
    """

    def __init__(
        self, daemon: Daemon, reactor: Any, rotate: Callable[[], object] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        self._daemon = daemon
        self._reactor = reactor
        self._rotate = rotate
        daemon.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        self._reactor.addSystemEventTrigger("after", "shutdown", self._has_ended)
        # By then the reactor has set its own handlers, which make twistd end itself by the signal.
        # Before the daemon starts, since a SIGHUP may come as soon as it says READY.
        self._reactor.callWhenRunning(self._heed)
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except CannotStart as error:
            _log.critical("{error}", error=error)
            raise ProcessEnded(str(error)) from None

    def _heed(self) -> None:
        heeded: list[tuple[signal.Signals, Callable[[], object]]] = [
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            (signal.SIGHUP, self._daemon.reload),
        ]
        if self._rotate is not None:
            heeded.append((signal.SIGUSR1, self._rotate))
        for number, job in heeded:
            signal.signal(number, lambda *_, job=job: self._reactor.callFromThread(job))

    def _has_ended(self) -> None:
        """End with status 1 if the daemon failed: neither twistd nor a reactor has another
        status than 0.
        """
        if self._daemon.failed:
            atexit.register(_end_with_failure)

    def _end(self) -> None:
        if self._daemon.stopping:
            self._daemon.hurry()
        else:
            self.end()

    def end(self) -> None:
        """Stop in order."""
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # something else has stopped it
            return


class WorkerProgram(Process):
    """A further worker. SIGTERM, also from systemd, which signals all processes: stop in order.
    Everything else comes from the first worker.
    """

    def _heed(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self.end))


def _end_with_failure() -> None:
    """End the process, after the pid file was removed and all is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
