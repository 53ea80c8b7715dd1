"""The `gen-password` and `gen-secret` commands: secrets for a configuration."""

from __future__ import annotations

import argparse
import secrets
from typing import Any

from pypid.cli.command import add_command
from pypid.cli.prompt import read_password

SECRET_BYTES = 32


def add(commands: Any) -> None:
    """Declare gen-password and gen-secret."""
    password = add_command(
        commands, "gen-password", _gen_password, "ask for a password and print its hash for [users]"
    )
    password.add_argument(
        "user", metavar="USER", nargs="?", help="print the whole line, `USER = hash`"
    )
    password.add_argument(
        "--stdin",
        action="store_true",
        help="read the password from standard input, one line (for scripts)",
    )
    add_command(
        commands,
        "gen-secret",
        _gen_secret,
        "make a secret for [server] secret and print it",
        description=(
            "Prints a new secret for [server] secret (or for the variable PYPID_SERVER_SECRET). "
            "What is of record is sealed with it and copied to the bucket. Keep a copy of it apart "
            "from both: without it those copies cannot be opened."
        ),
    )


def _gen_password(options: argparse.Namespace) -> None:
    from pypid.access.passwords import hash_password

    password_hash = hash_password(read_password(stdin=options.stdin, undone="nothing was made"))
    print(f"{options.user} = {password_hash}" if options.user else password_hash)


def _gen_secret(options: argparse.Namespace) -> None:
    print(secrets.token_urlsafe(SECRET_BYTES))
