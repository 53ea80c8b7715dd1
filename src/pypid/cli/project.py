"""Commands for a project, a release or a file: yank, unyank, status, delete, release-name."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command
from pypid.cli.output import print_answer
from pypid.cli.prompt import confirm
from pypid.cli.request import send_request
from pypid.core.model import Status


def add(commands: Any) -> None:
    """Declare yank, unyank, status, delete and release-name."""
    _yanking(commands)
    status = add_command(
        commands, "status", _status, "set a project's status (PEP 792)", config=True
    )
    status.add_argument("project", metavar="PROJECT")
    status.add_argument("status", choices=[status.value for status in Status])
    status.add_argument("--reason", default="", help="shown to those who install it")
    _deleting(commands)


def _yanking(commands: Any) -> None:
    yank = add_command(
        commands,
        "yank",
        _yank,
        "hide a release or a file from installers, except for those who pin it (PEP 592)",
        config=True,
    )
    yank.add_argument("project", metavar="PROJECT")
    yank.add_argument("what", metavar="VERSION|FILE")
    yank.add_argument("--reason", default="", help="shown to those who install it all the same")
    unyank = add_command(commands, "unyank", _unyank, "undo a yank", config=True)
    unyank.add_argument("project", metavar="PROJECT")
    unyank.add_argument("what", metavar="VERSION|FILE")


def _deleting(commands: Any) -> None:
    delete = add_command(
        commands,
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
        commands,
        "release-name",
        _release_name,
        "give back the name of a deleted project",
        config=True,
    )
    release.add_argument("project", metavar="PROJECT")


def _yank(options: argparse.Namespace) -> None:
    _manage(options, "PUT", _selected(options) + "/yank", {"reason": options.reason}, "yanked")


def _unyank(options: argparse.Namespace) -> None:
    _manage(options, "DELETE", _selected(options) + "/yank", None, "no longer yanked")


def _status(options: argparse.Namespace) -> None:
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


def _release_name(options: argparse.Namespace) -> None:
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
