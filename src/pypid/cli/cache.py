"""The `cache` command: list, purge and fetch cached upstream files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import YES, argument, command, command_group
from pypid.cli.lock_file import field_of, text_of
from pypid.cli.output import (
    Column,
    ProgressBar,
    counted,
    format_size,
    print_answer,
    print_rows,
    time_of,
)
from pypid.cli.request import confirm, query, quoted, request_command, send_request

LIST = """\
  pypid cache list             projects with cached files: number, size, last request
  pypid cache list requests    the cached files of a project

Sizes include metadata and records. "incomplete" marks metadata that was cached without
its file, or the remains of a crash (see pypid storage check). The time of the last request
is exact to the hour.
"""
PURGE = """\
  pypid cache purge --older-than 90d     files that were not requested for 90 days
  pypid cache purge requests             all cached files of a project
  pypid cache purge requests requests-2.31.0-py3-none-any.whl
  pypid cache purge --upstream cu128     files of [upstream:cu128]
  pypid cache purge                      all cached files

Local files are never deleted. A purged file is fetched again when a client requests it,
if upstream still has it. To limit the cache permanently, set [upstream] max_cache: the least
recently used files are evicted.
"""

FETCH = """\
  pypid cache fetch -r requirements.txt
  pypid cache fetch -r requirements.txt -r dev.txt --platform linux --python 3.13
  pypid cache fetch -r pylock.toml --platform macos --platform windows

pypid resolves the requirements with their dependencies, from metadata alone, for each
platform and each Python version. Then it downloads and caches the files that an installer
would choose, within the rules of this index. Nothing is built. Files of a lock must have
the digests that it names.

Platforms are those of uv's --python-platform: linux, macos, windows,
x86_64-unknown-linux-musl, aarch64-manylinux_2_34 ... The exit status is 1 if a
requirement is incomplete afterwards.
"""

CACHE = """\
  pypid cache list
  pypid cache purge --older-than 90d
  pypid cache fetch -r requirements.txt
