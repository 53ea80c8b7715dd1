"""Commands to start pypid and to prepare it: check a configuration, hash a password."""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from pypid.cli.command import DEFAULT_CONFIG, add_command, add_config
from pypid.cli.prompting import password
from pypid.daemon.sd_notify import name_sockets
from pypid.prefork import how_many

SECRET = 32
"""Random bytes in a secret."""


def add(commands: Any) -> None:
    """Declare serve, check-config, convert-config, gen-password and gen-secret."""
    serve = add_command(
        commands,
        "serve",
        _serve,
        "start the index and stay in the foreground (the same as `twistd -n pypid`)",
    )
    add_config(serve)
    serve.add_argument(
        "--workers",
        "-w",
        metavar="N",
        type=_workers,
        help="processes that answer, for machines with several cores (default: [server] workers; "
        "more than 1 needs a shared "
        "catalog, [cache] backend = sql or redis)",
    )
    check = add_command(
        commands,
        "check-config",
        _check_config,
        "read a configuration and print what is in force, without secrets",
    )
    check.add_argument(
        "file", metavar="FILE", nargs="?", default=DEFAULT_CONFIG, help=f"default: {DEFAULT_CONFIG}"
    )
    convert = add_command(
        commands,
        "convert-config",
        _convert_config,
        "print pypicloud's config.ini as a pypid.ini, with comments",
    )
    convert.description = (
        "Prints pypicloud's config.ini as a pypid.ini. Above each key stands where it comes from, "
        "at the end what was not taken over. The output holds the secrets and password hashes of "
        "the file. pypid starts with the old file, too."
    )
    convert.add_argument("file", metavar="FILE", help="pypicloud's config.ini")
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
    secret = add_command(
        commands, "gen-secret", _gen_secret, "make a secret for [server] secret and print it"
    )
    secret.description = (
        "Prints a new secret for [server] secret (or for the variable PYPID_SERVER_SECRET). What "
        "is of record is sealed with it and copied to the bucket. Keep a copy of it apart from "
        "both: without it those copies cannot be opened."
    )


def _serve(options: argparse.Namespace) -> None:
    name_sockets(os.environ)
    # imported objects stay: searching them for garbage takes a tenth of the start time
    gc.disable()
    from pypid.wiring.recipe import serve

    serve(options.config, options.workers)


def _workers(text: str) -> int:
    try:
        return how_many(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _gen_secret(options: argparse.Namespace) -> None:
    print(secrets.token_urlsafe(SECRET))


def _check_config(options: argparse.Namespace) -> None:
    from pypid.core.configuration.in_force import describe
    from pypid.wiring.configuration import load_config

    config = load_config(Path(options.file))
    for note in config.notes:
        print(note, file=sys.stderr)
    for note in _notes_of_accounts(config.inherits, Path(options.file)):
        print(note, file=sys.stderr)
    print(describe(config), end="")


def _notes_of_accounts(url: str | None, file: Path) -> list[str]:
    """Return what a first start would not take over from a pypicloud accounts database.

    `url` is the configuration's ``auth.db.url``, or None if there is no such database.
    """
    if url is None:
        return []
    from pypid.access.sql.pypicloud_people import read_people
    from pypid.core.errors import CannotStart

    try:
        found = read_people(url, file.absolute().parent, Path.cwd())
    except CannotStart as error:
        return [f"the accounts were not checked: {error}"]
    return [] if found is None else [f"accounts: {each.text}" for each in found.oddities]


def _convert_config(options: argparse.Namespace) -> None:
    from pypid.wiring.recipe import converted_config

    text, held = converted_config(Path(options.file))
    print(text)
    if held:
        advice = (
            "this is a configuration, so it holds what the old one did: keep it as safe (chmod 600)"
        )
        print(f"pypid: {advice}: {', '.join(held)}", file=sys.stderr)


def _gen_password(options: argparse.Namespace) -> None:
    from pypid.access.passwords import hash_password

    hashed = hash_password(password(stdin=options.stdin, undone="nothing was made"))
    print(f"{options.user} = {hashed}" if options.user else hashed)
