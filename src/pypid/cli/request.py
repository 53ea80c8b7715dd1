"""Requests of the commands to the daemon."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from pypid.core.errors import PypidError

if TYPE_CHECKING:  # `--help` need not wait for it
    from pypid.daemon.control import ControlRequest


PATIENCE = 2.0
"""Seconds without output, after which a terminal shows what a command waits for."""


class NotRunning(PypidError):
    """No pypid runs for the configuration."""

    def __init__(self, message: str) -> None:
        self.message = message

    def text(self) -> str:
        return self.message


def send_request(
    options: argparse.Namespace,
    method: str,
    url: str,
    document: Any = None,
    *,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    running_only: bool = False,
) -> Any:
    """Send one request to the running daemon, or to one that is started for it, and return the
    answer. `on_progress` is called with progress events, if the daemon sends any.

    With `running_only` none is started. Raises `ControlRefused`, `NotRunning`.
    """
    from pypid.daemon.control import ControlRequest

    return exchange(
        options.config,
        ControlRequest(method, url, document, on_progress, of_running=running_only),
    )


def send_series(options: argparse.Namespace, request: ControlRequest) -> Any:
    """Send the request and those that follow it (`ControlRequest.then`) to the running daemon, or
    to one that is started for them; return the last answer. Raises `ControlRefused`.
    """
    return exchange(options.config, request)


def poll(options: argparse.Namespace, url: str, on_answer: Callable[[Any], None]) -> None:
    """Repeat a request to the running daemon until Ctrl-C; `on_answer` gets each answer."""
    from pypid.daemon.control import ControlRefused, ControlRequest

    def repeat(answer: Any) -> ControlRequest:
        on_answer(answer)
        return request

    request = ControlRequest("GET", url, then=repeat, of_running=True)
    try:
        exchange(options.config, request)
    except NotRunning:
        raise ControlRefused(
            "pypid is not running, so there are no new entries. Start it, or omit --follow."
        ) from None


def exchange(file: Path, request: ControlRequest) -> Any:
    """Return the answer of the daemon of this configuration, or of one that is started for it.
    Raises `ControlRefused`.
    """
    from pypid.core.configuration.lookup import display_name, is_built_in
    from pypid.daemon.control import Control, ControlRefused, listens
    from pypid.daemon.state import control_socket, where
    from pypid.wiring.configuration import load_config

    config = load_config(file)
    state = where(config, os.environ).state
    path = control_socket(state)
    if listens(path):
        return Control(path).answers(request)
    if request.of_running:
        raise NotRunning(f"pypid is not running with the configuration {display_name(file)}.")
    if is_built_in(file) and not state.exists():
        raise ControlRefused(
            f"No configuration file was found, and the data folder {state} does not exist. Start "
            "the index with `pypid serve`, or name its configuration with --config."
        )
    with _note_after(PATIENCE, "pypid is not running. Starting it for this command ..."):
        from pypid.wiring import single_command  # imports all of a daemon, which takes a while

        return single_command.ask(config, request)


@contextmanager
def _note_after(seconds: float, text: str) -> Iterator[None]:
    """Print the text on standard error, if it is a terminal, when the block takes this long."""
    timer = Timer(seconds, lambda: print(text, file=sys.stderr, flush=True))
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
