"""A further worker: it serves on the sockets of the first worker, and ends when that one does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from pypid import prefork
from pypid.core.errors import PypidError
from pypid.daemon import logs
from pypid.daemon.daemon import Daemon, ProcessEnded, WorkerProgram
from pypid.daemon.sd_notify import READY
from pypid.prefork.link import SupervisorLink, connect
from pypid.prefork.messages import ListeningSocket, Message, Siblings
from pypid.prefork.supervisor import HURRY, RELOAD, SCALES, SOCKETS, STOP, TEXT
from pypid.wiring.platform import Joining, Platform, begin_logging, load_config
from pypid.wiring.recipe import make_daemon

_log = Logger()


def work(orders: Message) -> None:
    """Run until the first worker orders a stop. Exits where it cannot start, with the error's
    text.
    """
    from twisted.internet import reactor

    prefork.set_number(orders["worker"])
    try:
        config = load_config(
            Path(orders["config"]), orders["workers"], os.pread(TEXT, os.fstat(TEXT).st_size, 0)
        )
        log_level_control = logs.Threshold(config.log.level.value)
        log_level_control.use(orders["level"])
        siblings = Siblings()
        link = SupervisorLink(siblings, lambda order: _heed(worker, daemon, order), _gone)
        joining = Joining(
            worker=orders["worker"],
            sockets=_sockets(orders),
            scales=SCALES,
            siblings=siblings,
            notify=lambda text: link.is_ready() if text == READY else None,
        )
        environ = {**os.environ, "STATE_DIRECTORY": orders["state"]}
        platform = Platform(
            reactor, environ, log_level_control, worker_count=orders["workers"], joining=joining
        )
        daemon = make_daemon(config, platform)
    except PypidError as error:
        sys.exit(f"pypid: {error}")
    worker = WorkerProgram(daemon, reactor)
    begin_logging(log_level_control, config.log.format.value, sys.stdout, redirect=True)
    reactor.callWhenRunning(connect, link, reactor)
    try:
        worker.startService()
    except ProcessEnded:
        sys.exit(1)
    reactor.addSystemEventTrigger("before", "shutdown", worker.stopService)
    reactor.addSystemEventTrigger(
        "during", "shutdown", link.end
    )  # then the reactor closes all that is open
    reactor.run()


def _sockets(orders: Message) -> tuple[ListeningSocket, ...]:
    return tuple(
        ListeningSocket(each["text"], SOCKETS + index, each["family"])
        for index, each in enumerate(orders["sockets"])
    )


def _heed(worker: WorkerProgram, daemon: Daemon, order: str) -> Any:
    if order == STOP:
        worker.end()
    elif order == HURRY:
        worker.end()
        daemon.hurry()
    elif order == RELOAD:
        daemon.reload()


def _gone() -> None:
    """End at once, since the first worker is gone, so that a new one gets the sockets. As if this
    worker was killed, too.
    """
    os._exit(1)
