"""The `project` command: projects, releases and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from operator import itemgetter
from typing import Any

from pypid.cli.grammar import argument, command, command_group, flag, one_of
from pypid.cli.output import counted, format_size, format_time, print_answer, print_table, printable
from pypid.cli.request import confirm, fields, quoted, request_command, send_below_index
from pypid.core.model import Status

PROJECTS = """\
  pypid project list 'acme-*'
  pypid project show acme-billing
  pypid project yank acme-billing 1.0 --reason "breaks logging"
  pypid project why requests
"""
LIST = """\
  pypid project list
  pypid project list 'acme-*'
  pypid project list --index team-a
  pypid project list --json | jq -r '.projects[]'

A named index lists inherited projects, too.
"""
SHOW = """\
  pypid project show acme-billing
  pypid project show acme-billing --index staging

The files are those that an administrator sees. If the name may be sent upstream,
they include the upstream files. A named index shows inherited projects, too.
"""
WHY = """\
  pypid project why requests
  pypid project why requests requests-2.32.0-py3-none-any.whl
  pypid project why requests --index team-a
  pypid project why boto3 --all

The explanation says whether the name is local, reserved, denied or cached, whether
pypid may send it upstream, what upstream answered last, and which rule hides which
files, until when: the newest five of each reason, or with --all each file. This command
sends nothing upstream and changes nothing.

Users who may publish the project get the same from GET /api/why/PROJECT[/FILE]; users who
may read it, from "Why are files hidden?" on its page.
"""
YANK = """\
  pypid project yank acme-billing 1.0 --reason "breaks logging"
  pypid project yank acme-billing acme_billing-1.0-py3-none-any.whl

Installers ignore yanked files unless a requirement pins exactly this version.
`pypid project unyank` undoes it. To remove a file, use `pypid project delete`.
"""
SET_STATUS = """\
  pypid project set-status acme-billing deprecated --reason "use acme-invoices"
  pypid project set-status acme-billing active

archived and deprecated inform the users of the project. quarantined hides all its
files until the status changes again.

Upstream projects can have a status, too: installers see it instead of the upstream
status. Only an upstream quarantine is kept. active without a reason ends it:

  pypid project set-status nose deprecated --reason "use pytest"
  pypid project set-status nose active
"""
DELETE = """\
  pypid project delete acme-billing 1.0
  pypid project delete acme-billing acme_billing-1.0-py3-none-any.whl
  pypid project delete acme-billing
  pypid project delete acme-billing 1.0 --index staging

A deleted filename cannot be published again with other content. The name of the
project stays local: it is not sent upstream. `pypid project unreserve` releases it.
"""
SET_OWNER = """\
  pypid project set-owner acme-billing carol
  pypid project set-owner acme-billing --none
  pypid project set-owner acme-billing carol --index staging

The owner may publish and yank the project and manage its rights, in addition to the
users with a right on it. Owners have an effect with [access] owners = uploader: then
the user who first publishes a project owns it. All users with the default right to
publish can change a project that has no owner and no rights of its own.
"""
UNRESERVE = """\
  pypid project unreserve acme-billing

