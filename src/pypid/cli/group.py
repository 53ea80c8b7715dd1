"""The `group` command: groups of users."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command_group, flag
from pypid.cli.output import print_done, table_of
from pypid.cli.request import confirm, request_command

GROUPS = """\
  pypid group create devs
  pypid group add-user devs carol
  pypid right grant acme-billing group:devs rw      what the members may do
  pypid group remove-user devs carol

Members need no account here: users of the configuration or of a directory can be
members. Groups of the configuration ([groups]) are changed there.
"""
ADD_USER = """\
  pypid group add-user devs carol
  pypid group add-user devs dora --new-name    before the account exists
"""
MEMBER = "/api/groups/{name}/members/{user}"


def _members(group: Mapping[str, Any]) -> str:
    return "(see [groups])" if group["members"] is None else " ".join(group["members"])


def _confirm(options: argparse.Namespace) -> None:
    question = f"This deletes the group {options.name} with its rights."
    confirm(question, options.name, "nothing was deleted")


def _print_group(group: Mapping[str, Any]) -> None:
    print(f"{group['name']}: {' '.join(group['members']) or 'no members'}")


_NAME, _USER = argument("name", metavar="GROUP"), argument("user", metavar="USER")
COMMANDS = (
    command_group(
        "group",
        "manage groups of users",
        GROUPS,
        request_command(
            "list",
            "list the groups with their members",
            "GET /api/groups",
            table_of("groups", "group", {"GROUP": "name", "SOURCE": "source", "MEMBERS": _members}),
        ),
        request_command(
            "create",
            "create an empty group",
            "POST /api/groups",
            _print_group,
            _NAME,
            examples="  pypid group create devs",
            body=("name",),
        ),
        request_command(
            "add-user",
            "add a user to a group",
            f"PUT {MEMBER}",
            _print_group,
            flag("--new-name", help="add the name also if no user has it yet"),
            _NAME,
            _USER,
            examples=ADD_USER,
            body=("new_name",),
        ),
        request_command(
            "remove-user",
            "remove a user from a group",
            f"DELETE {MEMBER}",
            _print_group,
            _NAME,
            _USER,
            examples="  pypid group remove-user devs carol",
        ),
        request_command(
            "delete",
            "delete a group with its rights; the accounts of its members stay",
            "DELETE /api/groups/{name}",
            print_done("name", "deleted"),
            _NAME,
            examples="  pypid group delete devs",
            confirms=_confirm,
        ),
    ),
)
