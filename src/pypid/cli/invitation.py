"""The `invitation` command: let single users register."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table
from pypid.cli.request import send_request

INVITATIONS = """\
  pypid invitation create --expires 12h
  pypid invitation list
  pypid invitation delete 5d1f...

With [access] registration = token, an invitation lets one person create an account.
"""
CREATE = """\
  pypid invitation create
  pypid invitation create --expires 12h

Send the invitation to one person, who registers with it, once, on the page /account/register
or by this request:

  POST URL/api/register  {"user": "NAME", "password": "...", "token": "INVITATION"}

The invitation is printed once and not stored; the audit log has its id.
"""
LIST = """\
  pypid invitation list
"""
DELETE = """\
  pypid invitation delete 5d1f...
"""


def add(commands: Any) -> None:
    """Declare the `invitation` command."""
    verbs = add_group(
        commands, "invitation", "manage invitations to register", examples=INVITATIONS
    )
    about = "create an invitation and print it"
    creating = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    creating.add_argument(
        "--expires", metavar="TIME", help="how long it is valid: 12h, at most 30d (default: 7d)"
    )
    about = "list the invitations that can still be used"
    add_command(verbs, "list", _list, about, config=True, examples=LIST)
    about = "delete an invitation, which can then no longer be used"
    deleting = add_command(verbs, "delete", _delete, about, config=True, examples=DELETE)
    deleting.add_argument("id", metavar="ID", help="its id in `pypid invitation list`")


def _create(options: argparse.Namespace) -> None:
    answer = send_request(options, "POST", "/api/invitations", {"expires": options.expires})
    print_answer(options, answer, _print_new)


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/invitations"), _print_open)


def _print_open(answer: Mapping[str, Any]) -> None:
    rows = [
        (each["id"], each["by"], format_time(each["created"]), format_time(each["expires"]))
        for each in answer["invitations"]
    ]
    print_table(("ID", "BY", "CREATED (UTC)", "EXPIRES (UTC)"), rows)
    print(counted(len(rows), "invitation"))


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/invitations/{quote(options.id, safe='')}")
    print_answer(options, answer, _print_deleted)


def _print_new(answer: Mapping[str, Any]) -> None:
    print(f"{answer['id']}: for one account, expires {format_time(answer['expires'])} UTC")
    print(f"invitation: {answer['secret']}\n(It is not shown again: pypid does not store it.)")


def _print_deleted(answer: Mapping[str, Any]) -> None:
    outcome = "deleted" if answer["withdrawn"] else "was used or deleted before"
    print(f"{answer['id']}: {outcome}")
