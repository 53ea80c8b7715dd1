"""The `user` command: accounts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import (
    counted,
    format_time,
    print_answer,
    print_warnings,
    printable,
    table_of,
    time_of,
)
from pypid.cli.request import (
    add_password_options,
    add_request,
    chosen_password,
    confirm,
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
    about = "import users, groups and rights from a dump of pypicloud"
    importing = add_command(verbs, "import", _import, about, config=True, examples=IMPORT)
    importing.add_argument(
        "-i", metavar="FILE", dest="file", help="the file to read (default: standard input)"
    )


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
