"""The `storage` command: check, rebuild, import, copy and tier the stored files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pypid.cli.command import add_command, add_group
from pypid.cli.output import (
    counted,
    format_size,
    print_answer,
    print_json,
    print_progress,
    printable,
)
from pypid.cli.request import send_request

if TYPE_CHECKING:
    from pypid.index.local.copy import Copied

COPY_EXAMPLES = """\
  pypid storage copy etc/pypid.ini etc/on-s3.ini

Copies all packages, with what is written beside them, from the storage of the
one configuration into that of the other: from a folder into a bucket, or the
other way. Either may be pypicloud's. What is there already stays; what broke
off is gone on with by the same command. Do not publish while it runs.
People, rights and tokens are not in the storage: copy the state folder, or
`pypid acl export` and `pypid acl import`.
"""
STORAGE = """\
  pypid storage check --hashes       compare all files with their records
  pypid storage rebuild              find files that other programs have added
  pypid storage import /srv/wheels   publish an existing folder
"""
TIER = """\
  pypid storage tier --older-than 180d --keep 3 --class GLACIER_IR --dry-run

Files of ours go into the storage class that were published before that time
and are of none of the newest versions of their project. Of these there are
two lists: of all, and of those that an installer takes by itself; files of
either stay. Metadata and records always stay where they are.

