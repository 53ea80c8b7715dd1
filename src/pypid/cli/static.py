"""The `static` command: write an index as static files, from a list of file names. It needs no
configuration and no pypid.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pypid.cli.command import add_command
from pypid.cli.output import ProgressBar

if TYPE_CHECKING:  # other commands need not import these
    from pypid.static.build import BuildOutcome
    from pypid.static.package_list import PackageList

EXAMPLES = """\
The files themselves lie at --packages-url, in a bucket for example; nothing is
fetched, a list of their names is enough. All options of dumb-pypi are here and
mean the same; its links stay where they are, and pages in JSON come besides.

  pypid static --package-list files.txt \\
      --packages-url https://files.example.com/pool/ --output-dir /srv/index

  aws s3 ls s3://acme-pool/ | awk '{print $4}' | pypid static --package-list - \\
      --packages-url https://acme-pool.s3.amazonaws.com/ --output-dir /srv/index

  pypid static --package-list-json files.json \\
      --previous-package-list-json /srv/index/packages.json \\
      --packages-url ../../pool/ --output-dir /srv/index --delete

A line of --package-list-json is an object with these keys; all but the first
may be missing or null:

  filename          spam-1.0-py3-none-any.whl
  hash              sha256=HEX, md5=HEX ...
  requires_python   >=3.9
  requires_dist     a list of requirements, for /pypi/PROJECT/json
  core_metadata     sha256=HEX or true: URL.metadata is there (PEP 658, 714)
  uploaded_by       text
  upload_timestamp  seconds since 1970
  yanked_reason     text: it is yanked, for this reason (PEP 592)
  size              bytes (PEP 700); dumb-pypi does not know it

