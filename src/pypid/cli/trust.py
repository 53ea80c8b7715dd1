"""The `trust` command: publishers of upstream files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command_group
from pypid.cli.output import print_done, printable, table_of, time_of
from pypid.cli.request import request_command

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


def _print_state(answer: Mapping[str, Any]) -> None:
    words = {
        "none": "it has no attestation",
        "held": f"held: {answer['problem']}",
        "unverified": f"not verified: {answer['problem']}",
        "verified": f"verified, published by {' and '.join(answer['publishers'])}",
    }
    print(printable(f"{answer['filename']}: {words[answer['status']]}"))


def _print_approved(answer: Mapping[str, Any]) -> None:
    for filename in answer["files"]:
        print(f"{printable(filename)}: approved")


_PROJECT = argument("project", metavar="PROJECT")
COMMANDS = (
    command_group(
        "trust",
        "list and approve publishers of files",
        TRUST,
        request_command(
            "list",
            "list upstream files without the expected publisher",
            "GET /api/trust",
            table_of(
                "files",
                "file",
                {
                    "PROJECT": "project",
                    "FILE": "filename",
                    "STATE": lambda file: "held" if file["held"] else "served",
                    "UPLOADED (UTC)": time_of("uploaded", ""),
                    "REASON": "reason",
                },
            ),
            examples=LIST,
        ),
        request_command(
            "show",
            "verify the attestations of a file",
            "GET /api/trust/{project}/files/{filename}",
            _print_state,
            _PROJECT,
            argument("filename", metavar="FILENAME"),
            examples=SHOW,
        ),
        request_command(
            "approve",
            "approve files without the expected publisher",
            "POST /api/trust/{project}/approvals",
            _print_approved,
            _PROJECT,
            argument("files", metavar="FILE", nargs="+", help="a filename or a version"),
            examples=APPROVE,
            body=("files",),
        ),
        request_command(
            "reset",
            "forget the publishers and approvals of a project",
            "DELETE /api/trust/{project}",
            print_done("name", "forgotten"),
            _PROJECT,
            examples=RESET,
        ),
    ),
)
