"""The `right` command: who may read and write single projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command_group, flag
from pypid.cli.output import Column, counted, print_rows, print_warnings
from pypid.cli.request import quoted, request_command

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


def right_url(project: str, whom: str) -> str:
    """Return the API's URL of the right of `whom`, spelled as the configuration spells principals:
    a bare name is a user.
    """
    if whom in ("everyone", "authenticated", "admins"):
        words = [whom]
    else:
        kind, colon, name = whom.partition(":")
        words = [kind, name] if colon else ["user", whom]
    return f"{rights_url(project)}/{quoted(*words)}"


def rights_url(project: str) -> str:
    """Return the API's URL of the rights on a project or glob."""
    is_glob = not {"*", "?", "["}.isdisjoint(project)
    name = quoted(project)
    return f"/api/rights/{name}" if is_glob else f"/api/projects/{name}/rights"


def _print_all(answer: Mapping[str, Any]) -> None:
    print("Defaults for projects without rights ([access]):")
    for name, principals in answer["defaults"].items():
        print(f"  {name} = {principals}")
    print_rows(answer["rights"], {"PROJECT": "project", **_COLUMNS})
    print(counted(len(answer["rights"]), "right"))


def _print_project(answer: Mapping[str, Any]) -> None:
    print_rows(answer["rights"], _COLUMNS)
    rule = answer["rule"]
    source = "the rights above" if rule == answer["project"] else f"the rights on {rule}"
    source = "defaults of [access]" if answer["takes_defaults"] else source
    effective = answer["effective"]
    print(
        f"{answer['project']}: read by {effective['read']}, published by {effective['write']} "
        f"({source}), and by administrators"
    )
    print_warnings(answer)


def _print_access(answer: Mapping[str, Any]) -> None:
    groups = f" (groups: {' '.join(answer['groups'])})" if answer["groups"] else ""
    index = f" in the index {answer['index']}" if answer["index"] else ""
    print(f"{answer['user']}{groups}: {answer['project']}{index}")
    print(f"Rule: {answer['rule'] or 'none, so that the defaults apply'}")
    is_without_effect = answer["owner"] and not answer["owner_in_force"]
    effect = " (no effect: owners = none)" if is_without_effect else ""
    print(f"Owner: {answer['owner'] or 'none'}{effect}")
    print_rows(
        answer["actions"],
        {
            "ACTION": "action",
            "ALLOWED": lambda each: "yes" if each["allowed"] else "no",
            "BECAUSE": "because",
        },
    )


_COLUMNS: dict[str, Column] = {
    "WHOM": lambda right: ":".join(filter(None, (right["kind"], right["name"]))),
    "RIGHT": "right",
    "SOURCE": "source",
}


_PROJECT = argument("project", metavar="PROJECT", help="a project, or a glob in quotes")
_WHOM = argument("whom", metavar="WHOM", help=WHOM)
COMMANDS = (
    command_group(
        "right",
        "manage rights on projects",
        RIGHTS,
        request_command(
            "list",
            "list the rights",
            lambda options: (
                "GET " + (rights_url(options.project) if options.project else "/api/rights")
            ),
            lambda answer: (_print_project if "effective" in answer else _print_all)(answer),
            argument(
                "project",
                metavar="PROJECT",
                nargs="?",
                help="only this project or glob, with the combined effect of its rights",
            ),
            examples=LIST,
        ),
        request_command(
            "explain",
            "explain what a user may do with a project: the rule that decides each action",
            "GET /api/projects/{project}/access/{user}",
            _print_access,
            argument("user", metavar="USER", help="a user, or anonymous"),
            argument("project", metavar="PROJECT", help="a project; it does not have to exist"),
            argument("--index", metavar="NAME", help="in this named index"),
            examples=EXPLAIN,
        ),
        request_command(
            "grant",
            "grant a right on a project; it replaces an earlier one of the same user or group",
            lambda options: f"PUT {right_url(options.project, options.whom)}",
            _print_project,
            _PROJECT,
            _WHOM,
            argument(
                "right",
                metavar="r|rw",
                choices=["r", "rw"],
                help="r: see and download; rw: also publish and yank",
            ),
            flag("--new-name", help="grant it also if no user or group has this name yet"),
            examples=GRANT,
            body=("right", "new_name"),
        ),
        request_command(
            "revoke",
            "revoke a right on a project",
            lambda options: f"DELETE {right_url(options.project, options.whom)}",
            _print_project,
            _PROJECT,
            _WHOM,
            examples=REVOKE,
        ),
    ),
)
