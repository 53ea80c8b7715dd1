"""The `trust` command: publishers of upstream files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table, printable
from pypid.cli.request import send_request

TRUST = """\
  pypid trust list
  pypid trust show PROJECT FILENAME
  pypid trust approve PROJECT FILENAME
  pypid trust reset PROJECT

A file is doubted if it has no attestation by a publisher that [trust] require names, or if
earlier releases of its project were attested by another publisher ([trust] ratchet).
"""
LIST = """\
  pypid trust list
  pypid trust list --json

Held files reach no client. The others are served, because of ratchet = warn.
"""
SHOW = """\
  pypid trust show PROJECT FILENAME

Verifies the attestations of a file: its publisher, or why they prove nothing.
"""
APPROVE = """\
  pypid trust approve PROJECT FILENAME
  pypid trust approve PROJECT VERSION

The files are served from then on, and so are later files by their verified publishers.
"""
RESET = """\
  pypid trust reset PROJECT

The next attested file of the project determines its publisher. Approvals are forgotten too.
"""


def add(commands: Any) -> None:
    """Declare the `trust` command."""
    verbs = add_group(commands, "trust", "list and approve publishers of files", examples=TRUST)
    about = "list upstream files without the expected publisher"
    add_command(verbs, "list", _list, about, config=True, examples=LIST)
    about = "verify the attestations of a file"
    showing = add_command(verbs, "show", _show, about, config=True, examples=SHOW)
    showing.add_argument("project", metavar="PROJECT")
    showing.add_argument("filename", metavar="FILENAME")
    about = "approve files without the expected publisher"
    approving = add_command(verbs, "approve", _approve, about, config=True, examples=APPROVE)
    approving.add_argument("project", metavar="PROJECT")
    approving.add_argument("files", metavar="FILE", nargs="+", help="a filename or a version")
    about = "forget the publishers and approvals of a project"
    resetting = add_command(verbs, "reset", _reset, about, config=True, examples=RESET)
    resetting.add_argument("project", metavar="PROJECT")


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/trust"), _print_files)


def _print_files(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            file["project"],
            file["filename"],
            "held" if file["held"] else "served",
            format_time(file["uploaded"]) if file["uploaded"] else "",
            file["reason"],
        )
        for file in answer["files"]
    ]
    print_table(("PROJECT", "FILE", "STATE", "UPLOADED (UTC)", "REASON"), rows)
    print(counted(len(rows), "file"))


def _show(options: argparse.Namespace) -> None:
    path = f"/api/trust/{quote(options.project, safe='')}/files/{quote(options.filename, safe='')}"
    print_answer(options, send_request(options, "GET", path), _print_state)


def _print_state(answer: Mapping[str, Any]) -> None:
    words = {
        "none": "it has no attestation",
        "held": f"held: {answer['problem']}",
        "unverified": f"not verified: {answer['problem']}",
        "verified": f"verified, published by {' and '.join(answer['publishers'])}",
    }
    print(printable(f"{answer['filename']}: {words[answer['status']]}"))


def _approve(options: argparse.Namespace) -> None:
    path = f"/api/trust/{quote(options.project, safe='')}/approvals"
    answer = send_request(options, "POST", path, {"files": options.files})
    print_answer(options, answer, _print_approved)


def _print_approved(answer: Mapping[str, Any]) -> None:
    for filename in answer["files"]:
        print(f"{printable(filename)}: approved")


def _reset(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/trust/{quote(options.project, safe='')}")
    print_answer(options, answer, lambda gone: print(f"{printable(gone['name'])}: forgotten"))
