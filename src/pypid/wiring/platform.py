"""The process that a daemon runs in: its reactor, environment, clock and threads, and its role."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen

from pypid.core.errors import CannotStart
from pypid.daemon import logs
from pypid.daemon.sd_notify import notify, watchdog
from pypid.daemon.state import StateFolder, join_state, open_state
from pypid.flow import World
from pypid.flow.clock import use_monotonic_clock
from pypid.flow.spool import sweep, sweep_collections
from pypid.flow.threads import Threads
from pypid.prefork.messages import Siblings
from pypid.prefork.sockets import ListeningSocket

THREADS = 16
"""Threads for blocking calls: the disk, password hashes, archives."""


def the_world(reactor: Any) -> World:
    """Return the real world. Before the reactor runs there is nothing to stall: blocking calls then
    run at once.

    Gives the reactor a monotonic clock: call it before anything is scheduled.
    """
    use_monotonic_clock(reactor)
    return World(
        clock=reactor,
        now=lambda: datetime.now(UTC),
        blocking=Threads(reactor, "blocking", THREADS),
        random=secrets.token_bytes,
    )


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


@frozen
class Platform:
    """The process that a daemon runs in."""

    reactor: Any
    environ: Mapping[str, str] = field(repr=False)
    log_level_control: logs.Threshold | None = None
    """The threshold of the log; None if pypid does not write the log."""
    worker_count: int | None = None
    """The number of workers on the command line, if any; the configuration has it, too."""
    joining: Joining | None = None
    """Set in a further worker."""
    serves_clients: bool = True
    """Whether it listens for clients; else on the control socket alone, to answer one command."""
    world: World = field(
        default=Factory(lambda platform: the_world(platform.reactor), takes_self=True)
    )
    siblings: Siblings = field(
        default=Factory(
            lambda platform: Siblings() if platform.joining is None else platform.joining.siblings,
            takes_self=True,
        )
    )
    """All workers, this one included."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first, or only, worker."""
        return self.joining is None

    @property
    def greets(self) -> bool:
        """Whether this process prints the greeting of a first run."""
        return self.is_first and self.serves_clients

    @property
    def notify(self) -> Callable[[str], object]:
        """The receiver of notifications for the service manager."""
        if self.joining is not None:
            return self.joining.notify
        return partial(notify, self.environ if self.serves_clients else {})

    @property
    def watchdog(self) -> float | None:
        """Seconds within which the service manager requires a sign of life; None if it does not."""
        return watchdog(self.environ, os.getpid()) if self.greets else None

    def open_state(self, folder: Path) -> StateFolder:
        """Open the state folder: locked by the first worker, joined by the others. What a crash
        left in the spool is removed. Raises `CannotStart`.
        """
        state = (
            open_state(folder) if self.joining is None else join_state(folder, self.joining.worker)
        )
        with state.released_on_error():
            try:
                sweep(state.spool)
                sweep_collections(state.spool)
            except OSError as error:
                raise CannotStart(
                    f"The folder {state.spool} cannot be used: {error.strerror}. It is in [server] "
                    "state."
                ) from None
        return state
