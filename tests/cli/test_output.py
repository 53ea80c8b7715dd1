"""Tables of the commands on terminals and in files."""

from __future__ import annotations

import io
import shutil
import sys
from os import terminal_size

from twisted.trial.unittest import SynchronousTestCase

from pypid.cli.output import print_table


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


class TableTests(SynchronousTestCase):
    def shown(self, stream: io.StringIO) -> list[str]:
        """The lines of a table with a long cell."""
        self.patch(sys, "stdout", stream)
        self.patch(shutil, "get_terminal_size", lambda: terminal_size((20, 24)))
        print_table(("A", "B"), [("short", "x"), ("a", "long " * 20)])
        return stream.getvalue().splitlines()

    def test_cut(self) -> None:
        """On a terminal no line is longer than it is wide; a line that was cut ends with an
        ellipsis.
        """
        lines = self.shown(Terminal())
        self.assertEqual(lines, ["A      B", "short  x", "a      long long lo…"])

    def test_whole(self) -> None:
        """In a file or a pipe the lines are whole."""
        self.assertEqual(self.shown(io.StringIO())[2], "a      " + ("long " * 20).rstrip())
