"""The grammar of the command line: a parser whose errors suggest what was meant."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

MOST_CHOICES = 12
"""A message lists at most this many choices."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the choices that resemble it, if any."""
    close = get_close_matches(word, list(choices), n=3, cutoff=0.6)
    return f". Did you mean {' or '.join(map(repr, close))}?" if close else ""


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by their names, without hidden ones."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            listed = [choice.dest for choice in action._choices_actions]
            return {name: action.choices[name] for name in listed}
    return {}


class HelpText(argparse.HelpFormatter):
    """Fills paragraphs, and leaves text of several lines (examples) as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text.strip() else super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """A parser whose error messages suggest similar commands, options and values."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        if action.nargs == argparse.PARSER:
            self.refuse_command(str(value), choices)
        hint = did_you_mean(str(value), choices)
        if not hint and len(choices) <= MOST_CHOICES:
            hint = f". Choose from {', '.join(choices)}"
        raise argparse.ArgumentError(action, f"{value!r} is not a valid value{hint}")

    def refuse_command(self, word: str, choices: Collection[str]) -> NoReturn:
        """Exit with the message that there is no such command, and those that resemble it."""
        _, *nouns = self.prog.split()
        names = {choice: " ".join([*nouns, choice]) for choice in choices}
        close = get_close_matches(word, list(names), n=3, cutoff=0.6)
        suggestions = list(dict.fromkeys(f"`pypid {names[choice]}`" for choice in close))
        groups = [group for group in word.split("-") if group in choices]
        if groups:  # for `delete-user`, `pypid project delete` must not be suggested
            suggestions = [f"`pypid {names[group]} --help`" for group in groups]
        hint = f" Did you mean {' or '.join(suggestions)}?" if suggestions else ""
        self.error(f"unknown command {word!r}.{hint} All commands: {self.prog} --help")

    def refuse_words(self, words: Sequence[str]) -> NoReturn:
        """Exit with the message that these words of the command line mean nothing."""
        word = words[0].partition("=")[0]
        if not word.startswith("-"):
            self.error(f"unexpected argument {word!r}")
        options = [
            option
            for action in self._actions
            if action.help is not argparse.SUPPRESS
            for option in action.option_strings
        ]
        self.error(f"unknown option {word}{did_you_mean(word, options)}")
