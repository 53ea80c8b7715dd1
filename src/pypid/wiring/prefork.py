"""Several workers: how the first one starts the others, and what each of those is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IProtocolFactory

from pypid.core.configuration.parse import Config
from pypid.daemon import logs
from pypid.daemon.listeners import Listener, public
from pypid.daemon.state import StateFolder, StatePaths
from pypid.daemon.tls import Certificate
from pypid.prefork.connection_balance import Scales, make_scales
from pypid.prefork.messages import Message, Siblings
from pypid.prefork.sockets import ListeningSocket
from pypid.prefork.supervisor import Command, Supervisor

PROGRAM = "pypid.cli.worker"
"""The module that Python runs as a further worker, with its number."""
_OF_THE_SERVICE = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""Variables that are meant for the first worker alone."""


@frozen
class Joining:
    """What a further worker gets from the first one. `notify` gets the notifications for the
    service manager.
    """

    worker: int
    sockets: tuple[ListeningSocket, ...]
    scales: int
    """The descriptor of the memory of `Scales`."""
    siblings: Siblings
    notify: Callable[[str], object]


def scales_of(
    config: Config, state: StateFolder, connections: Callable[[], int], joining: Joining | None
) -> Scales | None:
    """Return the scales, if there are several workers. `connections` returns how many this one
    has.
    """
    if joining is not None:
        return Scales(joining.scales, joining.worker, connections)
    return make_scales(state.folder, connections) if config.server.workers > 1 else None


def sockets_of(
    config: Config,
    reactor: Any,
    site: IProtocolFactory,
    certificate: Certificate | None,
    joining: Joining | None,
    scales: Scales | None,
) -> list[Listener]:
    """Return the listeners for clients: as configured, or on the first worker's sockets. Raises
    `CannotStart`.
    """
    listener = partial(
        public,
        reactor,
        site=site,
        certificate=certificate,
        scales=scales,
        backlog=config.server.backlog,
    )
    if joining is None:
        return [listener(text) for text in config.server.listen]
    return [listener(each.text, of=each) for each in joining.sockets]


def crew_of(
    config: Config,
    places: StatePaths,
    environ: Mapping[str, str],
    reactor: Any,
    siblings: Siblings,
    scales: Scales,
    workers: int | None,
    log_level_control: logs.Threshold | None,
) -> Supervisor:
    """Return the other workers, not started. `workers` is the number on the command line.

    A worker that starts gets the text that the configuration file had here: all have the same, even
    if the file is edited meanwhile.
    """

    def orders() -> Message:
        level = (
            None
            if log_level_control is None
            or log_level_control.in_force == log_level_control.configured
            else log_level_control.in_force
        )
        path = environ.get("PYTHONPATH")
        return {
            "config": str(places.ini),
            "state": str(places.state),
            "workers": workers,
            "level": level,
            "path": path,
        }

    command = Command(
        arguments=(sys.executable, "-P", "-m", PROGRAM),
        environ=_environ(environ),
        folder=str(Path.cwd()),  # relative paths of a pypicloud's config.ini begin here
        orders=orders,
        text=_nameless(places),
    )
    return Supervisor(config.server.workers, command, siblings, scales, reactor, logs.written)


def _nameless(places: StatePaths) -> int:
    """Return the descriptor of an unnamed file, which no other process can open, with the text of
    the configuration (which may hold secrets).
    """
    with TemporaryFile(dir=places.state) as file:
        file.write(places.ini.read_bytes())
        file.flush()
        return os.dup(file.fileno())


def _environ(ours: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, with the import path of this Python, also where it was
    given explicitly (a zip file, ``-m``, a folder).
    """
    found = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    return {
        **{name: text for name, text in ours.items() if name not in _OF_THE_SERVICE},
        "PYTHONPATH": found,
    }
