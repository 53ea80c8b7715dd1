"""The `snapshot` command: name the index as it was at a time."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.table import counted, in_minutes, print_table, printable
from pypid.cli.verbs import add_verbs, explain

SNAPSHOTS = """\
  pypid snapshot make release-42           the index as it is now, by a name
  pypid snapshot list
  pypid snapshot delete release-42

A snapshot is a name for a moment. Nothing is copied: /snapshots/NAME/simple/
shows what was there then, with the rights of the user who asks, and goes on
showing it. Without a name any moment can be asked for: /at/2026-08-01/simple/
"""
MAKE = """\
  pypid snapshot make release-42
  pypid snapshot make before-the-outage --at 2026-08-01T12:30:00Z --note "last good build"

  pip install --index-url URL/snapshots/release-42/simple/ PROJECT
  uv pip install --default-index URL/snapshots/release-42/simple/ PROJECT

--at takes a date (that whole day, UTC) or a time; it has to be a minute old.
Files of upstream's that are kept and that the snapshot shows are not evicted.
What was only listed and not kept may go upstream; to keep it: pypid collect.
"""
DELETE = """\
  pypid snapshot delete release-42

No file is removed: what is ours stays, and what is kept of upstream's may be
evicted again. /at/ of the same moment shows the same.
"""


def add(commands: Any) -> None:
    """Declare the `snapshot` command."""
    about = "make, list and delete names for moments of the index"
    verbs = add_verbs(commands, "snapshot", about, SNAPSHOTS, "make|list|delete")
    making = explain(
        add_command(
            verbs, "make", _make, "give the index of now, or of a moment, a name", config=True
        ),
        MAKE,
    )
    making.add_argument(
        "name", metavar="NAME", help="small letters, digits, '.', '_' and '-'; at most 64"
    )
    making.add_argument(
        "--at", metavar="MOMENT", help="2026-08-01 or 2026-08-01T12:30:00Z; without it now"
    )
    making.add_argument("--note", metavar="TEXT", default="", help="what it is for")
    add_command(verbs, "list", _list, "show the snapshots", config=True)
    deleting = explain(
        add_command(verbs, "delete", _delete, "take a snapshot away", config=True), DELETE
    )
    deleting.add_argument("name", metavar="NAME")


def _make(options: argparse.Namespace) -> None:
    wish = {
        "name": options.name,
        "note": options.note,
        **({} if options.at is None else {"moment": options.at}),
    }
    answer = ask(options, "POST", "/api/snapshots", wish)
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['name']}: the index as of {answer['moment']}, at {answer['index']}")


def _list(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", "/api/snapshots")
    if options.json:
        print_json(answer)
        return
    found = answer["snapshots"]
    rows = [
        (each["name"], each["moment"], in_minutes(each["made"]), each.get("by", ""), each["note"])
        for each in found
    ]
    print_table(("NAME", "AS OF", "MADE (UTC)", "BY", "NOTE"), rows)
    print(counted(len(rows), "snapshot"))


def _delete(options: argparse.Namespace) -> None:
    answer = ask(options, "DELETE", f"/api/snapshots/{quote(options.name, safe='')}")
    if options.json:
        print_json(answer)
    else:
        print(f"{printable(answer['name'])}: deleted")
