"""The `user` and `group` commands: accounts and groups."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.prompting import add_password, chosen_password, confirm
from pypid.cli.table import counted, in_minutes, print_table, print_warnings
from pypid.cli.verbs import add_verbs, explain

USERS = """\
  pypid user list                    who there is, and who is an administrator
  pypid user add carol               an account; its password is printed, once
  pypid user add carol --ask         the same, and you type the password
  pypid user admin carol yes         carol administers the index from now on
  pypid user disable carol           carol cannot log in, her tokens end

These are the accounts of the database, which people can log in with if
[access] backend names sql. Users of the configuration ([users]) are changed in
the configuration, those of a directory there. What is done here holds at once.
"""
ADD = """\
  pypid user add carol                          pypid makes the password
  pypid user add carol --admin --ask
  printf '%s\\n' "$PASSWORD" | pypid user add carol --stdin

A name to which something was given before, by a rule or a group, is refused;
with --inherit the new account has all that.
"""
PASSWORD = """\
  pypid user password carol                     pypid makes one and prints it
  pypid user password carol --ask

Sessions that carol has in browsers end; her tokens go on to work (see
pypid token list --user carol).
"""
GROUPS = """\
  pypid group add devs               an empty group
  pypid group join devs carol        carol is one of its members
  pypid group leave devs carol
  pypid right grant spam group:devs rw    what the members may do

