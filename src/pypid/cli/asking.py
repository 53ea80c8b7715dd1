"""Requests of the commands to the daemon, and printing of its answers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:  # `--help` need not wait for it
    from pypid.daemon.control import ControlRequest


def ask(
    options: argparse.Namespace,
    method: str,
    url: str,
    document: Any = None,
    *,
    tell: Callable[[Mapping[str, Any]], None] | None = None,
    of_running: bool = False,
) -> Any:
    """Send one request to the running daemon, or to one that is started for it, and return the
    answer. `tell` is called with progress events, if the daemon sends any.

    With `of_running` none is started.
    """
    from pypid.daemon.control import ControlRequest

    return answer(
        options.config, ControlRequest(method, url, document, tell, of_running=of_running)
    )


def follow(options: argparse.Namespace, url: str, heard: Callable[[Any], None]) -> None:
    """Repeat a request to the running daemon until Ctrl-C; `heard` gets each answer."""
    from pypid.daemon.control import ControlRequest

    def again(answer: Any) -> ControlRequest:
        heard(answer)
        return question

    question = ControlRequest("GET", url, then=again)
    answer(options.config, question)


def answer(file: Path, question: ControlRequest) -> Any:
    """Return the answer of the daemon of this configuration, or of one that is started for it.
    Raises `ControlRefused`.
    """
    from pypid.daemon.control import Control, ControlRefused, listens
    from pypid.daemon.state import control_socket, where
    from pypid.wiring.configuration import load_config

    config = load_config(file)
    path = control_socket(where(config, os.environ).state)
    if listens(path):
        return Control(path).answers(question)
    if question.then is not None:
        raise ControlRefused(
            "There is nothing to follow: pypid is not running. Start it, or ask without --follow."
        )
    if question.of_running:
        raise ControlRefused(
            "pypid is not running. It starts with what the configuration says: [log] level, for "
            "example."
        )
    from pypid.wiring import single_command  # imports all of a daemon, which takes a while

    return single_command.ask(config, question)


def print_json(answer: Any) -> None:
    """Print the answer as JSON, for scripts."""
    print(msgspec.json.format(msgspec.json.encode(answer)).decode())
