"""The `check-config` and `convert-config` commands."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict

from pypid.cli.grammar import LOOKUP, argument, command, find_config, flag
from pypid.cli.output import counted, print_json

if TYPE_CHECKING:  # `--help` need not wait for it
    from pypid.wiring.start_check import CheckedConfig

CHECK = """\
  pypid check-config /etc/pypid/pypid.ini
  pypid check-config --quiet && systemctl restart pypid

exit status:
  0   pypid can start with this configuration
  1   pypid cannot start with it
"""
CONVERT = """\
  pypid convert-config config.ini > pypid.ini
"""


def _check_config(options: argparse.Namespace) -> int:
    from twisted.internet import reactor

    from pypid.core.configuration.in_force import describe
    from pypid.core.configuration.lookup import display_name
    from pypid.core.errors import BadConfig
    from pypid.wiring.platform import Platform
    from pypid.wiring.start_check import check_file

    file = Path(find_config(options.file).file)
    checked = check_file(file, Platform(reactor, dict(os.environ), serves_clients=False))
    if options.json:
        print_json(_document(checked))
        return 1 if checked.problems else 0
    for warning in checked.warnings:
        text = str(warning).replace(str(file), display_name(file), 1)
        print(f"warning: {text}", file=sys.stderr)
    if checked.problems:
        raise BadConfig(checked.problems)
    for note in (*checked.config.notes, *_account_notes(checked.config.inherits, file)):
        print(note, file=sys.stderr)
    if not options.quiet:
        print(describe(checked.config))
        number = len(checked.warnings)
        suffix = f", with {counted(number, 'warning')}" if number else ""
        print(f"Configuration is valid{suffix}: {display_name(file)}")
    return 0


def _document(checked: CheckedConfig) -> dict[str, Any]:
    from pypid.core.configuration.in_force import sections

    valid = not checked.problems
    return {
        "valid": valid,
        "file": checked.config.source,
        "problems": [asdict(problem) for problem in checked.problems],
        "warnings": [asdict(warning) for warning in checked.warnings],
        "notes": list(checked.config.notes),
        "settings": {
            section.section: {
                line.key: {"value": line.value, "origin": line.origin} for line in section.lines
            }
            for section in (sections(checked.config) if valid else ())
        },
    }


def _account_notes(url: str | None, file: Path) -> list[str]:
    """Return what a first start would not take over from a pypicloud accounts database.

    `url` is the configuration's ``auth.db.url``, or None if there is no such database.
    """
    if url is None:
        return []
    from pypid.access.pypicloud import read_people
    from pypid.core.errors import CannotStart

    try:
        people = read_people(url, file.absolute().parent, Path.cwd())
    except CannotStart as error:
        return [f"the accounts were not checked: {error}"]
    return [] if people is None else [f"accounts: {oddity.text}" for oddity in people.oddities]


def _convert_config(options: argparse.Namespace) -> None:
    from pypid.wiring.platform import converted_config

    text, secret_keys = converted_config(Path(options.file))
    print(text)
    if secret_keys:
        advice = (
            "this is a configuration, so it holds what the old one did: keep it as safe (chmod 600)"
        )
        print(f"pypid: {advice}: {', '.join(secret_keys)}", file=sys.stderr)


COMMANDS = (
    command(
        "check-config",
        _check_config,
        "check a configuration and print what is in force, without secrets",
        argument(
            "file", metavar="FILE", nargs="?", type=Path, help=f"default: the first of {LOOKUP}"
        ),
        flag("--quiet", "-q", help="print problems and warnings only"),
        flag("--json", help="print the result as JSON"),
        config=False,
        description=(
            "Check the file, the environment variables, and what they name on this machine: "
            "endpoints, TLS files, folders, extras, users and groups. Report all problems at "
            "once, then print each value with its origin. It starts nothing."
        ),
        examples=CHECK,
    ),
    command(
        "convert-config",
        _convert_config,
        "print pypicloud's config.ini as a pypid.ini, with comments",
        argument("file", metavar="FILE", help="pypicloud's config.ini"),
        config=False,
        description=(
            "Print pypicloud's config.ini as a pypid.ini. A comment above each key names its "
            "origin; the end lists what has no equivalent. The output contains the secrets and "
            "password hashes of the file. pypid also starts with the old file."
        ),
        examples=CONVERT,
    ),
)
