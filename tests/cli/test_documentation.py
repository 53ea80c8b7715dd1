"""The command lines in the documentation, and the reference of the commands."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.command_lines import commands_below, tree
from tests.extensions import extension

ROOT = Path(__file__).parents[2]


class PageTests(SynchronousTestCase):
    """docs/reference/command-line.rst."""

    def test_complete(self) -> None:
        """The page has each command, with its options."""
        text = "\n".join(extension("commands").sections(tree()))
        for name, parser in commands_below(tree()):
            start = text.index(f".. _command-{'-'.join(name)}:\n")
            section = text[start : text.find(".. _command-", start + 1)]
            for action in parser._actions:
                if action.option_strings and action.help != "==SUPPRESS==":
                    self.assertIn(max(action.option_strings, key=len), section + "--help")
