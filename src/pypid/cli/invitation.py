"""The `invitation` command: let single users register."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import format_time, print_answer
from pypid.cli.request import send_request

INVITATIONS = """\
  pypid invitation create                    for one account, within 7 days
  pypid invitation delete 5d1f...        it cannot be used any more

For [access] registration = token: an invitation lets its holder make an account.
"""
CREATE = """\
  pypid invitation create --expires 12h

Hand the invitation to one person, who registers with it, once:

  POST URL/api/register  {"user": "NAME", "password": "...", "token": "INVITATION"}

It is printed once and stored nowhere; the audit log has its id.
"""


def add(commands: Any) -> None:
    """Declare the `invitation` command."""
    verbs = add_group(
        commands, "invitation", "manage invitations to register", examples=INVITATIONS
    )
    about = "create an invitation and print it"
    making = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    making.add_argument(
        "--expires", metavar="TIME", help="how long it lasts: 12h, 7d (the default), at most 30d"
    )
    about = "delete an invitation, which can then no longer be used"
    withdrawing = add_command(verbs, "delete", _delete, about, config=True)
    withdrawing.add_argument("id", metavar="ID")


def _create(options: argparse.Namespace) -> None:
    answer = send_request(options, "POST", "/api/invitations", {"expires": options.expires})
    print_answer(options, answer, _print_new)


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/invitations/{quote(options.id, safe='')}")
    print_answer(options, answer, _print_withdrawn)


def _print_new(answer: Mapping[str, Any]) -> None:
    print(f"{answer['id']}: for one account, expires {format_time(answer['expires'])} UTC")
    print(f"invitation: {answer['secret']}\n(It is not shown again: it is stored nowhere.)")


def _print_withdrawn(answer: Mapping[str, Any]) -> None:
    outcome = "withdrawn" if answer["withdrawn"] else "was used or withdrawn before"
    print(f"{answer['id']}: {outcome}")
