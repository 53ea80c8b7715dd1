"""The `storage` command: check, rebuild, import, copy and tier the stored files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.cli import import_devpi, request
from pypid.cli.grammar import JSON, Argument, argument, command, command_group, flag
from pypid.cli.import_choice import OPTIONS, ImportChoice, choose
from pypid.cli.output import (
    counted,
    format_size,
    print_answer,
    print_json,
    print_progress,
    printable,
)
from pypid.cli.request import (
    index_url,
    is_named_index,
    quoted,
    request_command,
    send_request,
)

if TYPE_CHECKING:
    from pypid.index.local.copy import Copied

STORAGE = """\
  pypid storage check --hashes       compare all files with their records
  pypid storage rebuild              publish files that other programs have added
  pypid storage import /srv/wheels   publish an existing folder in place
"""
TIER = """\
  pypid storage tier --older-than 180d --keep 3 --class GLACIER_IR --dry-run

Moves local files of the default index, or of --index, into the storage class if they are
older than --older-than, except those of the newest --keep versions of a project. These
versions are counted twice: among all versions, and among those that an installer chooses by
default; both stay. Metadata and records are not moved.

Files in GLACIER or DEEP_ARCHIVE cannot be downloaded immediately: the first request starts a
restore, and the client gets 503 with Retry-After until it is done. GLACIER_IR, STANDARD_IA
and similar classes are read as before. Only for [storage] backend = s3.
"""
REFUSED_FILES = (
    "pypid: refused files are not served. If all files of a project were refused, pypid may send "
    "its name upstream (except with [storage] adopt = yes). Add private names to [upstream] "
    "reserved."
)
ALSO_UPSTREAM = (
    "pypid: these projects are local now, and also exist upstream: {}. None of their new upstream "
    "releases appear, such as security updates, unless [upstream] allow_mixed lists them."
)
CHECK = """\
  pypid storage check
  pypid storage check --hashes
  pypid storage check --sweep

The check finds damage from crashes, disk errors and manual edits, and says what to do
about it. --hashes reads every file, which takes long for a large storage. The exit status
is 1 if a problem remains.
"""
REBUILD = """\
  pypid storage rebuild
  pypid storage rebuild acme-billing
  pypid storage rebuild acme-billing --index team-a

Use it after another program has changed the storage. pypid reads the records of the
projects again, and publishes files that have no record. The exit status is 1 if a file
was refused.
"""
IMPORT = """\
  pypid storage import
  pypid storage import /srv/wheels
  pypid storage import /srv/wheels --cached all --local acme-tools
  pypid storage import --index team-a

pypid writes a record beside each distribution in FOLDER, which must be the storage folder
([storage] path) or a folder in it; without FOLDER, in the whole storage, which can be a
bucket. No file is moved, renamed or changed. Folders of pypicloud, pypicache and pypiserver
can be used as they are. With --index, FOLDER must be in the folder of that index below
.pypid/index/. The exit status is 1 if a file was refused.

An imported project is local: pypid never requests its name upstream again. For projects
that also exist upstream, the command asks whether they are local or cached. Files of cached
projects are moved to the cache if upstream lists them with the same hash, and new upstream
releases appear. Without a terminal, answer with --local and --cached. Names are compared with
the upstream's list of projects; names that are not on it are not sent.
"""
COPY = """\
  pypid storage copy /etc/pypid/pypid.ini /etc/pypid/on-s3.ini

