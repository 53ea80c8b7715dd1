"""The `static` command: write an index as static files, from a list of file names. It needs no
configuration and no pypid.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pypid.cli.command import add_command, add_json
from pypid.cli.output import ProgressBar, counted, print_json

if TYPE_CHECKING:  # other commands need not import these
    from pypid.static.build import BuildOutcome
    from pypid.static.package_list import PackageList

EXAMPLES = """\
  pypid static --package-list files.txt \\
      --packages-url https://files.example.com/pool/ --output-dir /srv/index

  aws s3 ls s3://acme-pool/ | awk '{print $4}' | pypid static --package-list - \\
      --packages-url https://acme-pool.s3.amazonaws.com/ --output-dir /srv/index

  pypid static --package-list-json files.json \\
      --previous-package-list-json /srv/index/packages.json \\
      --packages-url ../../pool/ --output-dir /srv/index --delete

The files are at --packages-url, for example in a bucket. The command needs their names
only, no configuration and no running pypid. It has all options of dumb-pypi, with the same
meaning, and writes JSON pages in addition. pip and uv take .../simple/ as the index URL.

A line of --package-list-json is an object with these keys; all except the first are
optional:

  filename          spam-1.0-py3-none-any.whl
  hash              sha256=HEX, md5=HEX ...
  requires_python   >=3.9
  requires_dist     a list of requirements, for /pypi/PROJECT/json
  core_metadata     sha256=HEX or true: URL.metadata exists (PEP 658, 714)
  uploaded_by       text
  upload_timestamp  seconds since 1970
  yanked_reason     text: the file is yanked, for this reason (PEP 592)
  size              bytes (PEP 700); dumb-pypi does not know it

Names that are not those of distributions are left out and reported with their lines; the
exit status is 0 nevertheless, unless --strict is given. A list that cannot be read is
refused, and nothing is written.
"""


def add(commands: Any) -> None:
    """Declare the `static` command."""
    about = "write an index as static files from a list of filenames"
    command = add_command(commands, "static", _static, about, examples=EXAMPLES)
    lists = command.add_mutually_exclusive_group(required=True)
    lists.add_argument(
        "--package-list", metavar="FILE", help="filenames, one in each line (-: standard input)"
    )
    lists.add_argument(
        "--package-list-json",
        metavar="FILE",
        help="JSON objects, one in each line (-: standard input)",
    )
    before = command.add_mutually_exclusive_group()
    before.add_argument(
        "--previous-package-list",
        metavar="FILE",
        help="the list that DIR was made from: only differences are processed",
    )
    before.add_argument(
        "--previous-package-list-json",
        metavar="FILE",
        help="the same in JSON; DIR/packages.json is such a list",
    )
    command.add_argument(
        "--output-dir",
        "--output",
        metavar="DIR",
        required=True,
        help="the folder for the pages; unchanged pages are not written again",
    )
    command.add_argument(
        "--packages-url",
        metavar="URL",
        required=True,
        help="the URL of the files: absolute, or relative to simple/PROJECT/",
    )
    _add_page_options(command)
    _add_build_options(command)
    add_json(command)


def _add_page_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--title",
        default="My Private PyPI",
        help="the title of the HTML pages (default: My Private PyPI)",
    )
    command.add_argument("--logo", metavar="URL", help="the URL of an image beside the title")
    command.add_argument(
        "--logo-width",
        metavar="PIXELS",
        type=int,
        default=0,
        help="width of the logo (default: its own)",
    )
    command.add_argument(
        "--site-url", metavar="URL", help="the URL of DIR, for the link in the feed"
    )
    command.add_argument(
        "--no-generate-timestamp",
        "--no-timestamp",
        dest="generate_timestamp",
        action="store_false",
        help="omit the time from the first page, so that the same list produces the same bytes",
    )


def _add_build_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-per-release-json",
        action="store_true",
        help="omit pypi/PROJECT/VERSION/json, which are most of the files",
    )
    command.add_argument(
        "--delete",
        action="store_true",
        help="delete pages of projects and releases that are not in the list",
    )
    command.add_argument(
        "--strict",
        action="store_true",
        help="write nothing if a name in the list is not that of a distribution",
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
                on_progress=bar.show_pages,
            )
    except OSError as error:
        sys.exit(f"pypid: {error.filename or options.output_dir}: {error.strerror or error}")
    finally:
        bar.clear()
    if options.json:
        print_json(
            {
                "projects": outcome.projects,
                "written": outcome.written,
                "same": outcome.same,
                "removed": outcome.removed,
                "gone": outcome.gone,
                "left_out": listed.left_out,
            }
        )
    else:
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
            f"pypid: {counted(listed.left_out, 'file')} would be left out, which --strict forbids; "
            "nothing was written"
        )
    if options.delete and not listed.projects:
        sys.exit(
            "pypid: the list is empty, and --delete would delete every page; nothing was written"
        )


def _report(listed: PackageList, outcome: BuildOutcome, *, terminal: bool) -> None:
    """Print the summary; nothing if no file was left out and standard error is no terminal:
    programs that mail the output are to stay quiet, as before.
    """
    if terminal or listed.left_out:
        removed = f", {outcome.removed} removed" if outcome.removed else ""
        print(
            f"pypid: {counted(outcome.projects, 'project')}. Pages: {outcome.written} written, "
            f"{outcome.same} unchanged{removed}. Lines left out: {listed.left_out}.",
            file=sys.stderr,
        )
    if outcome.gone:
        print(
            (
                f"pypid: {counted(outcome.gone, 'project')} no longer in the list; their pages "
                "stay (to delete them: --delete)"
            ),
            file=sys.stderr,
        )
