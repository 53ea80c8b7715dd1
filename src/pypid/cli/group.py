"""The `group` command: groups of users."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, print_answer, print_table
from pypid.cli.prompt import confirm
from pypid.cli.request import send_request

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
DELETE = """\
  pypid group delete devs
"""


def add(commands: Any) -> None:
    """Declare the `group` command."""
    verbs = add_group(commands, "group", "manage groups of users", examples=GROUPS)
    about = "list the groups with their members"
    add_command(verbs, "list", _list, about, config=True, examples=LIST)
    _add_verb(verbs, "create", _create, "create an empty group", CREATE)
    adding = _add_verb(verbs, "add-user", _add_user, "add a user to a group", ADD_USER)
    help = "add the name also if no user has it yet"
    adding.add_argument("--new-name", action="store_true", help=help)
    about = "remove a user from a group"
    removing = _add_verb(verbs, "remove-user", _remove_user, about, REMOVE_USER)
    for command in adding, removing:
        command.add_argument("user", metavar="USER")
    about = "delete a group with its rights; the accounts of its members stay"
    deleting = _add_verb(verbs, "delete", _delete, about, DELETE)
    deleting.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_verb(
    verbs: Any, name: str, run: Any, about: str, examples: str
) -> argparse.ArgumentParser:
    command = add_command(verbs, name, run, about, config=True, examples=examples)
    command.add_argument("name", metavar="GROUP")
    return command


def _url(options: argparse.Namespace) -> str:
    return f"/api/groups/{quote(options.name, safe='')}"


def _member_url(options: argparse.Namespace) -> str:
    return f"{_url(options)}/members/{quote(options.user, safe='')}"


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/groups"), _print_groups)


def _print_groups(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            group["name"],
            group["source"],
            "(see [groups])" if group["members"] is None else " ".join(group["members"]),
        )
        for group in answer["groups"]
    ]
    print_table(("GROUP", "SOURCE", "MEMBERS"), rows)
    print(counted(len(rows), "group"))


def _create(options: argparse.Namespace) -> None:
    answer = send_request(options, "POST", "/api/groups", {"name": options.name})
    print_answer(options, answer, _print_group)


def _add_user(options: argparse.Namespace) -> None:
    wanted = {"new_name": options.new_name}
    print_answer(options, send_request(options, "PUT", _member_url(options), wanted), _print_group)


def _remove_user(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "DELETE", _member_url(options)), _print_group)


def _delete(options: argparse.Namespace) -> None:
    if not options.yes:
        question = f"This deletes the group {options.name} with its rights."
        confirm(question, options.name, "nothing was deleted")
    answer = send_request(options, "DELETE", _url(options))
    print_answer(options, answer, lambda answer: print(f"{answer['name']}: deleted"))


def _print_group(group: Mapping[str, Any]) -> None:
    print(f"{group['name']}: {' '.join(group['members']) or 'no members'}")
