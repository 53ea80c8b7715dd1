"""Asking the daemon, and printing its answer as it came."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


def ask(
    options: argparse.Namespace,
    method: str,
    url: str,
    document: Any = None,
    *,
    tell: Callable[[Mapping[str, Any]], None] | None = None,
    of_running: bool = False,
) -> Any:
    """One request to the running daemon, or to one that is started for it. `tell` hears how far it is, where it says so.

    With `of_running` none is started.
    """
    from pypid import service  # it takes a while to import, which `--help` need not wait for
    from pypid.control import Question

    return service.ask(options.config, Question(method, url, document, tell, of_running=of_running))


def follow(options: argparse.Namespace, url: str, heard: Callable[[Any], None]) -> None:
    """Ask the running daemon again and again, until somebody presses Ctrl-C; `heard` gets each answer."""
    from pypid import service
    from pypid.control import Question

    def again(answer: Any) -> Question:
        heard(answer)
        return question

    question = Question("GET", url, then=again)
    service.ask(options.config, question)


def print_json(answer: Any) -> None:
    """For scripts."""
    print(msgspec.json.format(msgspec.json.encode(answer)).decode())
