"""The `collect` command: fetch and cache all files that requirements need."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pypid.cli.command import add_command
from pypid.cli.output import ProgressBar, print_answer
from pypid.cli.request import send_request

EXAMPLES = """\
The requirements are resolved with their dependencies, by metadata alone, for
each platform and each Python; then the files that an installer would take
there are fetched from upstream and kept, by the rules of this index. Nothing
is built. Files of a lock have to have the hashes that it names.

  pypid collect -r requirements.txt
  pypid collect -r requirements.txt -r dev.txt --platform linux --python 3.13
  pypid collect -r uv.lock --platform macos --platform windows

Without --platform it is linux (x86_64, glibc 2.28), without --python the
Python that pypid runs on. The platforms are those of uv's --python-platform:
linux, macos, windows, x86_64-unknown-linux-musl, aarch64-manylinux_2_34 ...
The exit status is 1 if anything that was asked for is not here afterwards.
"""

_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml\Z")


def add(commands: Any) -> None:
    """Declare the `collect` command."""
    collect = add_command(
        commands,
        "collect",
        _collect,
        "fetch and keep all files that requirements or a lock need",
        config=True,
        examples=EXAMPLES,
    )
    collect.add_argument(
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
    collect.add_argument(
        "--platform", action="append", default=[], help="for whom; may come several times"
    )
    collect.add_argument(
        "--python",
        metavar="VERSION",
        action="append",
        default=[],
        help="for which; may come several times",
    )


def _collect(options: argparse.Namespace) -> None:
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
    print_answer(options, answer, _report)
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


def _report(answer: Mapping[str, Any]) -> None:
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
