"""The `snapshot` command: name the index as it was at a time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import counted, format_time, print_answer, print_table, printable
from pypid.cli.request import send_request

SNAPSHOTS = """\
  pypid snapshot create release-42
  pypid snapshot list
  pypid snapshot delete release-42

A snapshot names the index as it was at a time. /snapshots/NAME/simple/ shows that state
permanently, within the rights that the user has today. Nothing is copied. Without a
snapshot, any time can be requested: /at/2026-08-01/simple/
"""
CREATE = """\
  pypid snapshot create release-42
  pypid snapshot create before-the-outage --at 2026-08-01T12:30:00Z --note "last good build"

To install from it:

  pip install --index-url URL/snapshots/release-42/simple/ PROJECT
  uv pip install --default-index URL/snapshots/release-42/simple/ PROJECT

--at takes a date (the end of that day, UTC) or a time; it must be at least a minute ago.
Cached upstream files of the snapshot are not evicted. Upstream files that were listed but
not cached can disappear upstream; to cache them: pypid cache fetch.
"""
DELETE = """\
  pypid snapshot delete release-42

No file is deleted: local files stay, and cached upstream files may be evicted again.
"""
LIST = """\
  pypid snapshot list
"""


def add(commands: Any) -> None:
    """Declare the `snapshot` command."""
    verbs = add_group(
        commands, "snapshot", "manage named snapshots of the index", examples=SNAPSHOTS
    )
    about = "create a snapshot of the index as it is now, or as it was at a time"
    creating = add_command(verbs, "create", _create, about, config=True, examples=CREATE)
    creating.add_argument(
        "name",
        metavar="NAME",
        help="lowercase letters, digits, '.', '_' and '-'; at most 64 characters",
    )
    creating.add_argument(
        "--at", metavar="TIME", help="2026-08-01, or 2026-08-01T12:30:00Z (default: now)"
    )
    creating.add_argument("--note", metavar="TEXT", default="", help="a description")
    about = "list the snapshots"
    add_command(verbs, "list", _list, about, config=True, examples=LIST)
    about = "delete a snapshot"
    deleting = add_command(verbs, "delete", _delete, about, config=True, examples=DELETE)
    deleting.add_argument("name", metavar="NAME")


def _create(options: argparse.Namespace) -> None:
    document = {"name": options.name, "note": options.note}
    if options.at is not None:
        document["moment"] = options.at
    answer = send_request(options, "POST", "/api/snapshots", document)
    print_answer(options, answer, _print_new)


def _print_new(answer: Mapping[str, Any]) -> None:
    print(f"{answer['name']}: the index as of {answer['moment']}, at {answer['index']}")


def _list(options: argparse.Namespace) -> None:
    print_answer(options, send_request(options, "GET", "/api/snapshots"), _print_snapshots)


def _print_snapshots(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            snapshot["name"],
            snapshot["moment"],
            format_time(snapshot["made"]),
            snapshot.get("by", ""),
            snapshot["note"],
        )
        for snapshot in answer["snapshots"]
    ]
    print_table(("NAME", "AS OF", "CREATED (UTC)", "BY", "NOTE"), rows)
    print(counted(len(rows), "snapshot"))


def _delete(options: argparse.Namespace) -> None:
    answer = send_request(options, "DELETE", f"/api/snapshots/{quote(options.name, safe='')}")
    print_answer(options, answer, lambda answer: print(f"{printable(answer['name'])}: deleted"))
