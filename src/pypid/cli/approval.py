"""The `approval` command: decide about upstream projects that are new here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import Declaration, argument, command_group
from pypid.cli.output import Column, counted, print_done, print_rows, time_of
from pypid.cli.request import fields, request_command

APPROVALS = """\
  pypid approval list
  pypid approval approve left-pad
  pypid approval approve 'numpy>=2,<3' --reason "ticket 42"
  pypid approval deny reqeusts --reason "looks like requests"

With [upstream] new_projects = ask, an upstream project without cached files waits until
an administrator approves it. Clients that request it are refused with the reason, and
`pypid approval list` shows who they were, until 30 days after the last request. The page
Manage > Approvals has links to look inside the files, and to compare releases.
"""
LIST = """\
  pypid approval list
  pypid approval list --json
"""
APPROVE = """\
  pypid approval approve left-pad
  pypid approval approve 'numpy>=2,<3' --reason "ticket 42"

Without versions, all versions are approved. With versions, clients see only these.
"""
DENY = """\
  pypid approval deny reqeusts --reason "looks like requests"
  pypid approval deny 'numpy<1.20'

A denial wins over an approval. The reason is shown to clients.
"""
DELETE = """\
  pypid approval delete left-pad

ID is the id of a decision, or the name of a project that waits (`pypid approval list`).
"""


_WAITING: dict[str, Column] = {
    "PROJECT": "project",
    "RELEASES": "releases",
    "FIRST UPLOAD": time_of("uploaded", "unknown"),
    "SINCE (UTC)": time_of("first"),
    "REQUESTS": "count",
    "BY": lambda each: ", ".join(each["by"]),
}
_DECISIONS: dict[str, Column] = {
    "ID": "id",
    "DECISION": "verdict",
    "PROJECT": lambda each: f"{each['project']}{each['specifier']}",
    "WHEN (UTC)": time_of("decided"),
    "BY": "by",
    "REASON": "reason",
}


def _print_approvals(answer: Mapping[str, Any]) -> None:
    waiting, decisions = answer["waiting"], answer["decisions"]
    print_rows(waiting, _WAITING)
    print(f"{counted(len(waiting), 'project')} waiting for approval")
    if decisions:
        print()
        print_rows(decisions, _DECISIONS)
    print(counted(len(decisions), "decision"))
    if not answer["asks"]:
        print("No project needs an approval: [upstream] new_projects is open.")


def _print_decision(answer: Mapping[str, Any]) -> None:
    print(f"{answer['project']}{answer['specifier']}: {answer['verdict']} (id {answer['id']})")


def _deciding(name: str, verdict: str, examples: str) -> Declaration:
    return request_command(
        name,
        f"{name} a project, or some of its versions",
        "POST /api/approvals",
        _print_decision,
        argument("spec", metavar="SPEC", help="name, 'name==1.2' or 'name>=1,<2' (PEP 440)"),
        argument("--reason", metavar="TEXT", default="", help="why"),
        examples=examples,
        body=lambda options: {**fields(options, "spec", "reason"), "verdict": verdict},
    )


COMMANDS = (
    command_group(
        "approval",
        "approve or deny upstream projects that are new here",
        APPROVALS,
        request_command(
            "list",
            "list the projects that wait, and the decisions",
            "GET /api/approvals",
            _print_approvals,
            examples=LIST,
        ),
        _deciding("approve", "approved", APPROVE),
        _deciding("deny", "denied", DENY),
        request_command(
            "delete",
            "delete a decision or a request",
            "DELETE /api/approvals/{id}",
            print_done("id", "deleted"),
            argument("id", metavar="ID"),
            examples=DELETE,
        ),
    ),
)
