"""Declaration of commands: name, help, and common options."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.cli.grammar import HelpText

if TYPE_CHECKING:  # `--help` need not wait for it
    from pypid.core.configuration.lookup import FoundConfig

LOOKUP = "$PYPID_CONFIG, ./pypid.ini, ./etc/pypid.ini, /etc/pypid/pypid.ini, or built-in defaults"
"""The configuration that a command uses if none is named."""


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], object],
    help: str,
    *,
    config: bool = False,
    description: str | None = None,
    examples: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command that calls `run`, and return its parser.

    With `config` it has the options of commands that send requests to the daemon. `examples` are
    shown below its help, unchanged.
    """
    command = _add_parser(commands, name, help, description, examples)
    command.set_defaults(run=run)
    if config:
        add_config(command)
        add_json(command)
    return command


def add_group(commands: Any, name: str, help: str, *, examples: str | None = None) -> Any:
    """Add a noun, such as `user` of `pypid user list`, and return the subparsers for its verbs."""
    command = _add_parser(commands, name, help, None, examples)
    return command.add_subparsers(title="commands", metavar="COMMAND")


def _add_parser(
    commands: Any,
    name: str,
    help: str,
    description: str | None,
    examples: str | None,
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=examples and f"examples:\n{examples}",
        formatter_class=HelpText,
    )
    command.set_defaults(parser=command)
    return command


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the `--json` option."""
    command.add_argument("--json", action="store_true", help="print JSON")


def find_config(option: Path | None) -> FoundConfig:
    """Return the configuration of a command, and print a line on standard error for each file that
    is not trusted. Raises `CannotStart`.
    """
    from pypid.wiring.configuration import find_config

    found = find_config(option)
    for line in found.passed_over:
        print(f"pypid: {line}", file=sys.stderr)
    return found


def config_words(options: argparse.Namespace) -> str:
    """Return the `--config` option of this command, to append to a command that it prints; "" if it
    has none.
    """
    file: Path | None = options.named_config
    return "" if file is None else f" --config {shlex.quote(str(file))}"


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the `--config` option."""
    command.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        type=Path,
        help=f"the configuration file (default: the first of {LOOKUP})",
    )
