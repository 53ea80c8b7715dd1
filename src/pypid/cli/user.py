"""The `user` command: accounts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import format_time, print_answer, print_warnings, table_of, time_of
from pypid.cli.prompt import add_password_options, chosen_password, confirm
from pypid.cli.request import add_request, send_request

USERS = """\
  pypid user list                    all users, and which are administrators
  pypid user create carol            create an account; prints its password once
  pypid user create carol --ask      create an account with a password that you type
  pypid user set-admin carol         make carol an administrator
  pypid user disable carol           end carol's sessions and tokens
  pypid user invite --expires 12h    let one person create an account

These commands manage the accounts database, which is used unless [access] backend omits
sql. Users of the configuration ([users]) are changed there, users of a directory in the
directory. Changes take effect immediately.
"""
CREATE = """\
  pypid user create carol                       pypid generates the password
  pypid user create carol --admin --ask
  printf '%s\\n' "$PASSWORD" | pypid user create carol --stdin
  pypid user create ci --no-password            for a CI job, which gets a token

If a rule or a group already names the user, the command refuses to create the
account. With --inherit the account gets these rights.
"""
ADMIN = """\
  pypid user set-admin carol
  pypid user set-admin carol --remove
"""
PASSWORD = """\
  pypid user set-password carol                 pypid generates the password
  pypid user set-password carol --ask

This ends the browser sessions of the user. Tokens keep working; to see them:
pypid token list --user carol
"""
LIST = """\
  pypid user list
  pypid user list --json
"""
SHOW = """\
  pypid user show carol
"""
ENABLE = """\
  pypid user enable carol
"""
DISABLE = """\
  pypid user disable carol

The account keeps its rights and group memberships. `pypid user enable` undoes it.
"""
DELETE = """\
  pypid user delete carol
  pypid user delete carol --yes
"""
INVITE = """\
  pypid user invite
  pypid user invite --expires 12h

With [access] registration = token, an invitation lets one person create an account. Send it to
that person, who registers with it, once, on the page /account/register or by this request:

  POST URL/api/register  {"user": "NAME", "password": "...", "token": "INVITATION"}

The invitation is printed once and not stored; the audit log has its id.
"""
LIST_INVITATIONS = """\
  pypid user list-invitations
"""
DELETE_INVITATION = """\
  pypid user delete-invitation 5d1f...
"""


def add(commands: Any) -> None:
    """Declare the `user` command."""
    verbs = add_group(commands, "user", "manage user accounts", examples=USERS)
    about = "list the users"
    add_request(verbs, "list", about, "GET /api/users", _PRINT_USERS, examples=LIST)
    about = "show a user with its groups"
    showing = add_request(verbs, "show", about, "GET /api/users/{name}", _print_user, examples=SHOW)
    showing.add_argument("name", metavar="NAME")
    creating = _add_verb(verbs, "create", _create, "create a user account", CREATE)
    creating.add_argument("--admin", action="store_true", help="make the user an administrator")
    creating.add_argument(
        "--inherit", action="store_true", help="keep rights that the name already has"
    )
    add_password_options(creating, may_lack=True)
    about = "set a new password for a user"
    add_password_options(_add_verb(verbs, "set-password", _set_password, about, PASSWORD))
    about = "make a user an administrator, or remove that role"
    admin = _add_verb(verbs, "set-admin", _set_admin, about, ADMIN)
    admin.add_argument("--remove", action="store_true", help="remove the administrator role")
    about = "enable a disabled account, or approve a registration"
    _add_verb(verbs, "enable", _enable, about, ENABLE)
    about = "disable an account, which ends its sessions and tokens"
    _add_verb(verbs, "disable", _disable, about, DISABLE)
    about = "delete an account with its tokens, rights and group memberships"
    deleting = _add_verb(verbs, "delete", _delete, about, DELETE)
    deleting.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _add_invitations(verbs)


def _add_invitations(verbs: Any) -> None:
    about = "create an invitation to register and print it"
    inviting = add_request(
        verbs,
        "invite",
        about,
        "POST /api/invitations",
        _print_invitation,
        examples=INVITE,
        body=("expires",),
    )
    inviting.add_argument(
        "--expires", metavar="TIME", help="how long it is valid: 12h, at most 30d (default: 7d)"
    )
    add_request(
        verbs,
        "list-invitations",
        "list the invitations that can still be used",
        "GET /api/invitations",
        _PRINT_INVITATIONS,
        examples=LIST_INVITATIONS,
    )
    deleting = add_request(
        verbs,
        "delete-invitation",
        "delete an invitation, which can then no longer be used",
        "DELETE /api/invitations/{id}",
        _print_deleted_invitation,
        examples=DELETE_INVITATION,
    )
    deleting.add_argument("id", metavar="ID", help="its id in `pypid user list-invitations`")


def _add_verb(
    verbs: Any, name: str, run: Any, about: str, examples: str | None = None
) -> argparse.ArgumentParser:
    command = add_command(verbs, name, run, about, config=True, examples=examples)
    command.add_argument("name", metavar="NAME")
    return command


def _url(options: argparse.Namespace) -> str:
    return f"/api/users/{quote(options.name, safe='')}"


def _create(options: argparse.Namespace) -> None:
    document = {
        "name": options.name,
        "admin": options.admin,
        "inherit": options.inherit,
        "no_password": options.no_password,
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


def _enable(options: argparse.Namespace) -> None:
    _change(options, {"status": "active"})


def _disable(options: argparse.Namespace) -> None:
    _change(options, {"status": "disabled"})


def _change(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    print_answer(options, send_request(options, "PATCH", _url(options), document), _print_user)


def _delete(options: argparse.Namespace) -> None:
    if not options.yes:
        question = (
            f"This deletes the account {options.name} with its tokens, rights and group "
            "memberships. (`pypid user disable` keeps them.)"
        )
        confirm(question, options.name, "nothing was deleted")
    answer = send_request(options, "DELETE", _url(options))
    print_answer(options, answer, lambda answer: print(f"{answer['name']}: deleted"))


def _print_user(user: Mapping[str, Any]) -> None:
    admin = ", an administrator" if user["admin"] else ""
    groups = f"; groups: {' '.join(user['groups'])}" if user["groups"] else ""
    print(f"{user['name']}: {user['status']}{admin}, from the {_ORIGINS[user['source']]}{groups}")
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


_PRINT_USERS = table_of(
    "users",
    "user",
    {
        "USER": "name",
        "ROLE": lambda user: "admin" if user["admin"] else "",
        "STATUS": "status",
        "SOURCE": "source",
        "CHANGED (UTC)": time_of("changed", ""),
    },
)


def _print_invitation(answer: Mapping[str, Any]) -> None:
    print(f"{answer['id']}: for one account, expires {format_time(answer['expires'])} UTC")
    print(f"invitation: {answer['secret']}\n(It is not shown again: pypid does not store it.)")


def _print_deleted_invitation(answer: Mapping[str, Any]) -> None:
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
