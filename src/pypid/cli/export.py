"""The `export` command: write the index, or a list of files, as static files, once."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.cli.grammar import argument, command, flag, one_of
from pypid.cli.output import ProgressBar, counted, print_json, printable
from pypid.cli.request import send_request

if TYPE_CHECKING:  # an export of the index need not import it
    from pypid.export.list_source import PackageList

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

  aws s3 ls s3://acme-pool/ | awk '{print $4}' | pypid export --package-list - \\
      --packages-url https://acme-pool.s3.amazonaws.com/ --output-dir /srv/index
      a list of files, as dumb-pypi has it; needs no configuration and no running pypid

TARGET is a folder, or s3://bucket/prefix (accessed as [storage] says). Unchanged files are
not written again, so that a second export is fast. Any web server can serve the result.

Without --as-user the export has the projects that anonymous clients can see; the summary
has the number of other projects. To keep an export up to date, run the command from a
timer. The running pypid writes the export, as the user that it runs as.

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
OF_INDEX = ("named_config", "copy_files", "index", "signed_links", "as_user")
OF_LIST = ("title", "logo", "logo_width", "site_url", "strict")
"""Options that make sense for one source only."""


def _export(options: argparse.Namespace) -> None:
    targets = [name for name in (options.target, options.output_dir) if name is not None]
    if len(targets) != 1:
        options.parser.error("TARGET is needed, once")
    is_list = options.package_list is not None or options.package_list_json is not None
    wrong = [name for name in (OF_INDEX if is_list else OF_LIST) if getattr(options, name)]
    if wrong:
        option = wrong[0].removeprefix("named_").replace("_", "-")
        options.parser.error(
            f"--{option} has no meaning {'with' if is_list else 'without'} --package-list"
        )
    bar = ProgressBar(sys.stderr)
    try:
        answer = (
            _write_list(options, targets[0], bar) if is_list else _request(options, targets[0], bar)
        )
    finally:
        bar.clear()
    if options.json:
        print_json(answer)
    else:
        _report(options, answer)


def _request(options: argparse.Namespace, target: str, bar: ProgressBar) -> Mapping[str, Any]:
    """Have the running pypid write the export."""
    if not target.startswith("s3:"):
        target = str(Path(target).absolute())
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

    def on_progress(event: Mapping[str, Any]) -> None:
        bar.show_pages(event["done"], event["of"])

    answer: Mapping[str, Any] = send_request(
        options, "POST", "/api/export", document, on_progress=on_progress
    )
    return answer


def _write_list(options: argparse.Namespace, target: str, bar: ProgressBar) -> Mapping[str, Any]:
    """Write the export of a list in this process."""
    import msgspec

    from pypid.export.list_source import export_list
    from pypid.export.tree import ExportOptions

    if not options.files_url or target.startswith("s3:"):
        options.parser.error("a list needs --packages-url, and a folder as TARGET")
    gc.disable()  # a million values that live until the process ends
    listed = _read(options, bar)
    bar.clear()
    for note in listed.notes:
        print(f"pypid: {note}", file=sys.stderr)
    if options.strict and listed.left_out:
        sys.exit(
            f"pypid: {counted(listed.left_out, 'file')} would be left out, which --strict forbids; "
            "nothing was written"
        )
    if options.delete and not listed.projects:
        sys.exit(
            "pypid: the list is empty, and --delete would delete every page; nothing was written"
        )
    wished = {name: getattr(options, name) for name in ("title", "logo", "logo_width")}
    settings = ExportOptions(
        files_url=options.files_url.rstrip("/") + "/",
        base_url=options.site_url and options.site_url.rstrip("/"),
        releases=not options.no_per_release_json,
        dated=not options.no_timestamp,
        is_list=True,
        **{name: value for name, value in wished.items() if value is not None},
    )
    try:
        outcome = export_list(
            listed,
            target,
            settings,
            datetime.now(UTC),
            clears=options.delete,
            verifies=options.verify,
            on_progress=bar.show_pages,
        )
    except OSError as error:
        sys.exit(f"pypid: {error.filename or target}: {error.strerror or error}")
    return {**msgspec.to_builtins(outcome), "left_out": listed.left_out}


def _read(options: argparse.Namespace, bar: ProgressBar) -> PackageList:
    from pypid.export.list_source import lines_of, read_json, read_names

    names, objects = options.package_list, options.package_list_json
    path, read = (objects, read_json) if names is None else (names, read_names)
    if path == "-":
        return read(_shown(lines_of(sys.stdin.buffer), bar), "standard input")
    try:
        with open(path, "rb") as file:
            return read(_shown(lines_of(file), bar), path)
    except OSError as error:
        sys.exit(f"pypid: {path} cannot be read: {error.strerror}")


def _shown(lines: Iterable[bytes], bar: ProgressBar) -> Iterator[bytes]:
    """Yield the lines, and show how many were read."""
    for number, line in enumerate(lines, 1):
        if number % 5000 == 0:
            bar.show(f"{number} lines read")
        yield line


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
    if answer.get("left_out"):
        print(f"{counted(answer['left_out'], 'line')} of the list left out.")
    if answer["hidden"]:
        whose = options.as_user or "anonymous clients"
        advice = "" if options.as_user else " (to export what a user can see: --as-user NAME)"
        hidden = counted(answer["hidden"], "project")
        print(f"{hidden} omitted, invisible to {whose}{advice}.")
    if answer["left"]:
        left = counted(answer["left"], "project")
        print(f"{left} no longer there; their pages stay (to delete them: --delete).")


COMMANDS = (
    command(
        "export",
        _export,
        "export the index, or a list of files, as static files",
        argument("target", metavar="TARGET", nargs="?", help="a folder, or s3://bucket/prefix"),
        argument("--output-dir", "--output", metavar="DIR", help="TARGET, as dumb-pypi names it"),
        one_of(
            argument(
                "--files-url",
                "--packages-url",
                metavar="URL",
                help="the URL that links to files begin with; for a list also relative to "
                "simple/PROJECT/",
            ),
            flag("--signed-links", help="link to files by signed URLs of the bucket"),
        ),
        flag("--copy-files", help="copy the files as well"),
        argument(
            "--index",
            metavar="NAME",
            default="",
            help="a named index (default: the one at the root)",
        ),
        argument(
            "--as-user",
            metavar="NAME",
            help="write what this user can see (default: what anonymous clients can see)",
        ),
        flag("--delete", help="delete pages and files of projects that are no longer visible"),
        flag(
            "--no-timestamp",
            "--no-generate-timestamp",
            help="omit the time of the export, so that the same index produces the same bytes",
        ),
        flag("--no-per-release-json", help="omit pypi/PROJECT/VERSION/json"),
        flag(
            "--verify",
            help="also compare, and repair, the pages of projects that have not changed since the "
            "last export",
        ),
        one_of(
            argument(
                "--package-list",
                metavar="FILE",
                help="export these files: their names, one in each line (-: standard input)",
            ),
            argument(
                "--package-list-json",
                metavar="FILE",
                help="export these files: JSON objects, one in each line (-: standard input)",
            ),
        ),
        argument("--title", help="of a list: the title of the HTML pages"),
        argument("--logo", metavar="URL", help="of a list: the URL of an image beside the title"),
        argument(
            "--logo-width",
            metavar="PIXELS",
            type=int,
            help="of a list: width of the logo (default: its own)",
        ),
        argument(
            "--site-url",
            metavar="URL",
            help="of a list: the URL of TARGET, for links in feeds and JSON",
        ),
        flag(
            "--strict",
            help="of a list: write nothing if a name is not that of a distribution",
        ),
        examples=EXAMPLES,
    ),
)
