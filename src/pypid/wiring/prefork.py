"""Several workers: how the first one starts the others, and what each of those is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from twisted.internet.interfaces import IProtocolFactory

from pypid.core.configuration.parse import Config
from pypid.daemon import logs
from pypid.daemon.listeners import Listener, public
from pypid.daemon.state import StateFolder, StatePaths
from pypid.daemon.tls import Certificate
from pypid.prefork.connection_balance import Scales, make_scales
from pypid.prefork.messages import Message
from pypid.prefork.supervisor import Command, Supervisor
from pypid.wiring.configuration import config_text
from pypid.wiring.platform import Platform

BACKLOG = 1024
"""Connections that may wait to be accepted, for a listener without ``backlog=`` of its own."""
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


def scales_of(
    config: Config, state: StateFolder, connections: Callable[[], int], platform: Platform
) -> Scales | None:
    """Return the scales, if there are several workers. `connections` returns how many this one
    has.
    """
    if platform.joining is not None:
        return Scales(platform.joining.scales, platform.joining.worker, connections)
    is_one = config.server.workers == 1 or not platform.serves_clients
    return None if is_one else make_scales(state.folder, connections)


def listeners_of(
    config: Config,
    site: IProtocolFactory,
    certificate: Certificate | None,
    scales: Scales | None,
    platform: Platform,
) -> list[Listener]:
    """Return the listeners for clients: as configured, or on the first worker's sockets. Raises
    `CannotStart`.
    """
    listener = partial(
        public,
        platform.reactor,
        site=site,
        certificate=certificate,
        scales=scales,
        backlog=BACKLOG,
    )
    if not platform.serves_clients:
        return []
    if platform.joining is None:
        return [listener(text) for text in config.server.listen]
    return [listener(socket.text, of=socket) for socket in platform.joining.sockets]


def supervisor_of(
    config: Config, paths: StatePaths, scales: Scales | None, platform: Platform
) -> Supervisor | None:
    """Return the supervisor of the other workers, which are not started yet; None if there are
    none, or the first worker has it.

    A worker that starts gets the text that the configuration file had here: all have the same, even
    if the file is edited meanwhile.
    """
    if scales is None or not platform.is_first:
        return None
    control = platform.log_level_control

    def orders() -> Message:
        is_changed = control is not None and control.in_force != control.configured
        return {
            "config": str(paths.ini),
            "state": str(paths.state),
            "workers": platform.worker_count,
            "level": control.in_force if control is not None and is_changed else None,
            "path": platform.environ.get("PYTHONPATH"),
        }

    command = Command(
        arguments=(sys.executable, "-P", "-m", PROGRAM),
        environ=_environ(platform.environ),
        folder=str(Path.cwd()),  # relative paths of a pypicloud's config.ini begin here
        orders=orders,
        text=_nameless(paths),
    )
    return Supervisor(
        config.server.workers,
        command,
        platform.siblings,
        scales,
        platform.reactor,
        logs.written,
    )


def _nameless(paths: StatePaths) -> int:
    """Return the descriptor of an unnamed file, which no other process can open, with the text of
    the configuration (which may hold secrets).
    """
    with TemporaryFile(dir=paths.state) as file:
        file.write(config_text(paths.ini))
        file.flush()
        return os.dup(file.fileno())


def _environ(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, with the import path of this Python, also where it was
    given explicitly (a zip file, ``-m``, a folder).
    """
    import_path = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    return {
        **{name: text for name, text in own.items() if name not in _OF_THE_SERVICE},
        "PYTHONPATH": import_path,
    }
