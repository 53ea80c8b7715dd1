"""The `why` command: why a project or file is not visible."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pypid.cli.command import add_command
from pypid.cli.output import format_time, print_answer
from pypid.cli.request import send_request

EXAMPLES = """\
Tells what the name is here (ours, reserved, denied, not allowed, blended ...),
whether upstream may hear it, what upstream said of it last, and each file that
a rule hides, with the time from which it is visible if that will come by
itself. Nothing is asked upstream for this, and nothing changes.

  pypid why requests
  pypid why requests requests-2.32.0-py3-none-any.whl

The same over HTTP, for those who may publish: GET /api/why/PROJECT[/FILE].
"""


def add(commands: Any) -> None:
    """Declare the `why` command."""
    command = add_command(
        commands,
        "why",
        _why,
        "tell why a project or a file is not there, and until when",
        config=True,
        examples=EXAMPLES,
    )
    command.add_argument("project", metavar="PROJECT")
    command.add_argument("file", metavar="FILE", nargs="?", help="without it, all that are hidden")


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
