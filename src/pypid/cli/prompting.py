"""Prompts at the terminal: for passwords (never an argument: `ps` and the shell's history show
those), and for confirmation.
"""

from __future__ import annotations

import argparse
import getpass
import sys


def password(*, stdin: bool, undone: str) -> str:
    """Return a password, typed twice, or one line of standard input.

    Exits if there is none; `undone` says what was not done.
    """
    if stdin:
        found = sys.stdin.readline().rstrip("\n")
    else:
        try:
            found, again = getpass.getpass("Password: "), getpass.getpass("Again: ")
        except EOFError:
            sys.exit(f"pypid: no password came; {undone} (a script gives it by --stdin)")
        if found != again:
            sys.exit(f"pypid: the two passwords differ; {undone}")
    if not found:
        sys.exit(f"pypid: an empty password cannot be used to log in; {undone}")
    return found


def add_password(command: argparse.ArgumentParser) -> None:
    """Add the options that say where a new password comes from."""
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--ask",
        action="store_true",
        help="ask for the password (without this pypid makes one and prints it)",
    )
    where.add_argument(
        "--stdin",
        action="store_true",
        help="read the password from standard input, one line (for scripts)",
    )


def chosen_password(options: argparse.Namespace, undone: str) -> str | None:
    """Return the password by the options of `add_password`; None: pypid generates one."""
    return password(stdin=options.stdin, undone=undone) if options.ask or options.stdin else None


def confirm(what: str, word: str, undone: str) -> None:
    """Exit unless the word is typed."""
    print(what)
    try:
        typed = input(f"Type {word} to go on: ").strip()
    except EOFError:
        sys.exit(f"pypid: {undone}: stdin is not a terminal. Use --yes in scripts.")
    if typed != word:
        sys.exit(f"pypid: {undone}")
