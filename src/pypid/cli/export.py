"""The `export` command: write the index as static files, once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pypid.cli.command import add_command
from pypid.cli.output import ProgressBar, counted, print_json, printable
from pypid.cli.request import send_request

EXAMPLES = """\
  pypid export /srv/index
      the pages; their links lead to ../../packages/, which pypid or a mirror serves
  pypid export --copy-files --delete /srv/index
      everything, with the files; deletes what was deleted here
  pypid export --files-url https://files.example.org/packages/ /srv/index
      the pages, with links to another server
  pypid export --signed-links /srv/index
      the pages, with links to the bucket that are valid for [storage] expire_after

  pypid export --index team-a --copy-files /srv/team-a
      a named index, with the projects that it inherits

TARGET is a folder, or s3://bucket/prefix (accessed as [storage] says). Unchanged files are
not written again, so that a second export is fast. Any web server can serve the result.

Without --as-user the export has the projects that anonymous clients can see; the summary
has the number of other projects. To keep an export up to date, run the command from a
timer. The running pypid writes the export, as the user that it runs as.
"""


def add(commands: Any) -> None:
    """Declare the `export` command."""
    about = "export the index as static files"
    command = add_command(commands, "export", _export, about, config=True, examples=EXAMPLES)
    command.add_argument("target", metavar="TARGET", help="a folder, or s3://bucket/prefix")
    command.add_argument("--copy-files", action="store_true", help="copy the files as well")
    command.add_argument(
        "--index", metavar="NAME", default="", help="a named index (default: the one at the root)"
    )
    links = command.add_mutually_exclusive_group()
    links.add_argument("--files-url", metavar="URL", help="the URL that links to files begin with")
    links.add_argument(
        "--signed-links", action="store_true", help="link to files by signed URLs of the bucket"
    )
    command.add_argument(
        "--as-user",
        metavar="NAME",
        help="write what this user can see (default: what anonymous clients can see)",
    )
    command.add_argument(
        "--delete",
        action="store_true",
        help="delete pages and files of projects that are no longer visible",
    )
    command.add_argument(
        "--no-timestamp",
        action="store_true",
        help="omit the time of the export, so that the same index produces the same bytes",
    )
    command.add_argument(
        "--no-per-release-json", action="store_true", help="omit pypi/PROJECT/VERSION/json"
    )
    command.add_argument(
        "--verify",
        action="store_true",
        help="also compare, and repair, the pages of projects that have not changed since the last "
        "export",
    )


def _export(options: argparse.Namespace) -> None:
    target = (
        options.target if options.target.startswith("s3:") else str(Path(options.target).absolute())
    )
    document = {
        "target": target,
        "copy_files": options.copy_files,
        "files_url": options.files_url,
        "signed_links": options.signed_links,
        "as_user": options.as_user,
        "delete": options.delete,
        "timestamp": not options.no_timestamp,
        "per_release_json": not options.no_per_release_json,
        "verify": options.verify,
        "index": "" if options.index == "default" else options.index,
    }
    bar = ProgressBar(sys.stderr)

    def on_progress(event: Mapping[str, Any]) -> None:
        bar.show_pages(event["done"], event["of"])

    try:
        answer = send_request(options, "POST", "/api/export", document, on_progress=on_progress)
    finally:
        bar.clear()
    if options.json:
        print_json(answer)
    else:
        _report(options, answer)


def _report(options: argparse.Namespace, answer: Mapping[str, Any]) -> None:
    copied = f", {counted(answer['copied'], 'file')} copied" if options.copy_files else ""
    removed = f", {answer['removed']} removed" if options.delete else ""
    print(
        f"{printable(answer['target'])}: {counted(answer['projects'], 'project')}. Pages: "
        f"{answer['written']} written, {answer['same']} unchanged{copied}{removed}."
    )
    if answer["unchanged"]:
        unchanged = counted(answer["unchanged"], "project")
        print(
            f"{unchanged} unchanged since the last export; their pages were not compared (to "
            "compare them: --verify)."
        )
    if answer["hidden"]:
        whose = options.as_user or "anonymous clients"
        advice = "" if options.as_user else " (to export what a user can see: --as-user NAME)"
        hidden = counted(answer["hidden"], "project")
        print(f"{hidden} omitted, invisible to {whose}{advice}.")
    if answer["left"]:
        left = counted(answer["left"], "project")
        print(f"{left} no longer visible; their pages stay (to delete them: --delete).")
