"""Commands for the storage: rebuild, adopt, check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command
from pypid.cli.table import counted, printable


def add(commands: Any) -> None:
    """Declare rebuild, adopt and check."""
    rebuild = add_command(
        commands,
        "rebuild",
        _rebuild,
        "compare with the storage, and take in files that were dropped into it",
        config=True,
    )
    rebuild.add_argument("project", metavar="PROJECT", nargs="?", help="only this one")
    adopt = add_command(
        commands,
        "adopt",
        _adopt,
        "make a folder of wheels and sdists an index, in place",
        config=True,
    )
    adopt.description = (
        "Writes a record beside each distribution in FOLDER, which has to be the storage folder "
        "([storage] path) or lie in it; without FOLDER beside each in the storage, which may be a "
        "bucket. Nothing is moved, renamed or rewritten. Folders of pypicloud, pypicache and "
        "pypiserver are read as they are. Exits with 1 where a file was refused."
    )
    adopt.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", help="only what lies there"
    )
    check = add_command(
        commands,
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


def _rebuild(options: argparse.Namespace) -> None:
    url = "/api/rebuild" + (f"/{quote(options.project, safe='')}" if options.project else "")
    _report_adoption(options, ask(options, "POST", url, tell=_tell))


def _adopt(options: argparse.Namespace) -> None:
    if options.folder is None:
        return _report_adoption(options, ask(options, "POST", "/api/rebuild", tell=_tell))
    folder = str(options.folder.resolve())
    return _report_adoption(
        options, ask(options, "POST", "/api/adopt", {"folder": folder}, tell=_tell)
    )


def _tell(event: Mapping[str, Any]) -> None:
    """Print a progress message, which comes every few seconds."""
    print(event["said"], file=sys.stderr, flush=True)


def _check(options: argparse.Namespace) -> None:
    answer = ask(options, "POST", "/api/check", {"sweep": options.sweep, "hashes": options.hashes})
    left = [
        finding
        for finding in answer["findings"]
        if not finding["swept"] and not finding.get("mended")
    ]
    if options.json:
        print_json(answer)
    else:
        for finding in answer["findings"]:
            done = "removed" if finding["swept"] else "mended" if finding.get("mended") else None
            said = done or f"{finding['wrong']}\n    {finding['advice']}"
            print(f"{printable(finding['key'])}: {said}")
        swept = len(answer["findings"]) - len(left)
        sums = (
            f"{answer['objects']} objects, {answer['files']} files of ours, {answer['kept']} kept "
            f"of upstream's"
        )
        print(f"{sums}; {len(left)} things are wrong, {swept} removed or mended.")
    if left:
        sys.exit(1)


_REFUSED = (
    "pypid: what was refused is not served. Where all files of a project were, its name may be "
    "asked upstream (but not with [storage] layout = pypicloud): put a private one into "
    "[upstream] reserved."
)


def _report_adoption(options: argparse.Namespace, answer: Any) -> None:
    refused = sum(line["outcome"] == "refused" for line in answer["adopted"])
    if options.json:
        print_json(answer)
    else:
        for line in answer["adopted"]:
            told = "".join(f"\n    {printable(problem)}" for problem in line["problems"])
            print(f"{printable(line['key'])}: {line['outcome']}{told}")
        taken = sum(line["outcome"] == "adopted" for line in answer["adopted"])
        # the counts of projects are from before the files were adopted
        known = (
            f"{counted(answer['projects'], 'project')} known before, {answer['changed']} of them "
            f"read anew"
        )
        print(
            f"{counted(taken, 'file')} adopted{f', {refused} refused' if refused else ''}; {known}."
        )
    if refused:
        print(_REFUSED, file=sys.stderr)
        sys.exit(1)
