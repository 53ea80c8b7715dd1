"""The `right` command: who may read and write single projects."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import counted, print_answer, print_table, print_warnings
from pypid.cli.request import send_below_index, send_request

RIGHTS = """\
  pypid right list                             defaults and rights of all projects
  pypid right list acme-billing                who can read and publish acme-billing, and why
  pypid right grant acme-billing carol rw      carol can read and publish acme-billing
  pypid right grant acme-billing group:devs r
  pypid right grant 'acme-data-*' group:data rw
  pypid right explain carol acme-billing       what carol may do with it, and why
  pypid right revoke acme-billing carol

r is the right to see and download, rw also to publish and yank. The first right of a
project replaces the defaults of [access]: from then on only users with a right, its
owner and administrators can read it. A right to publish makes the name local: pypid
never sends it upstream, even before the first upload. Rights of the configuration
([projects]) apply in addition, and are changed there.

A glob names all projects that match it. The rights on the exact name of a project
replace those on globs; of several globs the one with the most literal characters
applies.
"""
WHOM = "carol (or user:carol), group:devs, everyone, authenticated, admins"
LIST = """\
  pypid right list
  pypid right list acme-billing
  pypid right list 'acme-data-*'
"""
GRANT = """\
  pypid right grant acme-billing carol rw
  pypid right grant acme-billing group:devs r
  pypid right grant acme-billing everyone r
  pypid right grant 'acme-data-*' group:data rw
  pypid right grant acme-billing group:directory-team r --new-name
"""
REVOKE = """\
  pypid right revoke acme-billing carol
  pypid right revoke 'acme-data-*' group:data
"""
EXPLAIN = """\
  pypid right explain carol acme-billing
  pypid right explain anonymous acme-billing
  pypid right explain carol acme-billing --index staging

anonymous is a client that has not logged in. BECAUSE names the right, the owner or the key of
the configuration that decides. Of the actions, manage is to change the rights of the project,
and fetch to make pypid request it from the upstream.
"""


def add(commands: Any) -> None:
    """Declare the `right` command."""
    verbs = add_group(commands, "right", "manage rights on projects", examples=RIGHTS)
    about = "list the rights"
    listing = add_command(verbs, "list", _list, about, config=True, examples=LIST)
    listing.add_argument(
        "project",
        metavar="PROJECT",
        nargs="?",
        help="only this project or glob, with the combined effect of its rights",
    )
    about = "explain what a user may do with a project: the rule that decides each action"
    explaining = add_command(verbs, "explain", _explain, about, config=True, examples=EXPLAIN)
    explaining.add_argument("user", metavar="USER", help="a user, or anonymous")
    explaining.add_argument(
        "project", metavar="PROJECT", help="a project; it does not have to exist"
    )
    explaining.add_argument("--index", metavar="NAME", help="in this named index")
    about = "grant a right on a project; it replaces an earlier one of the same user or group"
    granting = add_command(verbs, "grant", _grant, about, config=True, examples=GRANT)
    about = "revoke a right on a project"
    revoking = add_command(verbs, "revoke", _revoke, about, config=True, examples=REVOKE)
    for command in granting, revoking:
        command.add_argument("project", metavar="PROJECT", help="a project, or a glob in quotes")
        command.add_argument("whom", metavar="WHOM", help=WHOM)
    help = "r: see and download; rw: also publish and yank"
    granting.add_argument("right", metavar="r|rw", choices=["r", "rw"], help=help)
    help = "grant it also if no user or group has this name yet"
    granting.add_argument("--new-name", action="store_true", help=help)


def right_url(project: str, whom: str) -> str:
    """Return the API's URL of the right of `whom`, spelled as the configuration spells principals:
    a bare name is a user.
    """
    if whom in ("everyone", "authenticated", "admins"):
        words = [whom]
    else:
        kind, colon, name = whom.partition(":")
        words = [kind, name] if colon else ["user", whom]
    return "/".join([rights_url(project), *(quote(word, safe="") for word in words)])


def rights_url(project: str) -> str:
    """Return the API's URL of the rights on a project or glob."""
    quoted = quote(project, safe="")
    is_glob = not {"*", "?", "["}.isdisjoint(project)
    return f"/api/rights/{quoted}" if is_glob else f"/api/projects/{quoted}/rights"


def _list(options: argparse.Namespace) -> None:
    if options.project:
        url, print_text = rights_url(options.project), _print_project
    else:
        url, print_text = "/api/rights", _print_all
    print_answer(options, send_request(options, "GET", url), print_text)


def _print_all(answer: Mapping[str, Any]) -> None:
    print("Defaults for projects without rights ([access]):")
    for name, principals in answer["defaults"].items():
        print(f"  {name} = {principals}")
    print_table(
        ("PROJECT", "WHOM", "RIGHT", "SOURCE"),
        [(right["project"], *_row(right)) for right in answer["rights"]],
    )
    print(counted(len(answer["rights"]), "right"))


def _grant(options: argparse.Namespace) -> None:
    url = right_url(options.project, options.whom)
    wanted = {"right": options.right, "new_name": options.new_name}
    answer = send_request(options, "PUT", url, wanted)
    print_answer(options, answer, _print_project)


def _revoke(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", right_url(options.project, options.whom))
    print_answer(options, answer, _print_project)


def _print_project(answer: Mapping[str, Any]) -> None:
    print_table(("WHOM", "RIGHT", "SOURCE"), map(_row, answer["rights"]))
    rule = answer["rule"]
    source = "the rights above" if rule == answer["project"] else f"the rights on {rule}"
    source = "defaults of [access]" if answer["takes_defaults"] else source
    effective = answer["effective"]
    print(
        f"{answer['project']}: read by {effective['read']}, published by {effective['write']} "
        f"({source}), and by administrators"
    )
    print_warnings(answer)


def _explain(options: argparse.Namespace) -> None:
    words = (options.project, "access", options.user)
    path = "/".join(quote(word, safe="") for word in words)
    answer = send_below_index(options, "GET", f"/api/projects/{path}")
    print_answer(options, answer, _print_access)


def _print_access(answer: Mapping[str, Any]) -> None:
    groups = f" (groups: {' '.join(answer['groups'])})" if answer["groups"] else ""
    index = f" in the index {answer['index']}" if answer["index"] else ""
    print(f"{answer['user']}{groups}: {answer['project']}{index}")
    print(f"Rule: {answer['rule'] or 'none, so that the defaults apply'}")
    is_without_effect = answer["owner"] and not answer["owner_in_force"]
    effect = " (no effect: owners = none)" if is_without_effect else ""
    print(f"Owner: {answer['owner'] or 'none'}{effect}")
    print_table(
        ("ACTION", "ALLOWED", "BECAUSE"),
        [
            (each["action"], "yes" if each["allowed"] else "no", each["because"])
            for each in answer["actions"]
        ],
    )


def _row(right: Mapping[str, Any]) -> tuple[str, str, str]:
    whom = f"{right['kind']}:{right['name']}" if right["name"] else right["kind"]
    return whom, right["right"], right["source"]
