"""The `cache` command: list and purge cached upstream files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import format_size, format_time, print_answer, print_table
from pypid.cli.prompt import confirm
from pypid.cli.request import send_request

LIST = """\
  pypid cache list             each project: files, bytes, when one was last
                               wanted; the sum, and what may be kept
  pypid cache list requests    each of its files

Bytes are all that lies in the storage for a file, its metadata and its record
included; "not whole" is metadata that was looked at without its file, or what
a crash left (see pypid check). When a file was last wanted is known to the hour.
"""
PURGE = """\
  pypid cache purge --older-than 90d     what was not requested for 90 days
  pypid cache purge requests             all that is kept of one project
  pypid cache purge requests requests-2.31.0-py3-none-any.whl
  pypid cache purge                      all

Files of ours are never removed by this. What is wanted again is fetched
again, if upstream has it then. To have it done by itself, set max_cache in
[upstream]: the least recently used files go first. What a snapshot
shows stays in either case, unless you say --force.
"""


def add(commands: Any) -> None:
    """Declare the `cache` command."""
    about = "list or purge what is kept of upstream's files"
    verbs = add_group(commands, "cache", about, "list|purge")
    about = "show what is kept, how large it is, and when it was last wanted"
    listing = add_command(verbs, "list", _list, about, config=True, examples=LIST)
    listing.add_argument(
        "project", metavar="PROJECT", nargs="?", help="its files; without it, all projects"
    )
    about = "remove kept files from the storage"
    purging = add_command(verbs, "purge", _purge, about, config=True, examples=PURGE)
    purging.add_argument("project", metavar="PROJECT", nargs="?", help="only of this one")
    purging.add_argument("file", metavar="FILE", nargs="?", help="only this one")
    purging.add_argument(
        "--older-than", metavar="TIME", help="only what was not requested for so long: 30d, 12h"
    )
    purging.add_argument(
        "--force", action="store_true", help="also what snapshots show (pypid snapshot list)"
    )
    purging.add_argument("--yes", action="store_true", help="do not ask")


def _url(*words: str | None) -> str:
    return "/".join(["/api/cache", *(quote(word, safe="") for word in words if word)])


# --- list -----------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    answer = send_request(options, "GET", _url(options.project))
    print_answer(options, answer, _print_files if options.project else _print_projects)


def _print_projects(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            project["name"],
            str(project["files"]),
            format_size(project["size"]),
            format_time(project["wanted"]),
        )
        for project in answer["projects"]
    ]
    print_table(("PROJECT", "FILES", "SIZE", "LAST WANTED (UTC)"), rows, align_right=True)
    print(
        f"{len(rows)} projects, {answer['files']} files, {format_size(answer['size'])} "
        f"{_limit(answer)}"
    )


def _print_files(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            file["filename"] + ("" if file["whole"] else " (not whole)"),
            format_size(file["size"]),
            format_time(file["wanted"]),
        )
        for file in answer["files"]
    ]
    print_table(("FILE", "SIZE", "LAST WANTED (UTC)"), rows, align_right=True)
    files = sum(file["whole"] for file in answer["files"])
    print(f"{files} files of {answer['name']}, {format_size(answer['size'])}")


def _limit(answer: Mapping[str, Any]) -> str:
    if answer["limit"] is None:
        return "(no limit: [upstream] max_cache is empty)"
    return f"of at most {format_size(answer['limit'])} ([upstream] max_cache)"


# --- purge ----------------------------------------------------------------------------------------


def _purge(options: argparse.Namespace) -> None:
    if "" in (
        options.project,
        options.file,
        options.older_than,
    ):  # "$PROJECT" of a script, not set: that does not mean all
        sys.exit("pypid: an argument is empty; nothing was removed")
    if not options.yes:
        _confirm(options)
    conditions = [f"older_than={quote(options.older_than, safe='')}"] if options.older_than else []
    if options.force:
        conditions.append("force")
    query = f"?{'&'.join(conditions)}" if conditions else ""
    answer = send_request(options, "DELETE", f"{_url(options.project, options.file)}{query}")
    print_answer(options, answer, _print_removed)


def _print_removed(answer: Mapping[str, Any]) -> None:
    for project in answer["projects"]:
        print(f"{project['name']}: {project['files']} files, {format_size(project['size'])}")
    print(f"Removed: {answer['files']} files, {format_size(answer['size'])}")
    if "needed" in answer:
        print(
            f"{answer['needed']} files stay, since snapshots show them (pypid snapshot list; "
            f"--force removes them, too)"
        )


def _confirm(options: argparse.Namespace) -> None:
    what = options.file or (
        f"all kept files of {options.project}" if options.project else "ALL kept files"
    )
    age = f", if not requested for {options.older_than}," if options.older_than else ""
    question = (
        f"This removes {what}{age} from the storage. Files of ours stay; what is wanted again is "
        "fetched again."
    )
    confirm(question, "yes", "nothing was removed")
