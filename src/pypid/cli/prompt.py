"""Prompts at the terminal: for passwords (never an argument: `ps` and the shell's history show
those), and for confirmation.
"""

from __future__ import annotations

import argparse
import getpass
import sys


def read_password(*, stdin: bool, undone: str) -> str:
    """Return a password, typed twice, or one line of standard input.

    Exits if there is none; `undone` says what was not done.
    """
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        try:
            password, repeated = getpass.getpass("Password: "), getpass.getpass("Again: ")
        except EOFError:
            sys.exit(f"pypid: no password was typed; {undone}. Use --stdin in scripts.")
        if password != repeated:
            sys.exit(f"pypid: the two passwords differ; {undone}")
    if not password:
        sys.exit(f"pypid: an empty password cannot be used to log in; {undone}")
    return password


def add_password_options(command: argparse.ArgumentParser, *, may_lack: bool = False) -> None:
    """Add the options that select the source of a new password. `may_lack`: an account without a
    password is possible, too.
    """
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--ask",
        action="store_true",
        help="ask for the password (default: generate one and print it)",
    )
    source.add_argument(
        "--stdin",
        action="store_true",
        help="read the password from standard input (one line)",
    )
    if may_lack:
        source.add_argument(
            "--no-password", action="store_true", help="an account that logs in with tokens alone"
        )


def chosen_password(options: argparse.Namespace, undone: str) -> str | None:
    """Return the password by the options of `add_password_options`; None: pypid generates one."""
    if not (options.ask or options.stdin):
        return None
    return read_password(stdin=options.stdin, undone=undone)


def confirm(question: str, word: str, undone: str, *, word_name: str | None = None) -> None:
    """Exit unless `word` is typed; the prompt calls it `word_name`."""
    print(question)
    try:
        typed = input(f"Type {word_name or word} to continue: ").strip()
    except EOFError:
        sys.exit(f"pypid: {undone}: stdin is not a terminal. Use --yes in scripts.")
    if typed != word:
        sys.exit(f"pypid: {undone}")
