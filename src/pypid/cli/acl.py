"""The `acl` command: import and export users and rights in the format of pypicloud's dump."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, print_answer, print_json, printable
from pypid.cli.request import send_request

ABOUT = """\
  pypid acl import -i acl.json       import what ppc-export has printed
  pypid acl export -o acl.json.gz    write the same format, for ppc-import

The dump has users with their password hashes, registrations that wait for approval,
groups, and rights on projects: what pypicloud writes by ppc-export and /admin/acl.json.gz.
"""
IMPORT = """\
  ppc-export config.ini > acl.json         on the machine of pypicloud
  pypid acl import -i acl.json             here

The file /admin/acl.json.gz of pypicloud works as well. (ppc-export -o fails on Python 3.)

pypid adds what is missing, all at once or not at all. Existing accounts stay as they are,
and no right becomes smaller; a second import changes nothing. Entries that cannot be
imported as they are are listed, with the solution. The exit status is 1 if a user loses
a right (LOST), or gets a right that the user had neither there nor here, because groups
or users with the same name are merged (GAINED).
"""
EXPORT = """\
  pypid acl export -o acl.json.gz          compressed; only you can read the file
  pypid acl export | jq .groups

The dump has the hashes of all passwords: protect it like the accounts database.
"""


def add(commands: Any) -> None:
    """Declare the `acl` command."""
    about = "import or export users and rights in the format of pypicloud"
    verbs = add_group(commands, "acl", about, examples=ABOUT)
    about = "export all users and rights"
    exporting = add_command(verbs, "export", _export, about, config=True, examples=EXPORT)
    exporting.add_argument(
        "-o",
        metavar="FILE",
        dest="file",
        help="the file to write (default: standard output, uncompressed)",
    )
    about = "import users and rights"
    importing = add_command(verbs, "import", _import, about, config=True, examples=IMPORT)
    importing.add_argument(
        "-i", metavar="FILE", dest="file", help="the file to read (default: standard input)"
    )


def _export(options: argparse.Namespace) -> None:
    document = send_request(options, "GET", "/api/acl")
    if options.file is None:
        print_json(document)
        return
    from pypid.core.accounts.acl_dump import write_dump

    data = write_dump(document)
    try:
        with open(
            os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as file:
            os.fchmod(file.fileno(), 0o600)  # the file may have existed, with another mode
            file.write(data)
    except OSError as error:
        sys.exit(f"pypid: {options.file} cannot be written: {error.strerror}")
    users = len(document["users"]) + len(document["pending_users"])
    print(f"{options.file}: {counted(users, 'user')}, {counted(len(document['groups']), 'group')}")


def _import(options: argparse.Namespace) -> int | None:
    answer = send_request(options, "POST", "/api/acl", _read(options.file))
    print_answer(options, answer, _print_import)
    losses, gains = (
        sum(oddity[kind] for oddity in answer["oddities"]) for kind in ("loss", "gain")
    )
    for number, effect in (
        (losses, "took a right from a user or group: see LOST"),
        (gains, "gave a user or group a new right: see GAINED"),
    ):
        if number:
            print(f"pypid: {counted(number, 'change')} {effect}", file=sys.stderr)
    return 1 if losses or gains else None


def _print_import(answer: Mapping[str, Any]) -> None:
    for oddity in answer["oddities"]:
        kind = "LOST: " if oddity["loss"] else "GAINED: " if oddity["gain"] else ""
        print(printable(f"{kind}{oddity['what']}: {oddity['done']}"))
    added = [
        counted(answer[what], what.removesuffix("s"))
        for what in ("users", "groups", "members", "rights")
    ]
    present = answer["users_there"]
    note = f" ({counted(present, 'user')} existed already)" if present else ""
    print(f"added: {', '.join(added)}{note}")


def _read(name: str | None) -> Any:
    """Return the JSON document in the dump; the daemon checks its content. Raises `BadRequest`."""
    from pypid.core.accounts.acl_dump import LARGEST, unpacked
    from pypid.core.errors import BadRequest

    try:
        if name is None:
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        sys.exit(f"pypid: {name or 'standard input'} cannot be read: {error.strerror}")
    try:
        document = json.loads(unpacked(data))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest("The file is not a dump of pypicloud's users, which is a JSON object.")
    return document
