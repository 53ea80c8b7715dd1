"""The `token` command: secrets for programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command, command_group, flag
from pypid.cli.output import format_time, print_answer, table_of, time_of
from pypid.cli.request import fields, query, request_command, send_request

TOKENS = """\
  pypid token list                         all tokens, with their last use
  pypid token list --user carol
  pypid token create "CI of acme" --user carol --can publish --project 'acme-*' --expires 90d
  pypid token delete k3x9...               the id is in the list

A token is a secret for a program, used instead of a password. It permits the actions
that it was created for, as long as its user has the right to do them.
"""
CREATE = """\
  pypid token create "CI of acme" --user carol --can publish --project 'acme-*' --expires 90d
  pypid token create "builds" --user ci --can read

The actions: read, publish (and yank), overwrite, delete, fetch (from the upstream index;
read includes it), admin, metrics (/metrics, for Prometheus).

The secret is printed once; pypid stores only its digest. Put it into an environment
variable: other users of the machine can see command lines. With --quiet the command prints
only the secret.

  export UV_PUBLISH_TOKEN=$(pypid token create laptop --user carol --can publish --quiet)
  uv publish --publish-url https://packages.example.org/legacy/ dist/*

  export TWINE_USERNAME=__token__
  export TWINE_PASSWORD=$(pypid token create laptop --user carol --can publish --quiet)
  twine upload --repository-url https://packages.example.org/legacy/ dist/*
"""
ACTIONS = ("read", "publish", "overwrite", "delete", "fetch", "admin", "metrics")
LIST = """\
  pypid token list
  pypid token list --user carol
"""


_PRINT_TOKENS = table_of(
    "tokens",
    "token",
    {
        "ID": "id",
        "USER": "user",
        "NAME": "name",
        "CAN": "actions",
        "PROJECTS": "projects",
        "STATE": "state",
        "EXPIRES (UTC)": time_of("expires"),
        "LAST USED": time_of("used"),
        "FROM": "used_from",
    },
)


def _create(options: argparse.Namespace) -> None:
    document = {**fields(options, "name", "user", "expires"), "actions": options.can}
    if options.project:
        document["projects"] = options.project
    answer = send_request(options, "POST", "/api/tokens", document)
    print_answer(options, answer, _print_secret if options.quiet else _print_new)


def _print_secret(token: Mapping[str, Any]) -> None:
    print(token["secret"])


def _print_new(token: Mapping[str, Any]) -> None:
    _print_token(token)
    print(f"secret: {token['secret']}\n(It is not shown again: only its digest is stored.)")


def _print_token(token: Mapping[str, Any]) -> None:
    scope = f"{' '.join(token['actions'])} in {' '.join(token['projects'])}"
    print(
        f"{token['id']}: {token['state']}, {token['name']}, of {token['user']}, {scope}, expires "
        f"{format_time(token['expires'])}"
    )


COMMANDS = (
    command_group(
        "token",
        "manage tokens for programs",
        TOKENS,
        request_command(
            "list",
            "list the tokens, without their secrets",
            lambda options: f"GET /api/tokens?{query(options, 'user') or 'all'}",
            _PRINT_TOKENS,
            argument("--user", metavar="USER", help="only the tokens of this user"),
            examples=LIST,
        ),
        command(
            "create",
            _create,
            "create a token and print its secret",
            argument("name", metavar="NAME", help="any text that describes its use"),
            argument("--user", metavar="USER", required=True, help="a user who can log in"),
            argument(
                "--can",
                metavar="ACTION",
                action="append",
                required=True,
                choices=ACTIONS,
                help=f"a permitted action: {', '.join(ACTIONS)} (repeatable)",
            ),
            argument(
                "--project",
                metavar="GLOB",
                action="append",
                help="projects that it is valid for, such as 'acme-*' (repeatable; default: all)",
            ),
            argument(
                "--expires", metavar="TIME", help="90d, or 2027-01-31T12:00:00Z (default: never)"
            ),
            flag("--quiet", "-q", help="print only the secret"),
            examples=CREATE,
        ),
        request_command(
            "delete",
            "delete a token, which can then no longer be used",
            "DELETE /api/tokens/{id}",
            _print_token,
            argument("id", metavar="ID", help="its id in `pypid token list`"),
            examples="  pypid token delete k3x9...",
        ),
    ),
)