A member need not have an account here: users of the configuration or of a
directory can be members. Groups of the configuration are changed there.
"""


def add(commands: Any) -> None:
    """Declare the `user` and `group` commands."""
    about = "list and change the accounts of people"
    verbs = add_verbs(
        commands, "user", about, USERS, "list|show|add|password|admin|enable|disable|remove"
    )
    add_command(verbs, "list", _users, "show who there is", config=True)
    _of_user(verbs, "show", _show_user, "show one user, with the groups")
    adding = explain(_of_user(verbs, "add", _add_user, "make an account"), ADD)
    adding.add_argument("--admin", action="store_true", help="one that administers the index")
    adding.add_argument(
        "--inherit", action="store_true", help="with all that was given to the name before"
    )
    add_password(adding)
    add_password(
        explain(_of_user(verbs, "password", _set_password, "set a new password"), PASSWORD)
    )
    admin = _of_user(verbs, "admin", _set_admin, "grant or remove the administrator role")
    admin.add_argument("admin", metavar="yes|no", choices=["yes", "no"])
    _of_user(
        verbs,
        "enable",
        _enable,
        "open an account: one that was disabled, or that waits for approval",
    )
    _of_user(
        verbs,
        "disable",
        _disable,
        "close an account; nothing of it is lost, but its tokens and sessions end",
    )
    removing = _of_user(
        verbs, "remove", _remove_user, "remove an account, with its tokens, rights and memberships"
    )
    removing.add_argument("--yes", action="store_true", help="do not ask")
    _add_groups(commands)


def _of_user(verbs: Any, name: str, run: Any, about: str) -> argparse.ArgumentParser:
    command = add_command(verbs, name, run, about, config=True)
    command.add_argument("name", metavar="NAME")
    return command


def _add_groups(commands: Any) -> None:
    about = "list and change groups of people"
    verbs = add_verbs(commands, "group", about, GROUPS, "list|add|join|leave|remove")
    add_command(verbs, "list", _groups, "show the groups and their members", config=True)
    _of_group(verbs, "add", _add_group, "make an empty group")
    _of_group(verbs, "join", _join, "add a user to a group").add_argument("user", metavar="USER")
    _of_group(verbs, "leave", _leave, "remove a user from a group").add_argument(
        "user", metavar="USER"
    )
    removing = _of_group(
        verbs, "remove", _remove_group, "remove a group, with its rights; its members stay"
    )
    removing.add_argument("--yes", action="store_true", help="do not ask")


def _of_group(verbs: Any, name: str, run: Any, about: str) -> argparse.ArgumentParser:
    command = add_command(verbs, name, run, about, config=True)
    command.add_argument("name", metavar="GROUP")
    return command


# --- user -----------------------------------------------------------------------------------------


def _user(options: argparse.Namespace) -> str:
    return f"/api/users/{quote(options.name, safe='')}"


def _users(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "/api/users")
    if options.json:
        print_json(answer)
        return
    rows = [
        (
            user["name"],
            "admin" if user["admin"] else "",
            user["standing"],
            user["from"],
            in_minutes(user.get("changed"), ""),
        )
        for user in answer["users"]
    ]
    print_table(("USER", "", "STANDING", "FROM", "CHANGED (UTC)"), rows)
    print(counted(len(rows), "user"))
    print_warnings(answer)


def _show_user(options: argparse.Namespace) -> None:
    _print_user(options, ask(options, "GET", _user(options)))


def _add_user(options: argparse.Namespace) -> None:
    document = {"name": options.name, "admin": options.admin, "inherit": options.inherit}
    password = chosen_password(options, "no account was made")
    _print_user(
        options,
        ask(options, "POST", "/api/users", document | ({"password": password} if password else {})),
    )


def _set_password(options: argparse.Namespace) -> None:
    password = chosen_password(options, "the password stays as it was")
    answer = ask(
        options, "PUT", f"{_user(options)}/password", {"password": password} if password else {}
    )
    if options.json:
        print_json(answer)
        return
    print(f"{answer['name']}: the password was set")
    _print_password(answer)


def _set_admin(options: argparse.Namespace) -> None:
    _change(options, {"admin": options.admin == "yes"})


def _enable(options: argparse.Namespace) -> None:
    _change(options, {"standing": "active"})


def _disable(options: argparse.Namespace) -> None:
    _change(options, {"standing": "disabled"})


def _change(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    _print_user(options, ask(options, "PATCH", _user(options), document))


def _remove_user(options: argparse.Namespace) -> None:
    if not options.yes:
        what = (
            f"This removes the account {options.name}, with its tokens, rights and memberships. "
            f"(disable keeps them.)"
        )
        confirm(what, options.name, "nothing was removed")
    _print_removed(options, ask(options, "DELETE", _user(options)))


def _print_user(options: argparse.Namespace, user: Mapping[str, Any]) -> None:
    if options.json:
        print_json(user)
        return
    admin = ", an administrator" if user["admin"] else ""
    groups = f"; groups: {' '.join(user['groups'])}" if user["groups"] else ""
    print(f"{user['name']}: {user['standing']}{admin}, from the {_ORIGINS[user['from']]}{groups}")
    _print_password(user)
    print_warnings(user)


_ORIGINS = {
    "database": "accounts database",
    "configuration": "configuration",
    "elsewhere": "directory or service",
}


def _print_password(answer: Mapping[str, Any]) -> None:
    if "password" in answer:
        print(f"password: {answer['password']}\n(It is not shown again: only its hash is stored.)")


# --- group ----------------------------------------------------------------------------------------


def _group(options: argparse.Namespace) -> str:
    return f"/api/groups/{quote(options.name, safe='')}"


def _groups(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "/api/groups")
    if options.json:
        print_json(answer)
        return
    rows = [
        (
            group["name"],
            group["from"],
            "(see [groups])" if group["members"] is None else " ".join(group["members"]),
        )
        for group in answer["groups"]
    ]
    print_table(("GROUP", "FROM", "MEMBERS"), rows)
    print(counted(len(rows), "group"))


def _add_group(options: argparse.Namespace) -> None:
    _print_group(options, ask(options, "POST", "/api/groups", {"name": options.name}))


def _join(options: argparse.Namespace) -> None:
    _print_group(
        options, ask(options, "PUT", f"{_group(options)}/members/{quote(options.user, safe='')}")
    )


def _leave(options: argparse.Namespace) -> None:
    _print_group(
        options, ask(options, "DELETE", f"{_group(options)}/members/{quote(options.user, safe='')}")
    )


def _remove_group(options: argparse.Namespace) -> None:
    if not options.yes:
        confirm(
            f"This removes the group {options.name}, with its rights.",
            options.name,
            "nothing was removed",
        )
    _print_removed(options, ask(options, "DELETE", _group(options)))


def _print_group(options: argparse.Namespace, group: Mapping[str, Any]) -> None:
    if options.json:
        print_json(group)
        return
    print(f"{group['name']}: {' '.join(group['members']) or 'no members'}")
    print_warnings(group)


def _print_removed(options: argparse.Namespace, answer: Mapping[str, Any]) -> None:
    if options.json:
        print_json(answer)
        return
    print(f"{answer['name']}: removed")
