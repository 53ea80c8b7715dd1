"""The `right` command: who may read and write single projects."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, print_answer, print_table, print_warnings
from pypid.cli.request import send_request

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
    verbs = add_group(commands, "right", "manage rights on projects", examples=RIGHTS)
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
        url, print_text = f"/api/projects/{quote(options.project, safe='')}/rights", _print_project
    else:
        url, print_text = "/api/rights", _print_all
    print_answer(options, send_request(options, "GET", url), print_text)


def _print_all(answer: Mapping[str, Any]) -> None:
    print("Projects without rights of their own ([access]):")
    for name, principals in answer["defaults"].items():
        print(f"  {name} = {principals}")
    print_table(
        ("PROJECT", "WHOM", "RIGHT", "FROM"),
        [(right["project"], *_row(right)) for right in answer["rights"]],
    )
    print(counted(len(answer["rights"]), "right"))


def _grant(options: argparse.Namespace) -> None:
    url = right_url(options.project, options.whom)
    answer = send_request(options, "PUT", url, {"right": options.right})
    print_answer(options, answer, _print_project)


def _revoke(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", right_url(options.project, options.whom))
    print_answer(options, answer, _print_project)


def _print_project(answer: Mapping[str, Any]) -> None:
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
