"""The `audit` and `downloads` commands: what was changed, and who downloaded a file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import define

from pypid.cli.grammar import argument, command, flag
from pypid.cli.output import (
    Column,
    counted,
    format_time,
    print_answer,
    print_rows,
    print_table,
    printable,
    time_of,
)
from pypid.cli.request import poll, query, send_request

_SHA256 = re.compile(r"[0-9A-Fa-f]{64}\Z")
AUDIT = """\
  pypid audit                              the last 100 entries, newest last
  pypid audit --who carol
  pypid audit --action "project delete"
  pypid audit --subject spam/spam-1.0.tar.gz
  pypid audit --index team-a
  pypid audit --most 1000 --json           newest first
  pypid audit --follow                     continue with new entries

An entry shows its number, the time (UTC), the user, the action, its subject, the address
or the token, and details. For earlier entries: --before NUMBER.
"""
DOWNLOADS = """\
  pypid downloads acme-billing
  pypid downloads acme-billing 1.0
  pypid downloads acme-billing acme_billing-1.0-py3-none-any.whl
  pypid downloads 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  pypid downloads --blocked
  pypid downloads --blocked acme-billing

--blocked shows who downloaded files that are blocked now, and who was refused one since.
A file that was deleted can be looked up by its SHA-256 digest, which the audit log has.
"""
AUDITED = ("who", "action", "subject", "index", "before", "most")
"""The arguments of the audit log's query."""


# --- audit ----------------------------------------------------------------------------------------


def _audit(options: argparse.Namespace) -> None:
    url = f"/api/audit?{query(options, *AUDITED)}"
    if options.follow:
        poll(options, url, _NewEntries(options.json).show)
    else:
        print_answer(options, send_request(options, "GET", url), _print_entries)


def _print_entries(answer: Mapping[str, Any]) -> None:
    print_table(
        ("NUMBER", "WHEN (UTC)", "WHO", "WHAT", "SUBJECT", "FROM", "DETAILS"),
        map(_row, reversed(answer["entries"])),
    )
    if answer["before"] is not None:
        print(f"For earlier entries: pypid audit --before {answer['before']}")


@define
class _NewEntries:
    """Prints each audit entry once, the oldest first; with `json` as an object per line."""

    json: bool
    last: int = 0

    def show(self, answer: Mapping[str, Any]) -> None:
        """Print the new entries of the answer."""
        new = [entry for entry in reversed(answer["entries"]) if entry["serial"] > self.last]
        if (
            self.last
            and new
            and new[0]["serial"] > self.last + 1
            and len(new) == len(answer["entries"])
        ):
            print("pypid: entries may be missing here; see pypid audit", file=sys.stderr)
        for entry in new:
            self.last = entry["serial"]
            text = "  ".join(map(printable, _row(entry))).rstrip()
            print(json.dumps(entry) if self.json else text, flush=True)


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    details = {"index": entry.get("index"), **entry["details"]}
    return (
        str(entry["serial"]),
        format_time(entry["when"]),
        entry["user"],
        entry["action"],
        entry["subject"],
        _origin(entry),
        "; ".join(f"{name}: {value}" for name, value in details.items() if value),
    )


def _origin(entry: Mapping[str, Any]) -> str:
    """Return the address and the token of a request."""
    token = f" token {entry['token']}" if entry["token"] else ""
    return f"{entry['address'] or 'this machine'}{token}"


# --- downloads ------------------------------------------------------------------------------------


def _downloads(options: argparse.Namespace) -> None:
    page = query(options, "before", "most")
    url = f"/api/downloads?{urlencode(_downloaded(options))}&{page}"

    def print_downloads(answer: Mapping[str, Any]) -> None:
        print_rows(reversed(answer["downloads"]), _DOWNLOADS)
        print(counted(len(answer["downloads"]), "download"))
        if "refused" in answer:
            print()
            print_rows(reversed(answer["refused"]), {**_DOWNLOADS, "BLOCK": "block"})
            print(counted(len(answer["refused"]), "refused download"))
        if answer["before"] is not None:
            words = ("--blocked" if options.blocked else None, options.project, options.what)
            files = " ".join(filter(None, words))
            print(f"For earlier downloads: pypid downloads {files} --before {answer['before']}")

    print_answer(options, send_request(options, "GET", url), print_downloads)


_DOWNLOADS: dict[str, Column] = {
    "WHEN (UTC)": time_of("when"),
    "WHO": "user",
    "FROM": _origin,
    "PROJECT": lambda each: "/".join(filter(None, (each.get("index"), each["project"]))),
    "FILE": "filename",
}


def _downloaded(options: argparse.Namespace) -> dict[str, str]:
    """Return the query parameters that name the files."""
    from pypid.core.errors import BadFilename
    from pypid.core.packaging.names import parse_filename

    if options.blocked:
        if options.what is not None:
            sys.exit("pypid: --blocked takes a project only, not a version or a file.")
        return {"blocked": "yes"} | ({"project": options.project} if options.project else {})
    if options.project is None:
        sys.exit("pypid: name a project or a digest, or use --blocked.")
    if _SHA256.match(options.project) and options.what is None:
        return {"sha256": options.project}
    if options.what is None:
        return {"project": options.project}
    try:
        parse_filename(options.what)
    except BadFilename:
        return {"project": options.project, "version": options.what}
    return {"project": options.project, "filename": options.what}


COMMANDS = (
    command(
        "audit",
        _audit,
        "show who changed what, when, and from where",
        argument("--who", metavar="USER", help="only actions of this user"),
        argument(
            "--action",
            metavar="ACTION",
            help="only this action, named like its command: 'project delete', 'right grant' ...",
        ),
        argument(
            "--subject",
            metavar="WHAT",
            help="only actions on this subject: a project, PROJECT/FILE, a user ...",
        ),
        argument("--index", metavar="NAME", help="only changes of this named index"),
        argument("--before", metavar="NUMBER", type=int, help="only entries before this one"),
        argument(
            "--most",
            metavar="N",
            type=int,
            default=100,
            help="number of entries (default: 100; at most 1000)",
        ),
        flag("--follow", help="print new entries until Ctrl-C"),
        examples=AUDIT,
    ),
    command(
        "downloads",
        _downloads,
        "show who downloaded the files of a project or a release, or a single file",
        argument("project", metavar="PROJECT|SHA256", nargs="?"),
        argument(
            "what", metavar="VERSION|FILE", nargs="?", help="(default: all files of the project)"
        ),
        flag("--blocked", help="only files that are blocked (of one project)"),
        argument("--before", metavar="NUMBER", type=int, help="only downloads before this one"),
        argument(
            "--most",
            metavar="N",
            type=int,
            default=1000,
            help="number of downloads (default and maximum: 1000)",
        ),
        examples=DOWNLOADS,
    ),
)
