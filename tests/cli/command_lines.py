"""Command lines of `pypid` in texts: in the help of commands, and in the documentation."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache

from pypid import cli
from pypid.cli.grammar import subcommands

Name = tuple[str, ...]
"""The words of a command: ``("user", "create")``."""

_COMMENT = re.compile(r"\s{3,}\S.*$")
"""What follows a command line in the help, after at least three spaces."""


@cache
def tree() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    return cli.parser()


def commands_below(
    parser: argparse.ArgumentParser, name: Name = ()
) -> Iterator[tuple[Name, argparse.ArgumentParser]]:
    """Yield the name and the parser of each command: nouns, and verbs after their noun."""
    for word, each in subcommands(parser).items():
        yield (*name, word), each
        yield from commands_below(each, (*name, word))


def pypid_lines(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of `pypid` in the lines of a text, which may have other
    programs, pipes and redirections. Text after three spaces is a comment.
    """
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if "pypid" in line:
            yield from _calls(_COMMENT.sub("", line.strip()))


def _calls(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # prose with an apostrophe
        return
    call: list[str] = []
    skip = False
    for token in [*tokens, ";"]:
        if set(token) <= set("|&;()"):
            yield from _arguments(call)
            call = []
        elif set(token) <= set("<>"):
            skip = True  # the file of a redirection
        elif skip:
            skip = False
        else:
            call.append(token)


def _arguments(call: list[str]) -> Iterator[list[str]]:
    while call and ("=" in call[0] or call[0] in ("sudo", "env", "exec", "time")):
        call = call[1:]
    if call[:1] == ["-u"]:
        call = call[2:]
    if call and call[0].rpartition("/")[2] == "pypid":
        yield call[1:]


def problem_of(words: list[str]) -> str | None:
    """Return what is wrong with a command line; None if `pypid` takes it as it is."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            tree().parse_args(words)
    except SystemExit as ended:
        return None if ended.code == 0 else output.getvalue()
    return None
