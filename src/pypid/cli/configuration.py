"""The `check-config` and `convert-config` commands."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pypid.cli.command import LOOKUP, add_command, find_config


def add(commands: Any) -> None:
    """Declare check-config and convert-config."""
    check = add_command(
        commands,
        "check-config",
        _check_config,
        "read a configuration and print what is in force, without secrets",
    )
    check.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help=f"default: the first of {LOOKUP}"
    )
    convert = add_command(
        commands,
        "convert-config",
        _convert_config,
        "print pypicloud's config.ini as a pypid.ini, with comments",
        description=(
            "Prints pypicloud's config.ini as a pypid.ini. Above each key stands where it comes "
            "from, at the end what was not taken over. The output holds the secrets and password "
            "hashes of the file. pypid starts with the old file, too."
        ),
    )
    convert.add_argument("file", metavar="FILE", help="pypicloud's config.ini")


def _check_config(options: argparse.Namespace) -> None:
    from pypid.core.configuration.in_force import describe
    from pypid.wiring.configuration import load_config

    file = Path(find_config(options.file).file)
    config = load_config(file)
    for note in (*config.notes, *_account_notes(config.inherits, file)):
        print(note, file=sys.stderr)
    print(describe(config), end="")


def _account_notes(url: str | None, file: Path) -> list[str]:
    """Return what a first start would not take over from a pypicloud accounts database.

    `url` is the configuration's ``auth.db.url``, or None if there is no such database.
    """
    if url is None:
        return []
    from pypid.access.sql.pypicloud_people import read_people
    from pypid.core.errors import CannotStart

    try:
        people = read_people(url, file.absolute().parent, Path.cwd())
    except CannotStart as error:
        return [f"the accounts were not checked: {error}"]
    return [] if people is None else [f"accounts: {oddity.text}" for oddity in people.oddities]


def _convert_config(options: argparse.Namespace) -> None:
    from pypid.wiring.configuration import converted_config

    text, secret_keys = converted_config(Path(options.file))
    print(text)
    if secret_keys:
        advice = (
            "this is a configuration, so it holds what the old one did: keep it as safe (chmod 600)"
        )
        print(f"pypid: {advice}: {', '.join(secret_keys)}", file=sys.stderr)
