"""The directive ``.. commands::``: a section for each command, made of the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from textwrap import indent, wrap
from typing import Any

from generated import GeneratedText
from sphinx.application import Sphinx

from pypid.cli import parser
from pypid.cli.grammar import subcommands

WIDTH = 90
COMMON = ("-h", "--help", "--config", "--json")
"""Options that the page explains once, for all commands."""


def sections(top: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a section for each command, and for each verb of a noun."""
    for command in subcommands(top).values():
        yield from _section(command, "-")
        for verb in subcommands(command).values():
            yield from _section(verb, "~")


def _section(command: argparse.ArgumentParser, underline: str) -> Iterator[str]:
    yield f".. _command-{'-'.join(command.prog.split()[1:])}:\n"
    yield f"{command.prog}\n{underline * len(command.prog)}\n"
    yield from _filled(command.description or "")
    yield f".. program:: {command.prog}\n"
    yield ".. code-block:: text\n"
    yield indent(_usage(command), "   ") + "\n"
    for action in _described(command):
        names = ", ".join(action.option_strings) or _value(action)
        argument = "" if action.nargs == 0 or not action.option_strings else f" {_value(action)}"
        yield f".. option:: {names}{argument}\n"
        yield indent("\n".join(_filled(_sentence(action.help or ""))), "   ")
    yield from _epilog(command.epilog or "")


def _described(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in command._actions:
        is_common = any(option in COMMON for option in action.option_strings)
        if action.help and action.help != argparse.SUPPRESS and not is_common:
            yield action


def _usage(command: argparse.ArgumentParser) -> str:
    """Return the usage in lines; argparse's own differs between versions of Python."""
    words = []
    groups = {
        id(each): group
        for group in command._mutually_exclusive_groups
        for each in group._group_actions
    }
    seen = set()
    for action in sorted(command._actions, key=lambda action: not action.option_strings):
        if action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        group = groups.get(id(action))
        if group is None:
            words.append(_part(action))
        elif id(group) not in seen:
            seen.add(id(group))
            either = " | ".join(_part(each).strip("[]") for each in group._group_actions)
            words.append(f"({either})" if group.required else f"[{either}]")
    text = " ".join(part.replace(" ", "\xa0") for part in (command.prog, *words))
    lines = wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines).replace("\xa0", " ")


def _part(action: argparse.Action) -> str:
    if action.nargs == argparse.PARSER:
        return "COMMAND ..."
    if not action.option_strings:
        return f"[{_value(action)}]" if action.nargs == "?" else _value(action)
    text = max(action.option_strings, key=len)
    if action.nargs != 0:
        text += f" {_value(action)}"
    if isinstance(action, argparse._AppendAction):
        text += " ..."
    return text if action.required else f"[{text}]"


def _value(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _sentence(text: str) -> str:
    """Return the help of an option as a sentence."""
    if not text.startswith("pypi"):
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", ")")) else f"{text}."


def _epilog(text: str) -> Iterator[str]:
    """Yield the text below the help: indented lines unchanged, all others as prose."""
    blocks = groupby(text.splitlines(), key=lambda line: line.startswith("  ") or not line.strip())
    for is_literal, lines in blocks:
        block = "\n".join(lines).strip("\n")
        if not block:
            continue
        if is_literal:
            yield ".. code-block:: text\n"
            yield indent(block, " ") + "\n"
        else:
            yield from _filled(block[0].upper() + block[1:])


def _filled(text: str) -> Iterator[str]:
    yield "\n".join(wrap(_escaped(text), WIDTH, break_on_hyphens=False)) + "\n"


def _escaped(text: str) -> str:
    """Return prose with the characters escaped that reStructuredText would interpret, except in
    code.
    """
    pieces = re.split(r"(`[^`]*`)", text)
    pieces[::2] = [re.sub(r"([*_|\\])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


class Commands(GeneratedText):
    """Inserts all commands."""

    def text(self) -> Iterator[str]:
        """Return their sections."""
        return sections(parser())


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
