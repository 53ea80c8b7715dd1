"""The `approval` command: decide about upstream projects that are new here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table, printable
from pypid.cli.request import send_request

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


def add(commands: Any) -> None:
    """Declare the `approval` command."""
    about = "approve or deny upstream projects that are new here"
    verbs = add_group(commands, "approval", about, examples=APPROVALS)
    about = "list the projects that wait, and the decisions"
    add_command(verbs, "list", _list, about, config=True, examples=LIST)
    about = "approve a project, or some of its versions"
    approving = add_command(verbs, "approve", _approve, about, config=True, examples=APPROVE)
    about = "deny a project, or some of its versions"
    denying = add_command(verbs, "deny", _deny, about, config=True, examples=DENY)
    for command in approving, denying:
        command.add_argument(
            "spec", metavar="SPEC", help="name, 'name==1.2' or 'name>=1,<2' (PEP 440)"
        )
        command.add_argument("--reason", metavar="TEXT", default="", help="why")
    about = "delete a decision or a request"
    deleting = add_command(verbs, "delete", _delete, about, config=True, examples=DELETE)
    deleting.add_argument("id", metavar="ID")


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/approvals"), _print_approvals)


def _print_approvals(answer: Mapping[str, Any]) -> None:
    waiting, decisions = answer["waiting"], answer["decisions"]
    rows = [
        (
            each["project"],
            str(each["releases"]),
            format_time(each["uploaded"], "unknown"),
            format_time(each["first"]),
            str(each["count"]),
            printable(", ".join(each["by"])),
        )
        for each in waiting
    ]
    if rows:
        print_table(("PROJECT", "RELEASES", "FIRST UPLOAD", "SINCE (UTC)", "REQUESTS", "BY"), rows)
    print(f"{counted(len(waiting), 'project')} waiting for approval")
    if decisions:
        print()
        _print_decisions(decisions)
    print(counted(len(decisions), "decision"))
    if not answer["asks"]:
        print("No project needs an approval: [upstream] new_projects is open.")


def _print_decisions(decisions: list[Mapping[str, Any]]) -> None:
    rows = [
        (
            each["id"],
            each["verdict"],
            f"{each['project']}{each['specifier']}",
            format_time(each["decided"]),
            printable(each["by"]),
            printable(each["reason"]),
        )
        for each in decisions
    ]
    print_table(("ID", "DECISION", "PROJECT", "WHEN (UTC)", "BY", "REASON"), rows)


def _approve(options: argparse.Namespace) -> None:
    _decide(options, "approved")


def _deny(options: argparse.Namespace) -> None:
    _decide(options, "denied")


def _decide(options: argparse.Namespace, verdict: str) -> None:
    document = {"spec": options.spec, "verdict": verdict, "reason": options.reason}
    answer = send_request(options, "POST", "/api/approvals", document)
    print_answer(options, answer, _print_decision)


def _print_decision(answer: Mapping[str, Any]) -> None:
    print(f"{answer['project']}{answer['specifier']}: {answer['verdict']} (id {answer['id']})")


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/approvals/{quote(options.id, safe='')}")
    print_answer(options, answer, lambda answer: print(f"{printable(answer['id'])}: deleted"))
