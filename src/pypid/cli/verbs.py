"""Commands of two words, such as `pypid user list`."""

from __future__ import annotations

import argparse
from typing import Any


def add_verbs(commands: Any, name: str, about: str, examples: str, metavar: str) -> Any:
    """Add a command that is followed by a verb, and return the subparsers for its verbs. `examples`
    are shown below its help, unchanged.
    """
    command = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command.add_subparsers(title="what to do", metavar=metavar, required=True)


def explain(command: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    """Show examples and explanations below a command's help, unchanged; return the command."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = text
    return command
