"""The `invitation` command: let single users register."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.command import add_group
from pypid.cli.output import format_time, table_of, time_of
from pypid.cli.request import add_request

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
    creating = add_request(
        verbs,
        "create",
        about,
        "POST /api/invitations",
        _print_new,
        examples=CREATE,
        body=("expires",),
    )
    creating.add_argument(
        "--expires", metavar="TIME", help="how long it is valid: 12h, at most 30d (default: 7d)"
    )
    about = "list the invitations that can still be used"
    add_request(verbs, "list", about, "GET /api/invitations", _PRINT_INVITATIONS, examples=LIST)
    about = "delete an invitation, which can then no longer be used"
    deleting = add_request(
        verbs, "delete", about, "DELETE /api/invitations/{id}", _print_deleted, examples=DELETE
    )
    deleting.add_argument("id", metavar="ID", help="its id in `pypid invitation list`")


def _print_new(answer: Mapping[str, Any]) -> None:
    print(f"{answer['id']}: for one account, expires {format_time(answer['expires'])} UTC")
    print(f"invitation: {answer['secret']}\n(It is not shown again: pypid does not store it.)")


def _print_deleted(answer: Mapping[str, Any]) -> None:
    outcome = "deleted" if answer["withdrawn"] else "was used or deleted before"
    print(f"{answer['id']}: {outcome}")


_PRINT_INVITATIONS = table_of(
    "invitations",
    "invitation",
    {
        "ID": "id",
        "BY": "by",
        "CREATED (UTC)": time_of("created"),
        "EXPIRES (UTC)": time_of("expires"),
    },
)
