"""Commands of two words: `pypid user list`."""

from __future__ import annotations

import argparse
from typing import Any


def add_verbs(commands: Any, name: str, about: str, examples: str, metavar: str) -> Any:
    """A command that is followed by a verb; what comes back takes the verbs. `examples` stand below
    its help, as they are.
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
    """Examples and explanations below its help, as they are."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = text
    return command
