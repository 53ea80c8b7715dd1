"""The `token` command: secrets for programs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.table import counted, in_minutes, print_table
from pypid.cli.verbs import add_verbs, explain

TOKENS = """\
  pypid token list                         all, with when each was used last
  pypid token list --user carol
  pypid token make "CI of spam" --user carol --can publish --project spam --expires 90d
  pypid token revoke k3x9...               at once; the id stands in the list

A token is a secret for a machine, in place of a user's password: it may do
what it is for, and only as long as that user may do it.
"""
MAKE = """\
  pypid token make "CI of spam" --user carol --can publish --project spam --expires 90d
  pypid token make "builds" --user ci --can read

--can: read, publish (and yank), overwrite, delete, fetch (from the upstream
index; read brings it along), admin, metrics (/metrics, for Prometheus).
--project takes globs (acme-*); without it all projects are meant. Both can be said several times.

The secret is printed once, and only its digest is stored. How it is used:

  twine upload --repository-url URL/legacy/ -u __token__ -p SECRET dist/*
  UV_PUBLISH_TOKEN=SECRET uv publish --publish-url URL/legacy/
  pip install --index-url https://__token__:SECRET@HOST/simple/ PROJECT
"""
ACTIONS = ("read", "publish", "overwrite", "delete", "fetch", "admin", "metrics")


def add(commands: Any) -> None:
    """Declare the `token` command."""
    verbs = add_verbs(commands, "token", "list, make and revoke tokens", TOKENS, "list|make|revoke")
    listing = add_command(verbs, "list", _list, "show the tokens, never their secrets", config=True)
    listing.add_argument("--user", metavar="USER", help="only of this one")
    making = explain(
        add_command(
            verbs, "make", _make, "make a token for a user and print its secret", config=True
        ),
        MAKE,
    )
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
    revoking = add_command(
        verbs, "revoke", _revoke, "make a token good for nothing, at once", config=True
    )
    revoking.add_argument("id", metavar="ID")


def _list(options: argparse.Namespace) -> None:
    query = "all" if options.user is None else f"user={quote(options.user, safe='')}"
    answer = ask(options, "GET", f"/api/tokens?{query}")
    if options.json:
        print_json(answer)
        return
    rows = [
        (
            token["id"],
            token["user"],
            token["name"],
            " ".join(token["actions"]),
            " ".join(token["projects"]),
            token["state"],
            in_minutes(token["expires"]),
            in_minutes(token["used"]),
            token["used_from"] or "",
        )
        for token in answer["tokens"]
    ]
    print_table(
        ("ID", "USER", "NAME", "CAN", "PROJECTS", "STATE", "EXPIRES (UTC)", "USED LAST", "FROM"),
        rows,
    )
    print(counted(len(rows), "token"))


def _make(options: argparse.Namespace) -> None:
    document = {
        "name": options.name,
        "user": options.user,
        "actions": options.can,
        "expires": options.expires,
    }
    answer = ask(
        options,
        "POST",
        "/api/tokens",
        document | ({"projects": options.project} if options.project else {}),
    )
    if options.json:
        print_json(answer)
        return
    print(_line(answer))
    print(f"secret: {answer['secret']}\n(It is not shown again: only its digest is stored.)")


def _revoke(options: argparse.Namespace) -> None:
    answer = ask(options, "DELETE", f"/api/tokens/{quote(options.id, safe='')}")
    if options.json:
        print_json(answer)
        return
    print(_line(answer))


def _line(token: Mapping[str, Any]) -> str:
    what = f"{' '.join(token['actions'])} in {' '.join(token['projects'])}"
    return (
        f"{token['id']}: {token['state']}, {token['name']}, of {token['user']}, {what}, expires "
        f"{in_minutes(token['expires'])}"
    )
