"""The `block` command: withhold projects, versions and files from all clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command_group
from pypid.cli.output import format_time, print_done, printable, table_of, time_of
from pypid.cli.request import request_command

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
DELETE = """\
  pypid block delete acme-1f3a9c02

The withheld files are served again, unless another rule withholds them.
"""


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


_ID = argument("id", metavar="ID")
COMMANDS = (
    command_group(
        "block",
        "withhold projects, versions and files from all clients",
        BLOCKS,
        request_command(
            "create",
            "block a project, versions of it, or a file by its digest",
            "POST /api/blocks",
            _print_created,
            argument(
                "spec", metavar="SPEC", help="acme, 'acme==1.2', 'acme>=1,<2' or sha256:DIGEST"
            ),
            argument(
                "--reason",
                metavar="TEXT",
                required=True,
                help="shown to clients that ask for a file: one line, at most 500 characters",
            ),
            argument(
                "--advisory", metavar="ID", default="", help="the advisory that the block follows"
            ),
            examples=CREATE,
            body=("spec", "reason", "advisory"),
        ),
        request_command(
            "list",
            "list the blocks",
            "GET /api/blocks",
            table_of(
                "blocks",
                "block",
                {
                    "ID": "id",
                    "BLOCKS": "spec",
                    "CREATED (UTC)": time_of("created", ""),
                    "BY": "by",
                    "REASON": "reason",
                },
            ),
        ),
        request_command(
            "show",
            "show a block",
            "GET /api/blocks/{id}",
            _print_block,
            _ID,
            examples="  pypid block show acme-1f3a9c02",
        ),
        request_command(
            "delete",
            "delete a block",
            "DELETE /api/blocks/{id}",
            print_done("name", "deleted"),
            _ID,
            examples=DELETE,
        ),
    ),
)
