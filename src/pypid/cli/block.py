"""The `block` command: withhold projects, versions and files from all clients."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import add_command, add_group
from pypid.cli.output import format_time, print_answer, printable, table_of, time_of
from pypid.cli.request import add_request, send_request

BLOCKS = """\
  pypid block create 'acme==1.2' --reason "steals tokens"
  pypid block list
  pypid block show acme-1f3a9c02
  pypid block delete acme-1f3a9c02

A block withholds files from all clients at once: pages do not list them, and a request for
one gets 403 with the reason. Local and upstream files are blocked alike.
"""
CREATE = """\
  pypid block create acme --reason "name was taken over"
  pypid block create 'acme==1.2' --reason "steals tokens" --advisory MAL-2026-1
  pypid block create 'acme>=1,<2' --reason "no longer supported"
  pypid block create sha256:DIGEST --reason "a known trojan"

SPEC is a project, a project with versions (PEP 440), or the SHA-256 digest of a file of any
project. The block is in force on this machine when the command returns, and on the other
nodes of the index within a second, if they reach the storage. The command says until when
signed URLs work that clients got before, and names what it cannot revoke.
"""
LIST = """\
  pypid block list
"""
SHOW = """\
  pypid block show acme-1f3a9c02
"""
DELETE = """\
  pypid block delete acme-1f3a9c02

The withheld files are served again, unless another rule withholds them.
"""


def add(commands: Any) -> None:
    """Declare the `block` command."""
    verbs = add_group(
        commands, "block", "withhold projects, versions and files from all clients", examples=BLOCKS
    )
    about = "block a project, versions of it, or a file by its digest"
    creating = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    creating.add_argument(
        "spec", metavar="SPEC", help="acme, 'acme==1.2', 'acme>=1,<2' or sha256:DIGEST"
    )
    creating.add_argument(
        "--reason",
        metavar="TEXT",
        required=True,
        help="shown to clients that ask for a file: one line, at most 500 characters",
    )
    creating.add_argument(
        "--advisory", metavar="ID", default="", help="the advisory that the block follows"
    )
    add_request(verbs, "list", "list the blocks", "GET /api/blocks", _PRINT_BLOCKS, examples=LIST)
    path = "/api/blocks/{id}"
    showing = add_request(verbs, "show", "show a block", f"GET {path}", _print_block, examples=SHOW)
    deleting = add_request(
        verbs, "delete", "delete a block", f"DELETE {path}", _print_deleted, examples=DELETE
    )
    for command in showing, deleting:
        command.add_argument("id", metavar="ID")


def _create(options: argparse.Namespace) -> None:
    document = {
        "spec": options.spec,
        "reason": options.reason,
        "advisory": options.advisory,
    }
    answer = send_request(options, "POST", "/api/blocks", document)
    print_answer(options, answer, _print_created)


def _print_created(made: Mapping[str, Any]) -> None:
    print(f"{made['id']}: {made['spec']} is blocked")
    if made["links_until"]:
        print(f"signed URLs given earlier work until {format_time(made['links_until'])} UTC")
    for limit in made["not_revoked"]:
        print(f"outside pypid: {printable(limit)}")


def _print_block(block: Mapping[str, Any]) -> None:
    for name in ("id", "spec", "reason", "advisory", "created", "by"):
        if block.get(name):
            print(f"{name + ':':10} {printable(block[name])}")


def _print_deleted(answer: Mapping[str, Any]) -> None:
    print(f"{printable(answer['name'])}: deleted")


_PRINT_BLOCKS = table_of(
    "blocks",
    "block",
    {
        "ID": "id",
        "BLOCKS": "spec",
        "CREATED (UTC)": time_of("created", ""),
        "BY": "by",
        "REASON": "reason",
    },
)
