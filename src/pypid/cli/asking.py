"""Asking the daemon, and printing its answer as it came."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec


def ask(options: argparse.Namespace, method: str, url: str, document: Any = None) -> Any:
    """One request to the running daemon, or to one that is started for it."""
    from pypid import service  # it takes a while to import, which `--help` need not wait for
    from pypid.control import Question

    return service.ask(options.config, Question(method, url, document))


def print_json(answer: Any) -> None:
    """For scripts."""
    print(msgspec.json.format(msgspec.json.encode(answer)).decode())
