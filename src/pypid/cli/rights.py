"""The `right` command: who may read and write single projects."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.table import counted, print_table, print_warnings
from pypid.cli.verbs import add_verbs

RIGHTS = """\
  pypid right list                   the defaults, and the rights of all projects
  pypid right list spam              who may read and write spam, and why
  pypid right grant spam carol rw    carol may read and publish spam
  pypid right grant spam group:devs r
  pypid right grant spam everyone r  (or authenticated: all logged-in users)
  pypid right revoke spam carol

r is to see and download, rw to publish and yank as well. The first right of a
project takes it out of the defaults of [access]: from then on only users with
a right of its own, and administrators, may read it. Who may write a name makes it ours: it is
never asked upstream, even before something of it was published. Rights of the
configuration ([projects]) hold beside these, and are changed there.
"""
WHOM = "carol (or user:carol), group:devs, everyone, authenticated"


def add(commands: Any) -> None:
    """Declare the `right` command."""
    verbs = add_verbs(
        commands,
        "right",
        "list and change who may read and write single projects",
        RIGHTS,
        "list|grant|revoke",
    )
    listing = add_command(verbs, "list", _list, "show the rights", config=True)
    listing.add_argument(
        "project",
        metavar="PROJECT",
        nargs="?",
        help="only of this one, and what they make together",
    )
    granting = add_command(
        verbs, "grant", _grant, "give a right, in place of an older one", config=True
    )
    revoking = add_command(verbs, "revoke", _revoke, "take a right away", config=True)
    for command in granting, revoking:
        command.add_argument("project", metavar="PROJECT")
        command.add_argument("whom", metavar="WHOM", help=WHOM)
    granting.add_argument("right", metavar="r|rw", choices=["r", "rw"])


def right_url(project: str, whom: str) -> str:
    """Return the API's URL of the right of `whom`, spelled as the configuration spells principals:
    a bare name is a user.
    """
    if whom in ("everyone", "authenticated"):
        words = [whom]
    else:
        kind, colon, name = whom.partition(":")
        words = [kind, name] if colon else ["user", whom]
    return "/".join(
        [
            f"/api/projects/{quote(project, safe='')}/rights",
            *(quote(word, safe="") for word in words),
        ]
    )


def _list(options: argparse.Namespace) -> None:
    if options.project:
        _print_project(
            options, ask(options, "GET", f"/api/projects/{quote(options.project, safe='')}/rights")
        )
        return
    answer = ask(options, "GET", "/api/rights")
    if options.json:
        print_json(answer)
        return
    defaults = answer["defaults"]
    print("Projects without rights of their own ([access]):")
    for name in defaults:
        print(f"  {name} = {defaults[name]}")
    print_table(
        ("PROJECT", "WHOM", "RIGHT", "FROM"),
        [(right["project"], *_row(right)) for right in answer["rights"]],
    )
    print(counted(len(answer["rights"]), "right"))


def _grant(options: argparse.Namespace) -> None:
    _print_project(
        options,
        ask(options, "PUT", right_url(options.project, options.whom), {"right": options.right}),
    )


def _revoke(options: argparse.Namespace) -> None:
    _print_project(options, ask(options, "DELETE", right_url(options.project, options.whom)))


def _print_project(options: argparse.Namespace, answer: Mapping[str, Any]) -> None:
    if options.json:
        print_json(answer)
        return
    print_table(("WHOM", "RIGHT", "FROM"), map(_row, answer["rights"]))
    why = "by the defaults ([access])" if answer["takes_defaults"] else "by these rights alone"
    effective = answer["effective"]
    print(
        f"{answer['project']}: read by {effective['read']}, written by {effective['write']}, "
        f"{why}; administrators besides"
    )
    print_warnings(answer)


def _row(right: Mapping[str, Any]) -> tuple[str, str, str]:
    whom = f"{right['kind']}:{right['name']}" if right["name"] else right["kind"]
    return whom, right["right"], right["from"]
