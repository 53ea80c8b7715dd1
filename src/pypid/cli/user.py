"""The `user` command: accounts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table, print_warnings
from pypid.cli.prompt import add_password_options, chosen_password, confirm
from pypid.cli.request import send_request

USERS = """\
  pypid user list                    who there is, and who is an administrator
  pypid user create carol               an account; its password is printed, once
  pypid user create carol --ask         the same, and you type the password
  pypid user set-admin carol         carol becomes an administrator
  pypid user disable carol           carol cannot log in, her tokens end

These are the accounts of the database, which people can log in with unless
[access] backend leaves sql out. Users of the configuration ([users]) are changed in
the configuration, those of a directory there. What is done here holds at once.
"""
CREATE = """\
  pypid user create carol                          pypid makes the password
  pypid user create carol --admin --ask
  printf '%s\\n' "$PASSWORD" | pypid user create carol --stdin

A name to which something was given before, by a rule or a group, is refused;
with --inherit the new account has all that.
"""
ADMIN = """\
  pypid user set-admin carol
  pypid user set-admin carol --remove
"""
PASSWORD = """\
  pypid user set-password carol                     pypid makes one and prints it
  pypid user set-password carol --ask

Sessions that carol has in browsers end; her tokens go on to work (see
pypid token list --user carol).
"""


def add(commands: Any) -> None:
    """Declare the `user` command."""
    verbs = add_group(commands, "user", "manage user accounts", examples=USERS)
    add_command(verbs, "list", _list, "show who there is", config=True)
    _add_verb(verbs, "show", _show, "show one user, with the groups")
    adding = _add_verb(verbs, "create", _create, "create an account", CREATE)
    adding.add_argument("--admin", action="store_true", help="one that administers the index")
    adding.add_argument(
        "--inherit", action="store_true", help="with all that was given to the name before"
    )
    add_password_options(adding)
    add_password_options(
        _add_verb(verbs, "set-password", _set_password, "set a new password", PASSWORD)
    )
    admin = _add_verb(verbs, "set-admin", _set_admin, "make a user an administrator", ADMIN)
    admin.add_argument("--remove", action="store_true", help="remove the administrator role")
    former = add_command(
        verbs, "admin", _set_admin_as_before, "the former set-admin", config=True, hidden=True
    )
    former.add_argument("name", metavar="NAME")
    former.add_argument("admin", metavar="yes|no", choices=["yes", "no"])
    _add_verb(
        verbs,
        "enable",
        _enable,
        "open an account: one that was disabled, or that waits for approval",
    )
    _add_verb(
        verbs,
        "disable",
        _disable,
        "close an account; nothing of it is lost, but its tokens and sessions end",
    )
    removing = _add_verb(
        verbs, "delete", _delete, "delete an account, with its tokens, rights and memberships"
    )
    removing.add_argument("--yes", action="store_true", help="do not ask")


def _add_verb(
    verbs: Any, name: str, run: Any, about: str, examples: str | None = None
) -> argparse.ArgumentParser:
    command = add_command(verbs, name, run, about, config=True, examples=examples)
    command.add_argument("name", metavar="NAME")
    return command


def _url(options: argparse.Namespace) -> str:
    return f"/api/users/{quote(options.name, safe='')}"


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/users"), _print_users)


def _print_users(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            user["name"],
            "admin" if user["admin"] else "",
            user["standing"],
            user["from"],
            format_time(user.get("changed"), ""),
        )
        for user in answer["users"]
    ]
    print_table(("USER", "", "STANDING", "FROM", "CHANGED (UTC)"), rows)
    print(counted(len(rows), "user"))
    print_warnings(answer)


def _show(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", _url(options)), _print_user)


def _create(options: argparse.Namespace) -> None:
    document = {
        "name": options.name,
        "admin": options.admin,
        "inherit": options.inherit,
        "must_log_in": True,
    }
    password = chosen_password(options, "no account was made")
    if password:
        document["password"] = password
    print_answer(options, send_request(options, "POST", "/api/users", document), _print_user)


def _set_password(options: argparse.Namespace) -> None:
    password = chosen_password(options, "the password stays as it was")
    document = {"password": password} if password else {}
    answer = send_request(options, "PUT", f"{_url(options)}/password", document)
    print_answer(options, answer, _print_new_password)


def _set_admin(options: argparse.Namespace) -> None:
    _change(options, {"admin": not options.remove})


def _set_admin_as_before(options: argparse.Namespace) -> None:
    _change(options, {"admin": options.admin == "yes"})


def _enable(options: argparse.Namespace) -> None:
    _change(options, {"standing": "active"})


def _disable(options: argparse.Namespace) -> None:
    _change(options, {"standing": "disabled"})


def _change(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    print_answer(options, send_request(options, "PATCH", _url(options), document), _print_user)


def _delete(options: argparse.Namespace) -> None:
    if not options.yes:
        question = (
            f"This removes the account {options.name}, with its tokens, rights and memberships. "
            f"(disable keeps them.)"
        )
        confirm(question, options.name, "nothing was removed")
    answer = send_request(options, "DELETE", _url(options))
    print_answer(options, answer, lambda answer: print(f"{answer['name']}: removed"))


def _print_user(user: Mapping[str, Any]) -> None:
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


def _print_new_password(answer: Mapping[str, Any]) -> None:
    print(f"{answer['name']}: the password was set")
    _print_password(answer)


def _print_password(answer: Mapping[str, Any]) -> None:
    if "password" in answer:
        print(f"password: {answer['password']}\n(It is not shown again: only its hash is stored.)")
