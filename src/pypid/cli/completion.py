"""The `completion` command: completion scripts for shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pypid.cli.grammar import argument, command, subcommands

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
  pypid completion bash > ~/.local/share/bash-completion/completions/pypid
  pypid completion zsh > ~/.zfunc/_pypid
  pypid completion fish > ~/.config/fish/completions/pypid.fish

Start a new shell afterwards. For zsh, add this line to ~/.zshrc before compinit:
  fpath+=~/.zfunc
"""
FILES = ("FILE", "FILE|FOLDER", "FROM", "TO")
FOLDERS = ("FOLDER", "DIR")


def _completion(options: argparse.Namespace) -> None:
    print(completion_script(options.shell), end="")


def completion_script(shell: str) -> str:
    """Return the completion script for the shell."""
    import shtab  # other commands need not wait for it

    from pypid.cli import parser

    top = parser()
    for action in _actions(top):
        if action.choices is None and action.metavar in (*FILES, *FOLDERS):
            kind = shtab.FILE if action.metavar in FILES else shtab.DIRECTORY
            vars(action)["complete"] = kind  # where shtab looks for it
    return shtab.complete(top, shell=shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from parser._actions
    for below in subcommands(parser).values():
        yield from _actions(below)


COMMANDS = (
    command(
        "completion",
        _completion,
        "print a script that completes commands and options in a shell",
        argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS)),
        config=False,
        examples=EXAMPLES,
    ),
)
