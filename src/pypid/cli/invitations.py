"""The `invitation` command: let single users register."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.table import in_minutes
from pypid.cli.verbs import add_verbs, explain

INVITATIONS = """\
  pypid invitation make                    for one account, within 7 days
  pypid invitation withdraw 5d1f...        it cannot be used any more

For [access] registration = token: an invitation lets its holder make an account.
"""
MAKE = """\
  pypid invitation make --expires 12h

Hand the invitation to one person, who registers with it, once:

  POST URL/api/register  {"user": "NAME", "password": "...", "token": "INVITATION"}

It is printed once and stored nowhere; the audit log has its id.
"""


def add(commands: Any) -> None:
    """Declare the `invitation` command."""
    verbs = add_verbs(
        commands,
        "invitation",
        "make and withdraw invitations to register",
        INVITATIONS,
        "make|withdraw",
    )
    making = explain(
        add_command(verbs, "make", _make, "make an invitation and print it", config=True), MAKE
    )
    making.add_argument(
        "--expires", metavar="TIME", help="how long it lasts: 12h, 7d (the default), at most 30d"
    )
    withdrawing = add_command(
        verbs, "withdraw", _withdraw, "make an invitation good for nothing, at once", config=True
    )
    withdrawing.add_argument("id", metavar="ID")


def _make(options: argparse.Namespace) -> None:
    answer = ask(options, "POST", "/api/invitations", {"expires": options.expires})
    if options.json:
        print_json(answer)
        return
    print(f"{answer['id']}: for one account, expires {in_minutes(answer['expires'])} UTC")
    print(f"invitation: {answer['secret']}\n(It is not shown again: it is stored nowhere.)")


def _withdraw(options: argparse.Namespace) -> None:
    answer = ask(options, "DELETE", f"/api/invitations/{quote(options.id, safe='')}")
    if options.json:
        print_json(answer)
        return
    print(
        f"{answer['id']}: {'withdrawn' if answer['withdrawn'] else 'was used or withdrawn before'}"
    )
