"""The `token` command: secrets for programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table
from pypid.cli.request import send_request

TOKENS = """\
  pypid token list                         all, with when each was used last
  pypid token list --user carol
  pypid token create "CI of spam" --user carol --can publish --project spam --expires 90d
  pypid token delete k3x9...               at once; the id stands in the list

A token is a secret for a machine, in place of a user's password: it may do
what it is for, and only as long as that user may do it.
"""
CREATE = """\
  pypid token create "CI of spam" --user carol --can publish --project spam --expires 90d
  pypid token create "builds" --user ci --can read

--can: read, publish (and yank), overwrite, delete, fetch (from the upstream
index; read brings it along), admin, metrics (/metrics, for Prometheus).
--project takes globs (acme-*); without it all projects are meant. Both can be said several times.

The secret is printed once, and only its digest is stored. With --quiet it is all
that is printed. Put it into an environment variable: other users of a machine
see command lines.

  export UV_PUBLISH_TOKEN=$(pypid token create laptop --user carol --can publish --quiet)
  uv publish --publish-url https://packages.example.org/legacy/ dist/*

  export TWINE_USERNAME=__token__
  export TWINE_PASSWORD=$(pypid token create laptop --user carol --can publish --quiet)
  twine upload --repository-url https://packages.example.org/legacy/ dist/*
"""
ACTIONS = ("read", "publish", "overwrite", "delete", "fetch", "admin", "metrics")


def add(commands: Any) -> None:
    """Declare the `token` command."""
    verbs = add_group(commands, "token", "manage tokens for programs", examples=TOKENS)
    listing = add_command(verbs, "list", _list, "show the tokens, never their secrets", config=True)
    listing.add_argument("--user", metavar="USER", help="only of this one")
    about = "create a token for a user and print its secret"
    making = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    making.add_argument("name", metavar="NAME", help="any text: what it is for")
    making.add_argument(
        "--user", metavar="USER", required=True, help="its owner: a user who can log in"
    )
    making.add_argument(
        "--can",
        metavar="ACTION",
        action="append",
        required=True,
        choices=ACTIONS,
        help="what it is for",
    )
    making.add_argument(
        "--project", metavar="GLOB", action="append", help="which projects it is for"
    )
    making.add_argument(
        "--expires", metavar="TIME", help="30d, or 2027-01-31T12:00:00Z; without it never"
    )
    making.add_argument("--quiet", "-q", action="store_true", help="print the secret alone")
    revoking = add_command(verbs, "delete", _delete, "revoke a token immediately", config=True)
    revoking.add_argument("id", metavar="ID")


def _list(options: argparse.Namespace) -> None:
    query = "all" if options.user is None else f"user={quote(options.user, safe='')}"
    print_answer(options, send_request(options, "GET", f"/api/tokens?{query}"), _print_tokens)


def _print_tokens(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            token["id"],
            token["user"],
            token["name"],
            " ".join(token["actions"]),
            " ".join(token["projects"]),
            token["state"],
            format_time(token["expires"]),
            format_time(token["used"]),
            token["used_from"] or "",
        )
        for token in answer["tokens"]
    ]
    print_table(
        ("ID", "USER", "NAME", "CAN", "PROJECTS", "STATE", "EXPIRES (UTC)", "USED LAST", "FROM"),
        rows,
    )
    print(counted(len(rows), "token"))


def _create(options: argparse.Namespace) -> None:
    document = {
        "name": options.name,
        "user": options.user,
        "actions": options.can,
        "expires": options.expires,
    }
    if options.project:
        document["projects"] = options.project
    answer = send_request(options, "POST", "/api/tokens", document)
    print_answer(options, answer, _print_secret if options.quiet else _print_new)


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/tokens/{quote(options.id, safe='')}")
    print_answer(options, answer, _print_token)


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
