"""The `promote` command, which publishes releases of one index in another one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command, flag, one_of
from pypid.cli.output import (
    counted,
    print_answer,
    print_progress,
    printable,
    table_of,
    time_of,
)
from pypid.cli.request import fields, quoted, send_request

EXAMPLES = """\
  pypid promote acme-billing==1.4 --from staging
  pypid promote acme-billing==1.4 acme-invoices==2.0 --from staging --to default
  pypid promote acme-billing==1.4 --from staging --dry-run
  pypid promote acme-billing==1.4 --from staging --move
  pypid promote --list

All files of the releases appear in the index of --to, or none; `default` is the index at
the root. The files stay in the index of --from, too, unless --move deletes them there. The
command can be repeated. --dry-run shows what prevents a promotion.
"""


def _run(options: argparse.Namespace) -> None:
    if options.list:
        if options.source is not None or options.releases:
            options.parser.error("--list takes only --to")
        query = "" if options.target is None else f"?index={quoted(options.target)}"
        answer = send_request(options, "GET", f"/api/promotions{query}")
        print_answer(options, answer, _PRINT_PROMOTIONS)
        return
    if not options.releases or options.source is None:
        options.parser.error("name the releases and the index that has them: --from INDEX")
    document = fields(options, "source", "releases", "dry_run", "move")
    progress = None if options.json else print_progress
    url = f"/api/indexes/{quoted(options.target or 'default')}/promotions"
    answer = send_request(options, "POST", url, document, on_progress=progress)
    print_answer(options, answer, lambda answer: _print_result(options, answer))


def _first(releases: list[str]) -> str:
    more = len(releases) - 3
    return " ".join(releases[:3]) + (f" and {more} more" if more > 0 else "")


_PRINT_PROMOTIONS = table_of(
    "promotions",
    "promotion",
    {
        "ID": "id",
        "WHEN (UTC)": time_of("when"),
        "FROM": "source",
        "TO": "target",
        "BY": "by",
        "STATE": lambda each: each.get("state", "done"),
        "RELEASES": lambda each: _first(each["releases"]),
    },
)


def _print_result(options: argparse.Namespace, answer: Mapping[str, Any]) -> None:
    files, target = answer["files"], answer["target"]
    what = "would be promoted" if options.dry_run else "promoted"
    for project, filenames in files.items():
        print(printable(f"{project}: {', '.join(filenames)}"))
    if files:
        count = sum(map(len, files.values()))
        print(
            f"{counted(count, 'file')} of {counted(len(files), 'project')} {what} from "
            f"{answer['source']} to {target}"
        )
    else:
        print(f"{target} lists all files of these releases already")
    if options.move:
        print(f"The files were deleted in {answer['source']}.")


COMMANDS = (
    command(
        "promote",
        _run,
        "publish releases of one index in another index",
        argument("releases", metavar="NAME==VERSION", nargs="*", help="a release of the index"),
        argument("--from", dest="source", metavar="INDEX", help="the index that has the releases"),
        argument(
            "--to",
            dest="target",
            metavar="INDEX",
            help="the index that gets them (default: the one at the root; with --list: any index)",
        ),
        one_of(
            flag("--move", help="delete the files in the index of --from afterwards"),
            flag("--dry-run", help="only print what would be promoted"),
            flag("--list", help="list the newest promotions"),
        ),
        examples=EXAMPLES,
    ),
)
