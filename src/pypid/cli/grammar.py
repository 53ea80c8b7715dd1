"""The grammar of the command line: a parser whose errors suggest what was meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pypid.core.configuration.lookup import FoundConfig


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
    """A parser whose error messages suggest similar commands, options and values. `examples`: see
    `command`.
    """

    def __init__(self, *, examples: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if examples is not None:
            self.epilog = f"examples:\n{examples or f'  {self.prog}'}"

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


# Declaration of commands: name, help, and common options.

LOOKUP = "$PYPID_CONFIG, ./pypid.ini, ./etc/pypid.ini, /etc/pypid/pypid.ini, or built-in defaults"
"""The configuration that a command uses if none is named."""


Argument = Callable[[argparse._ActionsContainer], object]
"""The declaration of an argument: adds it to a parser."""


def argument(*names: str, **options: Any) -> Argument:
    """Declare an argument; `names` and `options` as for `argparse.ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **options)


def flag(*names: str, help: str) -> Argument:
    """Declare an option without a value."""
    return argument(*names, action="store_true", help=help)


def one_of(*arguments: Argument, required: bool = False) -> Argument:
    """Declare arguments of which at most one can be given; exactly one, if `required`."""

    def add(parser: argparse._ActionsContainer) -> None:
        group = parser.add_mutually_exclusive_group(required=required)
        for each in arguments:
            each(group)

    return add


JSON = flag("--json", help="print JSON")
CONFIG = argument(
    "--config",
    "-c",
    metavar="FILE",
    type=Path,
    help=f"the configuration file (default: the first of {LOOKUP})",
)
YES = flag("--yes", help="do not ask for confirmation")


Declaration = Callable[[Any], None]
"""The declaration of a command: adds it to the subparsers of its noun, or of `pypid`."""


def command(
    name: str,
    run: Callable[[argparse.Namespace], object],
    help: str,
    *arguments: Argument,
    config: bool = True,
    description: str | None = None,
    examples: str = "",
) -> Declaration:
    """Declare a command that calls `run`.

    With `config` it has the options of commands that send requests to the daemon. `examples` are
    shown below its help, unchanged; without any, the command alone is its example.
    """

    def add(commands: Any) -> None:
        parser = _add_parser(commands, name, help, description, examples)
        parser.set_defaults(run=run)
        for each in (*((CONFIG, JSON) if config else ()), *arguments):
            each(parser)

    return add


def command_group(name: str, help: str, examples: str, *verbs: Declaration) -> Declaration:
    """Declare a noun, such as `user` of `pypid user list`, with its verbs."""

    def add(commands: Any) -> None:
        parser = _add_parser(commands, name, help, None, examples)
        below = parser.add_subparsers(title="commands", metavar="COMMAND")
        for each in verbs:
            each(below)

    return add


def _add_parser(
    commands: Any, name: str, help: str, description: str | None, examples: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        examples=examples,
        formatter_class=HelpText,
    )
    command.set_defaults(parser=command)
    return command


def find_config(option: Path | None) -> FoundConfig:
    """Return the configuration of a command, and print a line on standard error for each file that
    is not trusted. Raises `CannotStart`.
    """
    from pypid.wiring.platform import find_config

    found = find_config(option)
    for line in found.passed_over:
        print(f"pypid: {line}", file=sys.stderr)
    return found
