"""A single command that needs a reactor: it starts a pypid for its question, since none runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from pypid.flow import start

if TYPE_CHECKING:
    from pypid.core.configuration.parse import Config
    from pypid.daemon.control import ControlRequest
    from pypid.daemon.daemon import Daemon

T = TypeVar("T")

OPENS_WITHIN, LOOK = 10.0, 0.02
"""Seconds that a bucket has to answer, which knows which accounts belong to it; and between two
looks.
"""


def ask(config: Config, question: ControlRequest) -> Any:
    """Return the answer of a pypid that is started for the question, and ends with it.

    Runs the reactor, once. Raises `ControlRefused` and whatever the start raises;
    `KeyboardInterrupt` if it is stopped.
    """
    from twisted.internet import reactor

    # these import all of a daemon, which takes a while; `run` works without one
    from pypid.daemon.control import Control
    from pypid.wiring.platform import Platform, begin_logging
    from pypid.wiring.recipe import make_daemon

    begin_logging("warn", "text", sys.stderr, redirect=False)
    # made before the reactor runs, as in a start: then nothing has to wait
    daemon = make_daemon(config, Platform(reactor, dict(os.environ), serves_clients=False))
    control = Control(daemon.state.control_socket)

    async def work() -> Any:
        try:
            clock = daemon.world.clock
            deadline = clock.seconds() + OPENS_WITHIN
            while not daemon.people.access.is_open and clock.seconds() < deadline:
                await deferLater(clock, LOOK)
            return await deferToThread(control.answers, question)
        finally:
            control.leave()  # a signal ends the reactor, which waits for its threads

    return run(reactor, work, daemon)


def run(
    reactor: Any, work: Callable[[], Coroutine[Any, Any, T]], daemon: Daemon | None = None
) -> T:
    """Return the result of `work`, running the reactor as long as it takes, once (and `daemon`, if
    there is one).

    Raises what it raises; `KeyboardInterrupt` if a signal ends the reactor before.
    """
    if daemon is not None:
        daemon.startService()
    outcome: list[Any] = []

    def begin() -> None:
        job = start(work())

        def give_up() -> None:
            if not outcome:  # a signal ends the reactor
                outcome.append(Failure(KeyboardInterrupt()))  # type: ignore[no-untyped-call]
                job.cancel()

        reactor.addSystemEventTrigger("before", "shutdown", give_up)
        if daemon is not None:
            reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        job.addBoth(outcome.append)
        job.addCallback(lambda _: _stop(reactor))

    reactor.callWhenRunning(begin)
    reactor.run()
    match outcome:
        case [Failure(value=BaseException() as error), *_]:
            raise error
        case [answer, *_]:
            return cast(T, answer)
    raise KeyboardInterrupt


def _stop(reactor: Any) -> None:
    try:
        reactor.stop()
    except ReactorNotRunning:  # a signal did
        return