Use it after `pypid project delete`, if the name may be looked up upstream again.
"""
PROJECT = "/api/projects/{project}"
MOST_HIDDEN = 5
"""Hidden files that are listed of each reason."""


# --- list, show -----------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    answer = send_below_index(options, "GET", "/api/projects")
    if options.pattern is not None:
        pattern = options.pattern.lower()
        names = [name for name in answer["projects"] if fnmatchcase(name, pattern)]
        answer = {"projects": names}
    print_answer(options, answer, _print_names)


def _print_names(answer: Mapping[str, Any]) -> None:
    for name in answer["projects"]:
        print(name)


def _print_project(answer: Mapping[str, Any]) -> None:
    reason = f" ({printable(answer['status_reason'])})" if answer["status_reason"] else ""
    by_version = groupby(answer["files"], itemgetter("version"))
    releases = [(version, list(files)) for version, files in by_version]
    print(
        f"{answer['name']}: {answer['status']}{reason}, {counted(len(releases), 'release')}, "
        f"{counted(len(answer['files']), 'file')}"
    )
    print_table(("VERSION", "FILE", "SIZE", "UPLOADED (UTC)", "BY", "YANKED"), _file_rows(releases))
    for file in answer["hidden"]:
        print(f"{file['filename']}: hidden, {printable(file['because'])}")


def _file_rows(releases: Iterable[tuple[str, list[Mapping[str, Any]]]]) -> Iterator[list[str]]:
    for version, files in releases:
        for number, file in enumerate(files):
            yield [
                "" if number else version,
                file["filename"],
                "" if file["size"] is None else format_size(file["size"]),
                format_time(file["upload_time"], ""),
                file["uploader"] or "",
                (file["yanked_reason"] or "yes") if file["yanked"] else "",
            ]


# --- changes --------------------------------------------------------------------------------------


def _confirm(options: argparse.Namespace) -> None:
    where = f" in the index {options.index}" if options.index else ""
    what = f"{options.what or 'ALL files'} of {options.project}{where}"
    question = (
        f"This deletes {what} permanently. The filenames cannot be published again with other "
        "content."
    )
    confirm(question, options.project, "nothing was deleted", word_name="the project's name")


def _print_owner(answer: Mapping[str, Any]) -> None:
    owner = answer["owner"]
    print(f"{answer['project']}: " + ("no owner" if owner is None else f"owned by {owner['user']}"))
    if not answer["in_force"]:
        print("Owners have no effect until you set [access] owners = uploader.")


def _selected(options: argparse.Namespace) -> str:
    """Return the URL of a file, a release, or without an argument the project: a file if the
    argument parses as a distribution's file name.
    """
    from pypid.core.errors import BadFilename
    from pypid.core.packaging.names import parse_filename

    if options.what is None:
        return PROJECT
    try:
        parse_filename(options.what)
    except BadFilename:
        return f"{PROJECT}/releases/{{what}}"
    return f"{PROJECT}/files/{{what}}"


def _print_changed(done: str) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that prints what was done to files, or to the project; `done` may have
    values of the answer in braces.
    """

    def print_changed(answer: Mapping[str, Any]) -> None:
        for name in answer.get("changed") or [answer["name"]]:
            print(f"{name}: {done.format_map(answer)}")

    return print_changed


# --- why ------------------------------------------------------------------------------------------


def _why(options: argparse.Namespace) -> None:
    path = quoted(*filter(None, (options.project, options.file)))
    answer = send_below_index(options, "GET", f"/api/why/{path}")
    most = None if options.all else MOST_HIDDEN
    lines = (*_name_lines(answer), *_file_lines(answer, most))
    print_answer(options, answer, lambda _: print("\n".join(lines)))


def _name_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['name']}: the name is {answer['says']}."
    if answer["taken_from"]:
        yield f"The index takes the project from {', '.join(answer['taken_from'])}."
    others = [name for name in answer["local_in"] if name not in answer["taken_from"]]
    if others:
        yield f"Indexes with a local project of this name: {', '.join(others)}."
    local = answer["ours"]
    if local is not None:
        files = counted(local["files"], "file")
        yield f"A local project has this name: {files}, status {local['status']}."
    if answer["not_asked"] is not None:
        yield f"The name is not sent upstream: {answer['not_asked']}."
    source = answer["requested_from"]
    if source is not None and source != "public":
        yield f"The name is requested from [upstream:{source}] only."
    upstream = answer["upstream"]
    if upstream is not None:
        what = (
            "no such project"
            if upstream["files"] is None
            else f"{counted(upstream['files'], 'file')}, status {upstream['status']}"
        )
        yield f"Last answer of {upstream['index']} ({_time(upstream['asked'])}): {what}."
    elif answer["not_asked"] is None:
        yield "The name was not sent upstream yet. The first request for its page sends it."
    if answer["outage"] is not None:
        yield (
            f"Upstream is unreachable since {_time(answer['outage']['since'])}: "
            f"{answer['outage']['error']}"
        )
    elif answer["failure"] is not None:
        yield f"The last request to upstream failed: {answer['failure']}"


