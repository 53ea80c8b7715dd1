"""Declaration of a command: its name, its help, and common options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEFAULT_CONFIG = "etc/pypid.ini"


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], object],
    help: str,
    *,
    config: bool = False,
) -> argparse.ArgumentParser:
    """Add a command that calls `run`, and return its parser. With `config` it has the options of
    commands that talk to the daemon.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + "."
    )
    command.set_defaults(run=run)
    if config:
        add_config(command)
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the `--config` option."""
    command.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        default=DEFAULT_CONFIG,
        type=Path,
        help=f"the configuration (default: {DEFAULT_CONFIG})",
    )
