"""The `group` command: groups of users."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import print_answer, table_of
from pypid.cli.request import add_request, confirm, send_request

GROUPS = """\
  pypid group create devs
  pypid group add-user devs carol
  pypid right grant acme-billing group:devs rw      what the members may do
  pypid group remove-user devs carol

Members need no account here: users of the configuration or of a directory can be
members. Groups of the configuration ([groups]) are changed there.
"""
LIST = """\
  pypid group list
"""
CREATE = """\
  pypid group create devs
"""
ADD_USER = """\
  pypid group add-user devs carol
  pypid group add-user devs dora --new-name    before the account exists
"""
REMOVE_USER = """\
  pypid group remove-user devs carol
"""
MEMBER = "/api/groups/{name}/members/{user}"
DELETE = """\
  pypid group delete devs
"""


def add(commands: Any) -> None:
    """Declare the `group` command."""
    verbs = add_group(commands, "group", "manage groups of users", examples=GROUPS)
    about = "list the groups with their members"
    add_request(verbs, "list", about, "GET /api/groups", _PRINT_GROUPS, examples=LIST)
    creating = add_request(
        verbs,
        "create",
        "create an empty group",
        "POST /api/groups",
        _print_group,
        examples=CREATE,
        body=("name",),
    )
    adding = add_request(
        verbs,
        "add-user",
        "add a user to a group",
        f"PUT {MEMBER}",
        _print_group,
        examples=ADD_USER,
        body=("new_name",),
    )
    help = "add the name also if no user has it yet"
    adding.add_argument("--new-name", action="store_true", help=help)
    about = "remove a user from a group"
    removing = add_request(
        verbs, "remove-user", about, f"DELETE {MEMBER}", _print_group, examples=REMOVE_USER
    )
    about = "delete a group with its rights; the accounts of its members stay"
    deleting = add_command(verbs, "delete", _delete, about, config=True, examples=DELETE)
    deleting.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for command in creating, adding, removing, deleting:
        command.add_argument("name", metavar="GROUP")
    for command in adding, removing:
        command.add_argument("user", metavar="USER")


def _members(group: Mapping[str, Any]) -> str:
    return "(see [groups])" if group["members"] is None else " ".join(group["members"])


def _delete(options: argparse.Namespace) -> None:
    if not options.yes:
        question = f"This deletes the group {options.name} with its rights."
        confirm(question, options.name, "nothing was deleted")
    answer = send_request(options, "DELETE", f"/api/groups/{quote(options.name, safe='')}")
    print_answer(options, answer, lambda answer: print(f"{answer['name']}: deleted"))


def _print_group(group: Mapping[str, Any]) -> None:
    print(f"{group['name']}: {' '.join(group['members']) or 'no members'}")


_PRINT_GROUPS = table_of(
    "groups",
    "group",
    {"GROUP": "name", "SOURCE": "source", "MEMBERS": _members},
)
