"""The `project` command: projects, releases and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import format_time, print_answer
from pypid.cli.prompt import confirm
from pypid.cli.request import send_request
from pypid.core.model import Status

PROJECTS = """\
  pypid project yank spam 1.0 --reason "breaks logging"
  pypid project delete spam spam-1.0.tar.gz
  pypid project why requests
"""

WHY = """\
Tells what the name is here (ours, reserved, denied, not allowed, blended ...),
whether upstream may hear it, what upstream said of it last, and each file that
a rule hides, with the time from which it is visible if that will come by
itself. Nothing is asked upstream for this, and nothing changes.

  pypid project why requests
  pypid project why requests requests-2.32.0-py3-none-any.whl

The same over HTTP, for those who may publish: GET /api/why/PROJECT[/FILE].
"""


def add(commands: Any) -> None:
    """Declare the `project` command."""
    verbs = add_group(commands, "project", "manage projects, releases and files", examples=PROJECTS)
    _explaining(verbs)
    _yanking(verbs)
    _deleting(verbs)
    status = add_command(
        verbs, "set-status", _set_status, "set the status of a project (PEP 792)", config=True
    )
    status.add_argument("project", metavar="PROJECT")
    choices = [status.value for status in Status]
    status.add_argument("status", metavar="STATUS", choices=choices, help=", ".join(choices))
    status.add_argument("--reason", default="", help="shown to those who install it")


def _explaining(verbs: Any) -> None:
    command = add_command(
        verbs,
        "why",
        _why,
        "tell why a project or a file is not there, and until when",
        config=True,
        examples=WHY,
    )
    command.add_argument("project", metavar="PROJECT")
    command.add_argument("file", metavar="FILE", nargs="?", help="without it, all that are hidden")


def _yanking(verbs: Any) -> None:
    yank = add_command(
        verbs,
        "yank",
        _yank,
        "hide a release or a file from installers, except for those who pin it (PEP 592)",
        config=True,
    )
    yank.add_argument("project", metavar="PROJECT")
    yank.add_argument("what", metavar="VERSION|FILE")
    yank.add_argument("--reason", default="", help="shown to those who install it all the same")
    unyank = add_command(verbs, "unyank", _unyank, "undo a yank", config=True)
    unyank.add_argument("project", metavar="PROJECT")
    unyank.add_argument("what", metavar="VERSION|FILE")


def _deleting(verbs: Any) -> None:
    delete = add_command(
        verbs,
        "delete",
        _delete,
        "delete a file, a release or a project for good (consider yank instead)",
        config=True,
    )
    delete.add_argument("project", metavar="PROJECT")
    delete.add_argument(
        "what", metavar="VERSION|FILE", nargs="?", help="without it, all files of the project"
    )
    delete.add_argument("--yes", action="store_true", help="do not ask")
    release = add_command(
        verbs,
        "unreserve",
        _unreserve,
        "release the name of a deleted project",
        config=True,
    )
    release.add_argument("project", metavar="PROJECT")


def _yank(options: argparse.Namespace) -> None:
    _manage(options, "PUT", _selected(options) + "/yank", {"reason": options.reason}, "yanked")


def _unyank(options: argparse.Namespace) -> None:
    _manage(options, "DELETE", _selected(options) + "/yank", None, "no longer yanked")


def _set_status(options: argparse.Namespace) -> None:
    document = {"status": options.status, "reason": options.reason}
    _manage(options, "PUT", f"{_project(options)}/status", document, f"now {options.status}")


def _delete(options: argparse.Namespace) -> None:
    what = f"{options.what or 'ALL files'} of {options.project}"
    if not options.yes:
        question = (
            f"This deletes {what} for good; the file names can never be used again for other bytes."
        )
        confirm(question, options.project, "nothing was deleted", word_name="the project's name")
    url = _selected(options) if options.what else _project(options)
    _manage(options, "DELETE", url, None, "deleted")


def _unreserve(options: argparse.Namespace) -> None:
    _manage(options, "DELETE", f"/api/names/{quote(options.project, safe='')}", None, "released")


def _project(options: argparse.Namespace) -> str:
    return f"/api/projects/{quote(options.project, safe='')}"


def _selected(options: argparse.Namespace) -> str:
    """Return the URL of a file or a release: a file if the argument parses as a distribution's file
    name.
    """
    from pypid.core.errors import BadFilename
    from pypid.core.packaging.names import parse_filename

    try:
        parse_filename(options.what)
    except BadFilename:
        return f"{_project(options)}/releases/{quote(options.what, safe='')}"
    return f"{_project(options)}/files/{quote(options.what, safe='')}"


def _manage(options: argparse.Namespace, method: str, url: str, document: Any, done: str) -> None:
    def print_changes(answer: Any) -> None:
        files = answer.get("changed", []) if isinstance(answer, dict) else []
        for name in files or [options.project]:
            print(f"{name}: {done}")

    print_answer(options, send_request(options, method, url, document), print_changes)


# --- why ------------------------------------------------------------------------------------------


def _why(options: argparse.Namespace) -> None:
    path = "/".join(quote(name, safe="") for name in (options.project, options.file) if name)
    print_answer(options, send_request(options, "GET", f"/api/why/{path}"), _print_explanation)


def _print_explanation(answer: Mapping[str, Any]) -> None:
    for line in (*_name_lines(answer), *_file_lines(answer)):
        print(line)


def _name_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['name']}: the name is {answer['says']}."
    if answer["ours"] is not None:
        ours = answer["ours"]
        yield (
            f"Here there is a project of this name: {ours['files']} files, status {ours['status']}."
        )
    if answer["not_asked"] is not None:
        yield f"Upstream is not asked for it: {answer['not_asked']}."
    upstream = answer["upstream"]
    if upstream is not None:
        what = (
            "no such project"
            if upstream["files"] is None
            else f"{upstream['files']} files, status {upstream['status']}"
        )
        yield f"Upstream ({upstream['index']}) said at {_time(upstream['asked'])}: {what}."
    elif answer["not_asked"] is None:
        yield "Upstream has not been asked for it yet: it is when a client asks for the page."
    if answer["outage"] is not None:
        yield (
            f"Upstream is away since {_time(answer['outage']['since'])}: "
            f"{answer['outage']['error']}"
        )
    elif answer["failure"] is not None:
        yield f"Upstream was asked for it a moment ago, in vain: {answer['failure']}"


def _file_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    if "file" in answer:
        file = answer["file"]
        yield f"{file['filename']}: {_where(file)}" if file["visible"] else _hidden(file)
        return
    visible = answer["visible"]
    yield (
        f"Visible: {visible['ours']} files of ours, {visible['kept']} kept, {visible['upstream']} "
        f"to be had from upstream."
    )
    if answer["hidden"]:
        yield f"Hidden: {len(answer['hidden'])}"
    for file in answer["hidden"]:
        yield f"  {_hidden(file)}"


def _where(file: Mapping[str, Any]) -> str:
    where = (
        "of ours" if file["ours"] else "kept here" if file["kept"] else "to be had from upstream"
    )
    return f"visible, {where}"


def _hidden(file: Mapping[str, Any]) -> str:
    until = "" if file["until"] is None else f"; visible from {_time(file['until'])} on"
    return f"{file['filename']}: hidden, {file['because']}{until}"


def _time(text: str) -> str:
    return f"{format_time(text, seconds=True)} UTC"