Files whose names are none are left out, and said with their lines; the exit
status is 0 then, too, unless --strict is given. A list that cannot be read is
refused, and nothing is written. pip and uv take .../simple/ for an index URL:
docs/guides/static-index.rst has the nginx for it.
"""


def add(commands: Any) -> None:
    """Declare the `static` command."""
    about = "write an index as static files, out of a list of file names"
    command = add_command(commands, "static", _static, about, examples=EXAMPLES)
    lists = command.add_mutually_exclusive_group(required=True)
    lists.add_argument(
        "--package-list", metavar="FILE", help="file names, one in each line; - is standard input"
    )
    lists.add_argument(
        "--package-list-json",
        metavar="FILE",
        help="JSON objects, one in each line; - is standard input",
    )
    before = command.add_mutually_exclusive_group()
    before.add_argument(
        "--previous-package-list",
        metavar="FILE",
        help="the list that DIR was made of: only what differs is looked at",
    )
    before.add_argument(
        "--previous-package-list-json",
        metavar="FILE",
        help="the same in JSON: DIR/packages.json is one",
    )
    command.add_argument(
        "--output-dir",
        "--output",
        metavar="DIR",
        required=True,
        help="where the pages go; what has not changed is left alone",
    )
    command.add_argument(
        "--packages-url",
        metavar="URL",
        required=True,
        help="where all files lie: absolute, or relative to simple/PROJECT/",
    )
    _add_page_options(command)
    _add_build_options(command)


def _add_page_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--title",
        default="My Private PyPI",
        help="the title of pages for people (default: My Private PyPI)",
    )
    command.add_argument("--logo", metavar="URL", help="an image beside it")
    command.add_argument(
        "--logo-width",
        metavar="PIXELS",
        type=int,
        default=0,
        help="how wide it is (default: as it is)",
    )
    command.add_argument(
        "--site-url", metavar="URL", help="where DIR will be served, for the link in the feed"
    )
    command.add_argument(
        "--no-generate-timestamp",
        "--no-timestamp",
        dest="generate_timestamp",
        action="store_false",
        help="do not say on the first page when it was made: the same list makes the same bytes",
    )


def _add_build_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-per-release-json",
        action="store_true",
        help="leave out pypi/PROJECT/VERSION/json, most of all files",
    )
    command.add_argument(
        "--delete",
        action="store_true",
        help="remove pages of projects and releases that are not in the list",
    )
    command.add_argument(
        "--strict",
        action="store_true",
        help="write nothing if a file of the list has to be left out",
    )
    command.add_argument(
        "--processes",
        metavar="N",
        type=int,
        default=0,
        help="how many write pages (default: as many as there are processors)",
    )


def _static(options: argparse.Namespace) -> int:
    from pypid.static.build import build
    from pypid.static.settings import StaticSettings
    from pypid.static.tree import TreeFolder

    gc.disable()  # a million values that live until the process ends
    bar = ProgressBar(sys.stderr)
    try:
        previous = _previous(options, bar)
        listed = _read(options.package_list, options.package_list_json, bar)
        bar.clear()
        for note in listed.notes:
            print(f"pypid: {note}", file=sys.stderr)
        _check(listed, options)
        settings = StaticSettings(
            packages_url=options.packages_url,
            title=options.title,
            logo=options.logo,
            logo_width=options.logo_width,
            site_url=options.site_url,
            generated=datetime.now(UTC) if options.generate_timestamp else None,
            per_release_json=not options.no_per_release_json,
        )
        folder = TreeFolder(str(Path(options.output_dir).absolute()))
        with folder.locked():
            outcome = build(
                listed,
                folder,
                settings,
                previous=previous,
                delete=options.delete,
                processes=options.processes or len(os.sched_getaffinity(0)),
                on_progress=bar.show_pages,
            )
    except OSError as error:
        sys.exit(f"pypid: {error.filename or options.output_dir}: {error.strerror or error}")
    finally:
        bar.clear()
    _report(listed, outcome, terminal=sys.stderr.isatty())
    return 0


def _previous(options: argparse.Namespace, bar: ProgressBar) -> PackageList | None:
    if options.previous_package_list is None and options.previous_package_list_json is None:
        return None
    return _read(options.previous_package_list, options.previous_package_list_json, bar)


def _read(names: str | None, objects: str | None, bar: ProgressBar) -> PackageList:
    from pypid.static.package_list import lines_of, read_json, read_names

    path, read = (objects, read_json) if names is None else (names, read_names)
    assert path is not None
    if path == "-":
        return read(_shown(lines_of(sys.stdin.buffer), bar), "standard input")
    with _open(path) as file:
        return read(_shown(lines_of(file), bar), path)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        sys.exit(f"pypid: {path} cannot be read: {error.strerror}")


def _shown(lines: Iterable[bytes], bar: ProgressBar) -> Iterator[bytes]:
    """Yield the lines, and show how many were read."""
    for number, line in enumerate(lines, 1):
        if number % 5000 == 0:
            bar.show(f"{number} lines read")
        yield line


def _check(listed: PackageList, options: argparse.Namespace) -> None:
    if options.strict and listed.left_out:
        sys.exit(
            f"pypid: {listed.left_out} files would be left out, which --strict forbids; nothing "
            "was written"
        )
    if options.delete and not listed.projects:
        sys.exit(
            "pypid: the list names no file, and --delete would remove every page; nothing was "
            "written"
        )
    if options.processes < 0:
        sys.exit("pypid: --processes is a number from 1 on")


def _report(listed: PackageList, outcome: BuildOutcome, *, terminal: bool) -> None:
    """Print the summary; nothing if no file was left out and standard error is no terminal:
    programs that mail the output are to stay quiet, as before.
    """
    done = outcome.done
    if terminal or listed.left_out:
        removed = f", {outcome.removed} removed" if outcome.removed else ""
        print(
            f"pypid: {outcome.projects} projects. Pages: {done.written} written, {done.same} were "
            f"the same{removed}. Lines left out: {listed.left_out}.",
            file=sys.stderr,
        )
    if outcome.gone:
        print(
            (
                f"pypid: {outcome.gone} projects are in the list no more; their pages are still "
                "there (--delete removes them)"
            ),
            file=sys.stderr,
        )
