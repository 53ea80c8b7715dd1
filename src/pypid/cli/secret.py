"""The `gen-password` and `gen-secret` commands: secrets for a configuration."""

from __future__ import annotations

import argparse
import secrets

from pypid.cli.grammar import JSON, argument, command, flag
from pypid.cli.output import print_answer
from pypid.cli.request import read_password

SECRET_BYTES = 32
PASSWORD = """\
  pypid gen-password carol >> users.ini
  printf '%s\\n' "$PASSWORD" | pypid gen-password --stdin

For users of the configuration. Accounts of the database get their passwords by
`pypid user set-password`.
"""
SECRET = """\
  pypid gen-secret

pypid seals its backups in the bucket with this secret. Keep a copy in another place:
without the secret the backups cannot be opened. The environment variable
PYPID_SERVER_SECRET can hold it instead of the configuration.
"""


def _gen_password(options: argparse.Namespace) -> None:
    from pypid.access.passwords import hash_password

    password = read_password(stdin=options.stdin, undone="no hash was made")
    answer = {"user": options.user, "hash": hash_password(password)}
    line = f"{options.user} = {answer['hash']}" if options.user else answer["hash"]
    print_answer(options, answer, lambda _: print(line))


def _gen_secret(options: argparse.Namespace) -> None:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    print_answer(options, {"secret": secret}, lambda _: print(secret))


COMMANDS = (
    command(
        "gen-password",
        _gen_password,
        "ask for a password and print its hash for [users]",
        argument(
            "user", metavar="USER", nargs="?", help="print a whole line of [users]: `USER = hash`"
        ),
        flag("--stdin", help="read the password from standard input (one line)"),
        JSON,
        config=False,
        examples=PASSWORD,
    ),
    command(
        "gen-secret",
        _gen_secret,
        "generate a secret for [server] secret and print it",
        JSON,
        config=False,
        examples=SECRET,
    ),
)
