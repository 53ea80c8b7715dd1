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
TARGET is a folder, or s3://bucket/prefix (reached as [storage] says). What is
there already and has not changed is left alone, so that the next export is
quick. Any web server serves the tree; docs/guides/static-export.rst has more.

  pypid export /srv/index
      the pages; links lead to ../../packages/, where a pypid stands behind

  pypid export --copy-files --delete /srv/index
      all of it, files and what lies beside them; what is gone goes

  pypid export --files-url https://files.example.org/packages/ /srv/index
  pypid export --signed-links /srv/index
      files lie elsewhere, or in the bucket of [storage], by URLs that are
      good for [storage] expire_after

Without more the tree holds what anonymous may see, and the summary says how
many projects are left out. [publish] in the configuration keeps such a tree up
to date while pypid runs. The tree is written by the running pypid, as the user
that it runs as; without one, by one that is started for it.
"""


def add(commands: Any) -> None:
    """Declare the `export` command."""
    about = "write the index as static files"
    command = add_command(commands, "export", _export, about, config=True, examples=EXAMPLES)
    command.add_argument("target", metavar="TARGET", help="a folder, or s3://bucket/prefix")
    command.add_argument(
        "--copy-files", action="store_true", help="put the files into the tree, too"
    )
    links = command.add_mutually_exclusive_group()
    links.add_argument(
        "--files-url", metavar="URL", help="where files are served: links to them begin with it"
    )
    links.add_argument(
        "--signed-links", action="store_true", help="link files by signed URLs of the bucket"
    )
    command.add_argument(
        "--as-user", metavar="NAME", help="write what this user may see, not what anonymous may"
    )
    command.add_argument("--delete", action="store_true", help="remove what is not seen any more")
    command.add_argument(
        "--no-timestamp",
        action="store_true",
        help="do not say when it was made: the same index makes the same bytes",
    )
    command.add_argument(
        "--no-per-release-json", action="store_true", help="leave out pypi/PROJECT/VERSION/json"
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
        f"{answer['written']} written, {answer['same']} were the same{copied}{removed}."
    )
    if answer["hidden"]:
        whose = options.as_user or "anonymous"
        advice = "" if options.as_user else " (--as-user NAME writes what a user may see)"
        print(
            f"{counted(answer['hidden'], 'project')} left out, which {whose} may not see{advice}."
        )
    if answer["left"]:
        left = counted(answer["left"], "project")
        print(f"{left} no longer visible: their pages are still there (--delete removes them).")
