"""The `trust` command: publishers of upstream files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import add_group
from pypid.cli.output import printable, table_of, time_of
from pypid.cli.request import add_request

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
    add_request(verbs, "list", about, "GET /api/trust", _PRINT_FILES, examples=LIST)
    about = "verify the attestations of a file"
    path = "/api/trust/{project}/files/{filename}"
    showing = add_request(verbs, "show", about, f"GET {path}", _print_state, examples=SHOW)
    about = "approve files without the expected publisher"
    approving = add_request(
        verbs,
        "approve",
        about,
        "POST /api/trust/{project}/approvals",
        _print_approved,
        examples=APPROVE,
        body=("files",),
    )
    about = "forget the publishers and approvals of a project"
    resetting = add_request(
        verbs, "reset", about, "DELETE /api/trust/{project}", _print_forgotten, examples=RESET
    )
    for command in showing, approving, resetting:
        command.add_argument("project", metavar="PROJECT")
    showing.add_argument("filename", metavar="FILENAME")
    approving.add_argument("files", metavar="FILE", nargs="+", help="a filename or a version")


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


def _print_forgotten(answer: Mapping[str, Any]) -> None:
    print(f"{printable(answer['name'])}: forgotten")


_PRINT_FILES = table_of(
    "files",
    "file",
    {
        "PROJECT": "project",
        "FILE": "filename",
        "STATE": lambda file: "held" if file["held"] else "served",
        "UPLOADED (UTC)": time_of("uploaded", ""),
        "REASON": "reason",
    },
)
