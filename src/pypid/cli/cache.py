"""The `cache` command: list, purge and fetch cached upstream files."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import ProgressBar, format_size, format_time, print_answer, print_table
from pypid.cli.prompt import confirm
from pypid.cli.request import send_request

LIST = """\
  pypid cache list             each project: files, bytes, when one was last
                               wanted; the sum, and what may be kept
  pypid cache list requests    each of its files

Bytes are all that lies in the storage for a file, its metadata and its record
included; "not whole" is metadata that was looked at without its file, or what
a crash left (see pypid storage check). When a file was last wanted is known to the hour.
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

FETCH = """\
The requirements are resolved with their dependencies, by metadata alone, for
each platform and each Python; then the files that an installer would take
there are fetched from upstream and kept, by the rules of this index. Nothing
is built. Files of a lock have to have the hashes that it names.

  pypid cache fetch -r requirements.txt
  pypid cache fetch -r requirements.txt -r dev.txt --platform linux --python 3.13
  pypid cache fetch -r uv.lock --platform macos --platform windows

Without --platform it is linux (x86_64, glibc 2.28), without --python the
Python that pypid runs on. The platforms are those of uv's --python-platform:
linux, macos, windows, x86_64-unknown-linux-musl, aarch64-manylinux_2_34 ...
The exit status is 1 if anything that was asked for is not here afterwards.
"""

_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml\Z")


def add(commands: Any) -> None:
    """Declare the `cache` command."""
    verbs = add_group(commands, "cache", "list, purge or fetch cached upstream files")
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
    _add_fetch(verbs)


def _add_fetch(verbs: Any) -> None:
    fetching = add_command(
        verbs,
        "fetch",
        _fetch,
        "fetch and keep all files that requirements or a lock need",
        config=True,
        examples=FETCH,
    )
    fetching.add_argument(
        "-r",
        "--requirement",
        metavar="FILE",
        action="append",
        required=True,
        dest="files",
        help=(
            "requirements.txt, pylock.toml or uv.lock, told by its name; - is standard input; may "
            "come several times"
        ),
    )
    fetching.add_argument(
        "--platform", action="append", default=[], help="for whom; may come several times"
    )
    fetching.add_argument(
        "--python",
        metavar="VERSION",
        action="append",
        default=[],
        help="for which; may come several times",
    )


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


# --- fetch ----------------------------------------------------------------------------------------


def _fetch(options: argparse.Namespace) -> None:
    document: dict[str, list[str]] = {"platform": options.platform, "python": options.python}
    for file in options.files:
        document.setdefault(_field(file), []).append(_text(file))
    bar = ProgressBar(sys.stderr)

    def on_progress(event: Mapping[str, Any]) -> None:
        if sys.stderr.isatty():
            bar.show(_step(event), event.get("done", 0), event.get("of"))
        elif not options.json:  # a line for each step, for logs
            print(_step(event), file=sys.stderr, flush=True)

    try:
        answer = send_request(
            options, "POST", "/requirements.txt", document, on_progress=on_progress
        )
    finally:
        bar.clear()
    print_answer(options, answer, _print_fetched)
    if not answer["complete"]:
        sys.exit(1)


def _field(file: str) -> str:
    name = Path(file).name
    if name == "uv.lock":
        return "uv.lock"
    return "pylock.toml" if _PYLOCK.match(name) else "requirements"


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        sys.exit(f"pypid: {file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        sys.exit(f"pypid: {file} is not text in UTF-8")


def _print_fetched(answer: Mapping[str, Any]) -> None:
    for file in answer["files"]:
        notes = [
            note
            for note in ("needs a build" if file["needs_build"] else "", file["reason"])
            if note
        ]
        print(
            f"{file['outcome']:8}{file['filename']}" + (f" ({'; '.join(notes)})" if notes else "")
        )
    for problem in answer["problems"]:
        where = ", ".join(
            f"Python {target['python']} on {target['platform']}" for target in problem["targets"]
        )
        print(
            f"not collected: {problem['line']}\n    {problem['reason']}"
            + (f"\n    (for {where})" if where else "")
        )
    for line in answer["ignored"]:
        print(f"ignored: {line['line']}\n    {line['reason']}")
    kept = sum(file["outcome"] == "kept" for file in answer["files"])
    had = sum(file["outcome"] == "had" for file in answer["files"])
    lines = len(answer["unparseable"]) + len(answer["failed"])
    print(f"Files: {kept} kept now, {had} were here. Lines not collected, or not wholly: {lines}.")


def _step(event: Mapping[str, Any]) -> str:
    if "of" in event:
        return f"{event['done']} of {event['of']}: {event['outcome']} {event['filename']}"
    where = f"Python {event['python']} on {event['platform']}"
    if "releases" in event:
        return f"{where}: {event['releases']} releases are needed"
    waited = f" ({event['seconds']:.0f} s)" if event["seconds"] >= 1 else ""
    return f"{where}: working out what is needed{waited}"
