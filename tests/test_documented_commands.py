"""The commands and settings that the documentation shows exist."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from pypid import cli
from pypid.core.errors import BadConfig
from tests.support.configuration import parse

ROOT = Path(__file__).parent.parent
OTHER_PROGRAMS = (
    *("[global]", "[distutils]", "[acme]", "[Service]", "[Unit]", "[Socket]"),
    *("[mirror]", "[plugins]", "[allowlist]"),
)
"""Sections in files of pip, twine, systemd and bandersnatch, which pages show as well."""
_LINE = re.compile(r"^(?:[$#] )?(?:\.venv/bin/)?pypid (?![\d:])(.*)$", re.MULTILINE)
_OPERATORS = frozenset("();<>|&")
_SILENT = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False}


@cache
def pages() -> Mapping[str, nodes.document]:
    """Return README.rst and the pages of docs/, except decisions, by name."""
    paths = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
    return {
        str(path.relative_to(ROOT)): publish_doctree(path.read_text(), settings_overrides=_SILENT)
        for path in paths
        if "decisions" not in path.parts
    }


PARSER = cache(cli.parser)


def blocks(page: nodes.document) -> Iterator[str]:
    """Yield the text of the page's literal blocks, except output (`code-block:: text`)."""
    for block in page.findall(nodes.literal_block):
        if not isinstance(block.parent, nodes.system_message) and "text" not in block["classes"]:
            yield block.astext()


def words_of(line: str) -> list[str]:
    """Return the words of a shell command, to the first operator or comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= _OPERATORS:
            break
        words.append(word)
    return words


def refusal_of(line: str) -> str | None:
    """Return the parser's message if it does not accept the arguments."""
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            PARSER().parse_args(words_of(line))
        except SystemExit as end:
            if end.code:
                return output.getvalue().splitlines()[-1]
    return None


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the subcommands of the parser by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def names_command(text: str) -> bool:
    """Return whether the first words of the text are a command, or a noun with commands."""
    parser: argparse.ArgumentParser = PARSER()
    for word in text.split():
        choices = commands_of(parser)
        if not choices or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        if word not in choices:
            return False
        parser = choices[word]
    return True


class CommandTests(SynchronousTestCase):
    """`pypid` commands in README.rst and docs/."""

    def test_lines_are_accepted(self) -> None:
        """The parser accepts each command that a page shows on a line of its own."""
        lines = {
            (name, match[1])
            for name, page in pages().items()
            for block in blocks(page)
            for match in _LINE.finditer(block.replace("\\\n", " "))
        }
        refused = [(name, line, refusal_of(line)) for name, line in sorted(lines)]
        self.assertEqual([each for each in refused if each[2] is not None], [])
        self.assertGreater(len(lines), 100)

    def test_literals_name_commands(self) -> None:
        """A command that a sentence names is one of the commands."""
        texts = {
            (name, literal.astext().removeprefix("pypid "))
            for name, page in pages().items()
            for literal in page.findall(nodes.literal)
            if literal.astext().startswith("pypid ")
        }
        self.assertEqual([each for each in sorted(texts) if not names_command(each[1])], [])
        self.assertGreater(len(texts), 50)


class SettingTests(SynchronousTestCase):
    """Examples of the configuration in README.rst and docs/."""

    def test_keys_are_known(self) -> None:
        """Each section and key of an example is one of the configuration's."""
        examples = [
            (name, block)
            for name, page in pages().items()
            for block in blocks(page)
            if re.match(r"\[[\w:]+\]\n", block)
            and not any(section in block for section in OTHER_PROGRAMS)
        ]
        unknown = []
        for name, block in examples:
            try:
                parse(block, filename=name, environ={})
            except BadConfig as error:
                unknown += [text for text in map(str, error.problems) if "unknown" in text]
        self.assertEqual(unknown, [])
        self.assertGreater(len(examples), 40)
