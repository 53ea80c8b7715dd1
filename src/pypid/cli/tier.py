"""The `tier` command: move old files into a cheaper storage class."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pypid.cli.command import add_command
from pypid.cli.output import format_size, print_json, print_progress
from pypid.cli.request import send_request

EXAMPLES = """\
  pypid tier --older-than 180d --keep 3 --class GLACIER_IR --dry-run

Files of ours go into the storage class that were published before that time
and are of none of the newest versions of their project. Of these there are
two lists: of all, and of those that an installer takes by itself; files of
either stay. Metadata and records always stay where they are.

What lies in GLACIER or DEEP_ARCHIVE cannot be downloaded at once: who asks for
it is told to come back later, and it is restored for some days. GLACIER_IR,
STANDARD_IA and the like can be read as before. Only for [storage] backend = s3.
"""


def add(commands: Any) -> None:
    """Declare the `tier` command."""
    about = "move old files into a cheaper storage class (S3)"
    tier = add_command(commands, "tier", _tier, about, config=True, examples=EXAMPLES)
    tier.add_argument(
        "--older-than",
        metavar="TIME",
        required=True,
        help="only what was published so long ago: 180d",
    )
    tier.add_argument(
        "--keep", metavar="N", type=int, required=True, help="not what is of the newest N versions"
    )
    tier.add_argument(
        "--class",
        metavar="CLASS",
        dest="storage_class",
        required=True,
        help="where to: GLACIER_IR ...",
    )
    tier.add_argument("--dry-run", action="store_true", help="only tell what would be moved")


def _tier(options: argparse.Namespace) -> None:
    document = {
        "older_than": options.older_than,
        "keep": options.keep,
        "class": options.storage_class.upper(),
        "dry_run": options.dry_run,
    }

    def on_progress(event: Mapping[str, Any]) -> None:
        if "said" in event:
            print_progress(event)
        elif not options.json:
            _print_file(event)

    answer = send_request(options, "POST", "/api/tier", document, on_progress=on_progress)
    if options.json:
        print_json(answer)
    else:
        _report(answer, options.storage_class.upper())
    if answer["outcomes"]["failed"]:
        sys.exit(1)


def _print_file(event: Mapping[str, Any]) -> None:
    reason = f" ({event['reason']})" if event["reason"] else ""
    former_class = f" from {event['class']}" if event["class"] else ""
    print(
        f"{event['outcome']}: {event['project']}/{event['filename']}{former_class}, "
        f"{format_size(event['size'])}{reason}",
        flush=True,
    )


def _report(answer: Mapping[str, Any], storage_class: str) -> None:
    counts = answer["outcomes"]
    moved = (
        f"{counts['moved']} moved"
        if not counts["would-move"]
        else f"{counts['would-move']} would be moved"
    )
    rest = (
        f"{counts['there']} were there, {counts['archived']} have to be restored first, "
        f"{counts['failed']} failed"
    )
    print(
        f"{answer['seen']} files of {answer['projects']} projects, {answer['due']} of them due "
        f"for {storage_class}:"
    )
    print(f"{moved} ({format_size(answer['size'])}), {rest}.")