What lies in GLACIER or DEEP_ARCHIVE cannot be downloaded at once: who asks for
it is told to come back later, and it is restored for some days. GLACIER_IR,
STANDARD_IA and the like can be read as before. Only for [storage] backend = s3.
"""
REFUSED_FILES = (
    "pypid: what was refused is not served. Where all files of a project were, its name may be "
    "asked upstream (but not with [storage] layout = pypicloud): put a private one into "
    "[upstream] reserved."
)


def add(commands: Any) -> None:
    """Declare the `storage` command."""
    verbs = add_group(
        commands, "storage", "check, import and move the stored files", examples=STORAGE
    )
    _add_check(verbs)
    rebuild = add_command(
        verbs,
        "rebuild",
        _rebuild,
        "compare with the storage, and take in files that were dropped into it",
        config=True,
    )
    rebuild.add_argument("project", metavar="PROJECT", nargs="?", help="only this one")
    adopt = add_command(
        verbs,
        "import",
        _adopt,
        "make a folder of wheels and sdists an index, in place",
        config=True,
        description=(
            "Writes a record beside each distribution in FOLDER, which has to be the storage "
            "folder ([storage] path) or lie in it; without FOLDER beside each in the storage, "
            "which may be a bucket. Nothing is moved, renamed or rewritten. Folders of pypicloud, "
            "pypicache and pypiserver are read as they are. Exits with 1 where a file was refused."
        ),
    )
    adopt.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", help="only what lies there"
    )
    copy = add_command(
        verbs,
        "copy",
        _copy_storage,
        "copy all packages from one storage into another",
        examples=COPY_EXAMPLES,
    )
    copy.add_argument("source", metavar="FROM", type=Path, help="a configuration")
    copy.add_argument("target", metavar="TO", type=Path, help="another one")
    copy.add_argument("--json", action="store_true", help="print the sums as JSON")
    _add_tier(verbs)


def _add_check(verbs: Any) -> None:
    check = add_command(
        verbs,
        "check",
        _check,
        "look for what a crash, a disk or a hand left wrong in the storage",
        config=True,
    )
    check.add_argument(
        "--sweep", action="store_true", help="remove orphaned files that no client can see"
    )
    check.add_argument(
        "--hashes",
        action="store_true",
        help="read all files, and compare them with what was published",
    )


def _add_tier(verbs: Any) -> None:
    about = "move old files into a cheaper storage class (S3)"
    tier = add_command(verbs, "tier", _tier, about, config=True, examples=TIER)
    tier.add_argument(
        "--older-than",
        metavar="TIME",
        required=True,
        help="only what was published so long ago: 180d",
    )
    tier.add_argument(
        "--keep", metavar="N", type=int, required=True, help="not what is of the newest N versions"
    )
    tier.add_argument(
        "--class",
        metavar="CLASS",
        dest="storage_class",
        required=True,
        help="where to: GLACIER_IR ...",
    )
    tier.add_argument("--dry-run", action="store_true", help="only tell what would be moved")


# --- rebuild, adopt -------------------------------------------------------------------------------


def _rebuild(options: argparse.Namespace) -> None:
    url = "/api/rebuild" + (f"/{quote(options.project, safe='')}" if options.project else "")
    _report_adoption(options, send_request(options, "POST", url, on_progress=print_progress))


def _adopt(options: argparse.Namespace) -> None:
    if options.folder is None:
        url, document = "/api/rebuild", None
    else:
        url, document = "/api/adopt", {"folder": str(options.folder.resolve())}
    _report_adoption(
        options, send_request(options, "POST", url, document, on_progress=print_progress)
    )


def _report_adoption(options: argparse.Namespace, answer: Any) -> None:
    print_answer(options, answer, _print_adoption)
    if any(file["outcome"] == "refused" for file in answer["adopted"]):
        print(REFUSED_FILES, file=sys.stderr)
        sys.exit(1)


def _print_adoption(answer: Any) -> None:
    outcomes = [file["outcome"] for file in answer["adopted"]]
    for file in answer["adopted"]:
        problems = "".join(f"\n    {printable(problem)}" for problem in file["problems"])
        print(f"{printable(file['key'])}: {file['outcome']}{problems}")
    # the counts of projects are from before the files were adopted
    known = (
        f"{counted(answer['projects'], 'project')} known before, {answer['changed']} of them "
        f"read anew"
    )
    refused = outcomes.count("refused")
    print(
        f"{counted(outcomes.count('adopted'), 'file')} adopted"
        f"{f', {refused} refused' if refused else ''}; {known}."
    )


# --- check ----------------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> None:
    document = {"sweep": options.sweep, "hashes": options.hashes}
    answer = send_request(options, "POST", "/api/check", document)
    print_answer(options, answer, _print_findings)
    if not all(map(_remedy, answer["findings"])):
        sys.exit(1)


def _remedy(finding: Any) -> str | None:
    """Return what was done about a finding; None if it is still wrong."""
    return "removed" if finding["swept"] else "mended" if finding.get("mended") else None


def _print_findings(answer: Any) -> None:
    remedies = [_remedy(finding) for finding in answer["findings"]]
    for finding, remedy in zip(answer["findings"], remedies, strict=True):
        text = remedy or f"{finding['wrong']}\n    {finding['advice']}"
        print(f"{printable(finding['key'])}: {text}")
    wrong = remedies.count(None)
    print(
        f"{answer['objects']} objects, {answer['files']} files of ours, {answer['kept']} kept of "
        f"upstream's; {wrong} things are wrong, {len(remedies) - wrong} removed or mended."
    )


# --- copy-storage ---------------------------------------------------------------------------------


def _copy_storage(options: argparse.Namespace) -> None:
    """Copy, and report the result; exits with 1 if the target has other content under a name."""
    copied = _copy(options.source, options.target)
    if options.json:
        print_json(
            {
                "copied": copied.copied,
                "there": copied.there,
                "size": copied.size,
                "differ": copied.differ,
            }
        )
    else:
        problem = "the target has something else under this name; it was left as it is"
        for key in copied.differ:
            print(printable(f"{key}: {problem}"), file=sys.stderr)
        size = format_size(copied.size)
        print(f"{copied.copied} objects copied ({size}), {copied.there} were there.")
    if copied.differ:
        sys.exit(1)


def _copy(source: Path, target: Path) -> Copied:
    from twisted.internet import reactor

    from pypid.daemon.state import where
    from pypid.index.local.copy import Copier
    from pypid.wiring.configuration import load_config
    from pypid.wiring.platform import the_world
    from pypid.wiring.single_command import run
    from pypid.wiring.storage import open_storage

    configs = [load_config(file) for file in (source, target)]
    world = the_world(reactor)

    async def copy() -> Copied:
        storages = [
            await open_storage(config, where(config, os.environ), world, reactor)
            for config in configs
        ]
        try:
            if storages[0].identity == storages[1].identity:
                sys.exit("pypid: both configurations name the same storage; nothing was copied")
            descriptions = (storages[0].describing, storages[1].describing)
            blobs = (storages[0].blobs, storages[1].blobs)
            return await Copier(*blobs, world, _print_line, descriptions).copy()
        finally:
            for storage in storages:
                await storage.close()

    return run(reactor, copy)


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- tier -----------------------------------------------------------------------------------------


def _tier(options: argparse.Namespace) -> None:
    document = {
        "older_than": options.older_than,
        "keep": options.keep,
        "class": options.storage_class.upper(),
        "dry_run": options.dry_run,
    }

    def on_progress(event: Mapping[str, Any]) -> None:
        if "said" in event:
            print_progress(event)
        elif not options.json:
            _print_file(event)

    answer = send_request(options, "POST", "/api/tier", document, on_progress=on_progress)
    if options.json:
        print_json(answer)
    else:
        _print_tiering(answer, options.storage_class.upper())
    if answer["outcomes"]["failed"]:
        sys.exit(1)


def _print_file(event: Mapping[str, Any]) -> None:
    reason = f" ({event['reason']})" if event["reason"] else ""
    former_class = f" from {event['class']}" if event["class"] else ""
    print(
        f"{event['outcome']}: {event['project']}/{event['filename']}{former_class}, "
        f"{format_size(event['size'])}{reason}",
        flush=True,
    )


def _print_tiering(answer: Mapping[str, Any], storage_class: str) -> None:
    counts = answer["outcomes"]
    moved = (
        f"{counts['moved']} moved"
        if not counts["would-move"]
        else f"{counts['would-move']} would be moved"
    )
    rest = (
        f"{counts['there']} were there, {counts['archived']} have to be restored first, "
        f"{counts['failed']} failed"
    )
    print(
        f"{answer['seen']} files of {answer['projects']} projects, {answer['due']} of them due "
        f"for {storage_class}:"
    )
    print(f"{moved} ({format_size(answer['size'])}), {rest}.")