"""


def _url(*words: str | None) -> str:
    return "/".join(("/api/cache", *map(quoted, filter(None, words))))


# --- list -----------------------------------------------------------------------------------------


_SIZE_AND_AGE: dict[str, Column] = {
    "SIZE": lambda each: format_size(each["size"]),
    "LAST REQUEST (UTC)": time_of("last_access"),
}


def _print_cached(answer: Mapping[str, Any]) -> None:
    if "projects" in answer:
        _print_projects(answer)
    else:
        _print_files(answer)


def _print_projects(answer: Mapping[str, Any]) -> None:
    columns = {"PROJECT": lambda each: _named(each, "name"), "FILES": "files", **_SIZE_AND_AGE}
    print_rows(answer["projects"], columns, align_right=True)
    print(
        f"{counted(len(answer['projects']), 'project')}, {counted(answer['files'], 'file')}, "
        f"{format_size(answer['size'])} {_limit(answer)}"
    )


def _print_files(answer: Mapping[str, Any]) -> None:
    print_rows(answer["files"], {"FILE": _file, **_SIZE_AND_AGE}, align_right=True)
    files = sum(file["complete"] for file in answer["files"])
    print(f"{counted(files, 'file')} of {answer['name']}, {format_size(answer['size'])}")


def _file(file: Mapping[str, Any]) -> str:
    return _named(file, "filename") + ("" if file["complete"] else " (incomplete)")


def _named(found: Mapping[str, Any], key: str) -> str:
    """Return the name of a project or file, with that of its `[upstream:NAME]`."""
    upstream = found.get("upstream")
    return str(found[key]) if upstream is None else f"{found[key]} [{upstream}]"


def _limit(answer: Mapping[str, Any]) -> str:
    if answer["limit"] is None:
        return "(no limit: [upstream] max_cache is empty)"
    return f"of at most {format_size(answer['limit'])} ([upstream] max_cache)"


# --- purge ----------------------------------------------------------------------------------------


def _purge(options: argparse.Namespace) -> None:
    if "" in (options.project, options.file, options.older_than, options.upstream):
        # "$PROJECT" of a script, not set: that does not mean all
        sys.exit("pypid: an argument is empty; nothing was deleted")
    if not options.yes:
        _confirm(options)
    url = f"{_url(options.project, options.file)}?{query(options, 'older_than', 'upstream')}"
    answer = send_request(options, "DELETE", url.rstrip("?"))
    print_answer(options, answer, _print_removed)


def _print_removed(answer: Mapping[str, Any]) -> None:
    for project in answer["projects"]:
        print(
            f"{_named(project, 'name')}: {counted(project['files'], 'file')}, "
            f"{format_size(project['size'])}"
        )
    print(f"Deleted: {counted(answer['files'], 'file')}, {format_size(answer['size'])}")


def _confirm(options: argparse.Namespace) -> None:
    what = options.file or (
        f"all cached files of {options.project}" if options.project else "ALL cached files"
    )
    if options.upstream:
        what += f" of [upstream:{options.upstream}]"
    age = f", if not requested for {options.older_than}," if options.older_than else ""
    question = (
        f"This deletes {what}{age} from the storage. Local files stay. A client's next request "
        "fetches a file again."
    )
    confirm(question, "yes", "nothing was deleted")


# --- fetch ----------------------------------------------------------------------------------------


def _fetch(options: argparse.Namespace) -> None:
    document: dict[str, list[str]] = {"platform": options.platform, "python": options.python}
    for file in options.files:
        document.setdefault(field_of(file), []).append(text_of(file))
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
            f"not cached: {problem['line']}\n    {problem['reason']}"
            + (f"\n    (for {where})" if where else "")
        )
    for line in answer["ignored"]:
        print(f"ignored: {line['line']}\n    {line['reason']}")
    kept = sum(file["outcome"] == "kept" for file in answer["files"])
    had = sum(file["outcome"] == "had" for file in answer["files"])
    lines = len(answer["unparseable"]) + len(answer["failed"])
    print(f"Files: {kept} cached now, {had} cached before. Incomplete requirements: {lines}.")


def _step(event: Mapping[str, Any]) -> str:
    if "of" in event:
        return f"{event['done']} of {event['of']}: {event['outcome']} {event['filename']}"
    where = f"Python {event['python']} on {event['platform']}"
    if "releases" in event:
        return f"{where}: needs {counted(event['releases'], 'release')}"
    waited = f" ({event['seconds']:.0f} s)" if event["seconds"] >= 1 else ""
    return f"{where}: resolving{waited}"


COMMANDS = (
    command_group(
        "cache",
        "list, purge or fetch cached upstream files",
        CACHE,
        request_command(
            "list",
            "show the cached files, their size, and when they were last requested",
            lambda options: f"GET {_url(options.project)}",
            _print_cached,
            argument(
                "project",
                metavar="PROJECT",
                nargs="?",
                help="the files of this project (default: a sum)",
            ),
            examples=LIST,
        ),
        command(
            "purge",
            _purge,
            "delete cached files from the storage",
            argument("project", metavar="PROJECT", nargs="?", help="only this project"),
            argument("file", metavar="FILE", nargs="?", help="only this file"),
            argument(
                "--older-than",
                metavar="TIME",
                help="only files not requested for this time: 30d, 12h",
            ),
            argument(
                "--upstream", metavar="NAME", help="only files of [upstream:NAME], such as cu128"
            ),
            YES,
            examples=PURGE,
        ),
        command(
            "fetch",
            _fetch,
            "download and cache all files that requirements or a lock need",
            argument(
                "-r",
                "--requirement",
                metavar="FILE",
                action="append",
                required=True,
                dest="files",
                help=(
                    "requirements.txt or pylock.toml, recognised by its name; - reads "
                    "requirements from standard input (repeatable)"
                ),
            ),
            argument(
                "--platform",
                action="append",
                default=[],
                help="(repeatable; default: linux, which is x86_64 with glibc 2.28)",
            ),
            argument(
                "--python",
                metavar="VERSION",
                action="append",
                default=[],
                help="(repeatable; default: the version that pypid runs on)",
            ),
            examples=FETCH,
        ),
    ),
)