Copies all packages with their records from the storage of the first configuration into
that of the second, for example from a folder into a bucket. Either can be pypicloud's.
A file that several indexes have with the same content is transferred once.
Existing objects stay as they are; after an interruption, the same command continues. Do
not publish while it runs. Users, rights and tokens are not in the storage: copy the state
folder too.
"""


# --- rebuild, adopt -------------------------------------------------------------------------------


def _adopt(options: argparse.Namespace) -> int | None:
    choice = ImportChoice.of(options)
    folder = None if options.folder is None else str(options.folder.resolve())
    asks = sys.stdin.isatty() and not options.json

    def request_import(survey: Any) -> ControlRequest:
        cached = choose(choice, survey["also_upstream"], asks=asks)
        document = {"folder": folder, "cached": sorted(cached)}
        return ControlRequest("POST", index_url(options, "/api/adopt"), document, print_progress)

    from pypid.daemon.control import ControlRequest

    if choice.needs_no_survey or is_named_index(options):
        first = request_import({"also_upstream": []})
    else:
        document = {"folder": folder}
        first = ControlRequest(
            "POST", "/api/adopt/survey", document, print_progress, then=request_import
        )
    answer = request.exchange(options.config, first)
    print_answer(options, answer, _print_adoption)
    return 1 if _has_refused(answer) else None


def _has_refused(answer: Any) -> bool:
    has_refused = any(file["outcome"] == "refused" for file in answer["adopted"])
    if has_refused:
        print(REFUSED_FILES, file=sys.stderr)
    return has_refused


def _print_adoption(answer: Any) -> None:
    outcomes = [file["outcome"] for file in answer["adopted"]]
    for file in answer["adopted"]:
        problems = "".join(f"\n    {printable(problem)}" for problem in file["problems"])
        print(f"{printable(file['key'])}: {file['outcome']}{problems}")
    # the counts of projects are from before the files were adopted
    projects = counted(answer["projects"], "project")
    known = f"{projects} known before, {answer['changed']} of them changed"
    refused = outcomes.count("refused")
    cached = outcomes.count("cached")
    print(
        f"{counted(outcomes.count('adopted'), 'file')} adopted"
        f"{f', {cached} moved to the cache' if cached else ''}"
        f"{f', {refused} refused' if refused else ''}; {known}."
    )
    if names := answer.get("also_upstream"):
        print(ALSO_UPSTREAM.format(printable(", ".join(names))), file=sys.stderr)


# --- check ----------------------------------------------------------------------------------------


def _remedy(finding: Any) -> str | None:
    """Return what was done about a finding; None if it is still wrong."""
    return "deleted" if finding["swept"] else "repaired" if finding.get("mended") else None


def _print_findings(answer: Any) -> None:
    remedies = [_remedy(finding) for finding in answer["findings"]]
    for finding, remedy in zip(answer["findings"], remedies, strict=True):
        text = remedy or f"{finding['wrong']}\n    {finding['advice']}"
        print(f"{printable(finding['key'])}: {text}")
    wrong = remedies.count(None)
    print(
        f"{counted(answer['objects'], 'object')}, {counted(answer['files'], 'local file')}, "
        f"{counted(answer['kept'], 'cached file')}: {counted(wrong, 'problem')}, "
        f"{len(remedies) - wrong} solved."
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
                "duplicated": copied.duplicated,
            }
        )
    else:
        problem = "the target has other content under this name, which was not changed"
        for key in copied.differ:
            print(printable(f"{key}: {problem}"), file=sys.stderr)
        size = format_size(copied.size)
        copies = counted(copied.copied, "object")
        inside = f", {copied.duplicated} of them inside the target" if copied.duplicated else ""
        print(f"{copies} copied ({size}){inside}, {copied.there} existed already.")
    if copied.differ:
        sys.exit(1)


def _copy(source: Path, target: Path) -> Copied:
    from twisted.internet import reactor

    from pypid.daemon.state import where
    from pypid.index.local.copy import Copier
    from pypid.wiring.platform import load_config, the_world
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
            old, new = storages
            if old.identity == new.identity:
                sys.exit("pypid: both configurations name the same storage; nothing was copied")
            copier = Copier(
                old.blobs,
                new.blobs,
                world,
                new.blobs,
                lambda line: print_progress({"said": line}),
                old.describing,
            )
            return await copier.copy()
        finally:
            for storage in storages:
                await storage.close()

    return run(reactor, copy)


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

    url = index_url(options, "/api/tier")
    answer = send_request(options, "POST", url, document, on_progress=on_progress)
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
        f"{counts['there']} already there, {counts['archived']} to be restored first, "
        f"{counts['failed']} failed"
    )
    print(
        f"{counted(answer['seen'], 'file')} of {counted(answer['projects'], 'project')}, "
        f"{answer['due']} due for {storage_class}:"
    )
    print(f"{moved} ({format_size(answer['size'])}), {rest}.")


def _index(about: str) -> Argument:
    return argument("--index", metavar="NAME", help=about)


COMMANDS = (
    command_group(
        "storage",
        "check, import and move the stored files",
        STORAGE,
        request_command(
            "check",
            "check the storage for damage",
            "POST /api/check",
            _print_findings,
            flag("--sweep", help="delete orphaned files that no client can see"),
            flag("--hashes", help="read all files and verify their digests"),
            examples=CHECK,
            body=("sweep", "hashes"),
            on_progress=print_progress,
            exit_status=lambda answer: not all(map(_remedy, answer["findings"])),
        ),
        request_command(
            "rebuild",
            "reconcile the catalog with the storage, and publish files without a record",
            lambda options: (
                "POST /api/rebuild" + (f"/{quoted(options.project)}" if options.project else "")
            ),
            _print_adoption,
            argument("project", metavar="PROJECT", nargs="?", help="only this project"),
            _index("of this named index (default: all, or of the default index)"),
            examples=REBUILD,
            on_progress=print_progress,
            exit_status=_has_refused,
        ),
        command(
            "import",
            _adopt,
            "publish an existing folder of wheels and sdists, in place",
            argument(
                "folder",
                metavar="FOLDER",
                type=Path,
                nargs="?",
                help="(default: the whole storage)",
            ),
            *OPTIONS,
            _index("into this named index"),
            examples=IMPORT,
        ),
        command(
            "copy",
            _copy_storage,
            "copy all packages from one storage into another",
            argument("source", metavar="FROM", type=Path, help="a configuration file"),
            argument("target", metavar="TO", type=Path, help="another configuration file"),
            JSON,
            config=False,
            examples=COPY,
        ),
        import_devpi.COMMAND,
        command(
            "tier",
            _tier,
            "move old files into a cheaper storage class (S3)",
            argument(
                "--older-than", metavar="TIME", required=True, help="minimum age of a file: 180d"
            ),
            argument(
                "--keep",
                metavar="N",
                type=int,
                required=True,
                help="number of newest versions of each project that stay",
            ),
            argument(
                "--class",
                metavar="CLASS",
                dest="storage_class",
                required=True,
                help="the storage class: GLACIER_IR ...",
            ),
            flag("--dry-run", help="only list the files"),
            _index("files of this named index (default: of the default index)"),
            examples=TIER,
        ),
    ),
)
