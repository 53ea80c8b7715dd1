"""The command lines in the documentation, and the reference of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.command_lines import commands_below, problem_of, pypid_lines, tree
from tests.extensions import extension

ROOT = Path(__file__).parents[2]
FORMER = (ROOT / "CHANGES.rst",)
"""Pages that name former commands, or history."""
PLACEHOLDER = re.compile(r"\.\.\.|…|[A-Z]{2,}(?![a-z])")
"""What a command line has that is not to be typed like that."""
BLOCK = re.compile(r"\s*\.\. (?:code-block|code|parsed-literal)::(?! text$)|(?!\s*\.\. ).*::$")
"""The line before a literal block; one of ``text`` shows output."""


def pages() -> Iterator[Path]:
    """Yield the pages of the documentation, and the README."""
    for path in (ROOT / "README.rst", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.rst"))):
        if path.exists() and not any(path.is_relative_to(former) for former in FORMER):
            yield path


def literal_lines(text: str) -> str:
    """Return the lines of the literal blocks of a page."""
    found: list[str] = []
    start: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if start is not None and line.strip() and indent <= start:
            start = None
        if start is not None:
            found.append(line)
        elif BLOCK.match(line):
            start = indent
    return "\n".join(found)


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


class CommandLineTests(SynchronousTestCase):
    """Every `pypid ...` in the documentation is a command, with its current name."""

    def test_blocks(self) -> None:
        """Command lines in code blocks can be parsed as they are; with a placeholder, their names
        and options exist.
        """
        count = 0
        for path in pages():
            for words in pypid_lines(literal_lines(path.read_text()), comments=False):
                count += 1
                complete = not any(PLACEHOLDER.search(word) for word in words)
                problem = problem_of(words, complete=complete)
                self.assertIsNone(problem, f"{path.relative_to(ROOT)}: pypid {' '.join(words)}")
        self.assertGreater(count, 100)

    def test_inline(self) -> None:
        """Commands in the text have current names and known options; arguments may be omitted."""
        count = 0
        for path in pages():
            for literal in re.findall(r"``(pypid\s[^`]+)``", path.read_text()):
                for words in pypid_lines(" ".join(literal.split()), comments=False):
                    count += 1
                    problem = problem_of(words, complete=False)
                    self.assertIsNone(problem, f"{path.relative_to(ROOT)}: {literal}")
        self.assertGreater(count, 50)