def _file_lines(answer: Mapping[str, Any], most: int | None) -> Iterator[str]:
    if "file" in answer:
        file = answer["file"]
        state = _origin(file) if file["visible"] else f"hidden, {file['because']}{_until(file)}"
        yield f"{file['filename']}: {state}"
        return
    visible = answer["visible"]
    yield (
        f"Visible files: {visible['ours']} local, {visible['kept']} cached, "
        f"{visible['upstream']} upstream only."
    )
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for file in reversed(answer["hidden"]):
        by_reason.setdefault(file["because"], []).append(file)
    for because, files in by_reason.items():
        yield f"{counted(len(files), 'file')} hidden, {because}"
        yield from (f"  {file['filename']}{_until(file)}" for file in files[:most])
        if len(files) > len(files[:most]):
            yield f"  and {len(files[most:])} older ones, which --all lists"


def _origin(file: Mapping[str, Any]) -> str:
    origin = "local" if file["ours"] else "cached" if file["kept"] else "upstream only"
    return f"visible, {origin}"


def _until(file: Mapping[str, Any]) -> str:
    return "" if file["until"] is None else f"; visible from {_time(file['until'])}"


def _time(text: str) -> str:
    return f"{format_time(text, seconds=True)} UTC"


_PROJECT = argument("project", metavar="PROJECT")
_WHAT = argument("what", metavar="VERSION|FILE")
_INDEX = argument("--index", metavar="NAME", help="in this named index")
_STATUSES = [status.value for status in Status]
COMMANDS = (
    command_group(
        "project",
        "manage projects, releases and files",
        PROJECTS,
        command(
            "list",
            _list,
            "list the projects that are published here",
            argument(
                "pattern",
                metavar="PATTERN",
                nargs="?",
                help="only names that match, such as 'acme-*'",
            ),
            _INDEX,
            examples=LIST,
        ),
        request_command(
            "show",
            "show the status and the files of a project",
            f"GET {PROJECT}",
            _print_project,
            _PROJECT,
            _INDEX,
            examples=SHOW,
        ),
        command(
            "why",
            _why,
            "explain why a project or a file is not visible",
            _PROJECT,
            argument(
                "file", metavar="FILE", nargs="?", help="only this file (default: all hidden files)"
            ),
            flag("--all", help="list each hidden file"),
            _INDEX,
            examples=WHY,
        ),
        request_command(
            "yank",
            "hide a release or a file from installers (PEP 592)",
            lambda options: f"PUT {_selected(options)}/yank",
            _print_changed("yanked"),
            _PROJECT,
            _INDEX,
            _WHAT,
            argument("--reason", metavar="TEXT", default="", help="shown by installers"),
            examples=YANK,
            body=("reason",),
        ),
        request_command(
            "unyank",
            "undo a yank",
            lambda options: f"DELETE {_selected(options)}/yank",
            _print_changed("no longer yanked"),
            _PROJECT,
            _INDEX,
            _WHAT,
            examples="  pypid project unyank acme-billing 1.0",
        ),
        request_command(
            "delete",
            "delete a file, a release or a project permanently",
            lambda options: f"DELETE {_selected(options)}",
            _print_changed("deleted"),
            _PROJECT,
            _INDEX,
            argument(
                "what",
                metavar="VERSION|FILE",
                nargs="?",
                help="(default: all files of the project)",
            ),
            examples=DELETE,
            confirms=_confirm,
        ),
        request_command(
            "unreserve",
            "release the name of a deleted project",
            "DELETE /api/names/{project}",
            _print_changed("released"),
            _PROJECT,
            _INDEX,
            examples=UNRESERVE,
        ),
        request_command(
            "set-status",
            "set the status of a project (PEP 792)",
            f"PUT {PROJECT}/status",
            _print_changed("now {status}"),
            _PROJECT,
            _INDEX,
            argument("status", metavar="STATUS", choices=_STATUSES, help=", ".join(_STATUSES)),
            argument("--reason", metavar="TEXT", default="", help="shown with the status"),
            examples=SET_STATUS,
            body=("status", "reason"),
        ),
        request_command(
            "set-owner",
            "make a user the owner of a project",
            lambda options: f"{'DELETE' if options.none else 'PUT'} {PROJECT}/owner",
            _print_owner,
            argument(
                "project", metavar="PROJECT", help="the project; it does not have to exist yet"
            ),
            one_of(
                argument("user", metavar="USER", nargs="?", help="the new owner"),
                flag("--none", help="the project has no owner"),
                required=True,
            ),
            _INDEX,
            examples=SET_OWNER,
            body=lambda options: None if options.none else fields(options, "user"),
        ),
    ),
)
