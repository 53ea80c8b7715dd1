"""The `cache` command: list and purge cached upstream files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command

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
    cache = commands.add_parser("cache", help=about, description=about[0].upper() + about[1:] + ".")
    verbs = cache.add_subparsers(title="what to do", metavar="list|purge", required=True)
    listing = add_command(
        verbs,
        "list",
        _list,
        "show what is kept, how large it is, and when it was last wanted",
        config=True,
    )
    listing.add_argument(
        "project", metavar="PROJECT", nargs="?", help="its files; without it, all projects"
    )
    purging = add_command(verbs, "purge", _purge, "remove kept files from the storage", config=True)
    purging.add_argument("project", metavar="PROJECT", nargs="?", help="only of this one")
    purging.add_argument("file", metavar="FILE", nargs="?", help="only this one")
    purging.add_argument(
        "--older-than", metavar="TIME", help="only what was not requested for so long: 30d, 12h"
    )
    purging.add_argument(
        "--force", action="store_true", help="also what snapshots show (pypid snapshot list)"
    )
    purging.add_argument("--yes", action="store_true", help="do not ask")
    for command, example in (listing, LIST), (purging, PURGE):
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.epilog = example


def _url(*words: str | None) -> str:
    return "/".join(["/api/cache", *(quote(word, safe="") for word in words if word)])


# --- list -----------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    answer = ask(options, "GET", _url(options.project))
    if options.json:
        print_json(answer)
    elif options.project:
        _print_files(answer)
    else:
        _print_projects(answer)


def _print_projects(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            project["name"],
            str(project["files"]),
            in_words(project["size"]),
            _time(project["wanted"]),
        )
        for project in answer["projects"]
    ]
    _print_table(("PROJECT", "FILES", "SIZE", "LAST WANTED (UTC)"), rows)
    print(
        f"{len(rows)} projects, {answer['files']} files, {in_words(answer['size'])} "
        f"{_limit(answer)}"
    )


def _print_files(answer: Mapping[str, Any]) -> None:
    rows = [
        (
            file["filename"] + ("" if file["whole"] else " (not whole)"),
            in_words(file["size"]),
            _time(file["wanted"]),
        )
        for file in answer["files"]
    ]
    _print_table(("FILE", "SIZE", "LAST WANTED (UTC)"), rows)
    files = sum(file["whole"] for file in answer["files"])
    print(f"{files} files of {answer['name']}, {in_words(answer['size'])}")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column aligned left, numbers right."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        first, *rest = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in _numbered(row, widths)
        )
        print("  ".join((first, *rest)))


def _numbered(row: Iterable[str], widths: Iterable[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(row, widths, strict=True))


def _limit(answer: Mapping[str, Any]) -> str:
    if answer["limit"] is None:
        return "(no limit: [upstream] max_cache is empty)"
    return f"of at most {in_words(answer['limit'])} ([upstream] max_cache)"


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
    words = [f"older_than={quote(options.older_than, safe='')}"] if options.older_than else []
    query = "&".join([*words, *(["force"] if options.force else [])])
    answer = ask(
        options, "DELETE", _url(options.project, options.file) + (f"?{query}" if query else "")
    )
    if options.json:
        print_json(answer)
        return
    for project in answer["projects"]:
        print(f"{project['name']}: {project['files']} files, {in_words(project['size'])}")
    print(f"Removed: {answer['files']} files, {in_words(answer['size'])}")
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
    print(
        f"This removes {what}{age} from the storage. Files of ours stay; what is wanted again is "
        "fetched again."
    )
    try:
        typed = input("Type yes to go on: ").strip()
    except EOFError:
        sys.exit("pypid: nothing was removed: stdin is not a terminal. Use --yes in scripts.")
    if typed != "yes":
        sys.exit("pypid: nothing was removed")


# --- text -----------------------------------------------------------------------------------------


def in_words(size: int) -> str:
    """Return the size in readable units: 1536 is 1.5 KiB."""
    number, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{number:.1f} {units[0]}"


def _time(text: str) -> str:
    """Return a time of the API, to the minute."""
    return text[:16].replace("T", " ")
