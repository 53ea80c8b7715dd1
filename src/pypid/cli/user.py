"""The `user` command: accounts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command, command_group, flag, one_of
from pypid.cli.output import (
    counted,
    format_time,
    print_answer,
    print_done,
    print_warnings,
    printable,
    table_of,
    time_of,
)
from pypid.cli.request import (
    PASSWORD_SOURCES,
    chosen_password,
    confirm,
    fields,
    request_command,
    send_request,
)

USERS = """\
  pypid user list                    all users, and which are administrators
  pypid user create carol            create an account; prints its password once
  pypid user create carol --ask      create an account with a password that you type
  pypid user set-admin carol         make carol an administrator
  pypid user disable carol           end carol's sessions and tokens
  pypid user invite --expires 12h    let one person create an account
  pypid user import -i acl.json      import users, groups and rights of a pypicloud

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
DISABLE = """\
  pypid user disable carol

The account keeps its rights and group memberships. `pypid user enable` undoes it.
"""
DELETE = """\
  pypid user delete carol
  pypid user delete carol --yes
"""
IMPORT = """\
  ppc-export config.ini > acl.json         on the machine of pypicloud
  pypid user import -i acl.json            here

The file has users with their password hashes, registrations that wait for approval, groups,
and rights on projects. The file /admin/acl.json.gz of pypicloud works as well. (ppc-export -o
fails on Python 3.)

pypid adds what is missing, all at once or not at all. Existing accounts stay as they are,
and no right becomes smaller; a second import changes nothing. Entries that cannot be
imported as they are are listed, with the solution. The exit status is 1 if a user loses
a right (LOST), or gets a right that the user had neither there nor here, because groups
or users with the same name are merged (GAINED).
"""
INVITE = """\
  pypid user invite
  pypid user invite --expires 12h

With [access] registration = token, an invitation lets one person create an account. Send it to
that person, who registers with it, once, on the page /account/register or by this request:

  POST URL/api/register  {"user": "NAME", "password": "...", "token": "INVITATION"}

The invitation is printed once and not stored; the audit log has its id.
"""


_NAME = argument("name", metavar="NAME")
CHANGE = "PATCH /api/users/{name}"


def _new_account(options: argparse.Namespace) -> dict[str, Any]:
    names = ("name", "admin", "inherit", "no_password")
    document = {**fields(options, *names), "must_log_in": True}
    return document | _password(options, "no account was made")


def _password(options: argparse.Namespace, undone: str) -> dict[str, str]:
    password = chosen_password(options, undone)
    return {"password": password} if password else {}


def _confirm(options: argparse.Namespace) -> None:
    question = (
        f"This deletes the account {options.name} with its tokens, rights and group memberships. "
        "(`pypid user disable` keeps them.)"
    )
    confirm(question, options.name, "nothing was deleted")


def _import(options: argparse.Namespace) -> int | None:
    answer = send_request(options, "POST", "/api/acl", _read_dump(options.file))
    print_answer(options, answer, _print_import)
    losses, gains = (
        sum(oddity[kind] for oddity in answer["oddities"]) for kind in ("loss", "gain")
    )
    for number, effect in (
        (losses, "took a right from a user or group: see LOST"),
        (gains, "gave a user or group a new right: see GAINED"),
    ):
        if number:
            print(f"pypid: {counted(number, 'change')} {effect}", file=sys.stderr)
    return 1 if losses or gains else None


def _print_import(answer: Mapping[str, Any]) -> None:
    for oddity in answer["oddities"]:
        kind = "LOST: " if oddity["loss"] else "GAINED: " if oddity["gain"] else ""
        print(printable(f"{kind}{oddity['what']}: {oddity['done']}"))
    added = [
        counted(answer[what], what.removesuffix("s"))
        for what in ("users", "groups", "members", "rights")
    ]
    present = answer["users_there"]
    note = f" ({counted(present, 'user')} existed already)" if present else ""
    print(f"added: {', '.join(added)}{note}")


def _read_dump(name: str | None) -> Any:
    """Return the JSON document in the dump; the daemon checks its content. Raises `BadRequest`."""
    from pypid.core.accounts.acl import LARGEST, unpacked
    from pypid.core.errors import BadRequest

    try:
        if name is None:
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        sys.exit(f"pypid: {name or 'standard input'} cannot be read: {error.strerror}")
    try:
        document = json.loads(unpacked(data))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest("The file is not a dump of pypicloud's users, which is a JSON object.")
    return document


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


COMMANDS = (
    command_group(
        "user",
        "manage user accounts",
        USERS,
        request_command("list", "list the users", "GET /api/users", _PRINT_USERS),
        request_command(
            "show",
            "show a user with its groups",
            "GET /api/users/{name}",
            _print_user,
            _NAME,
            examples="  pypid user show carol",
        ),
        request_command(
            "create",
            "create a user account",
            "POST /api/users",
            _print_user,
            flag("--admin", help="make the user an administrator"),
            flag("--inherit", help="keep rights that the name already has"),
            one_of(
                *PASSWORD_SOURCES,
                flag("--no-password", help="an account that logs in with tokens alone"),
            ),
            _NAME,
            examples=CREATE,
            body=_new_account,
        ),
        request_command(
            "set-password",
            "set a new password for a user",
            "PUT /api/users/{name}/password",
            _print_new_password,
            one_of(*PASSWORD_SOURCES),
            _NAME,
            examples=PASSWORD,
            body=lambda options: _password(options, "the password stays as it was"),
        ),
        request_command(
            "set-admin",
            "make a user an administrator, or remove that role",
            CHANGE,
            _print_user,
            flag("--remove", help="remove the administrator role"),
            _NAME,
            examples=ADMIN,
            body=lambda options: {"admin": not options.remove},
        ),
        request_command(
            "enable",
            "enable a disabled account, or approve a registration",
            CHANGE,
            _print_user,
            _NAME,
            examples="  pypid user enable carol",
            body=lambda options: {"status": "active"},
        ),
        request_command(
            "disable",
            "disable an account, which ends its sessions and tokens",
            CHANGE,
            _print_user,
            _NAME,
            examples=DISABLE,
            body=lambda options: {"status": "disabled"},
        ),
        request_command(
            "delete",
            "delete an account with its tokens, rights and group memberships",
            "DELETE /api/users/{name}",
            print_done("name", "deleted"),
            _NAME,
            examples=DELETE,
            confirms=_confirm,
        ),
        request_command(
            "invite",
            "create an invitation to register and print it",
            "POST /api/invitations",
            _print_invitation,
            argument(
                "--expires",
                metavar="TIME",
                help="how long it is valid: 12h, at most 30d (default: 7d)",
            ),
            examples=INVITE,
            body=("expires",),
        ),
        request_command(
            "list-invitations",
            "list the invitations that can still be used",
            "GET /api/invitations",
            _PRINT_INVITATIONS,
        ),
        request_command(
            "delete-invitation",
            "delete an invitation, which can then no longer be used",
            "DELETE /api/invitations/{id}",
            _print_deleted_invitation,
            argument("id", metavar="ID", help="its id in `pypid user list-invitations`"),
            examples="  pypid user delete-invitation 5d1f...",
        ),
        command(
            "import",
            _import,
            "import users, groups and rights from a dump of pypicloud",
            argument(
                "-i", metavar="FILE", dest="file", help="the file to read (default: standard input)"
            ),
            examples=IMPORT,
        ),
    ),
)
