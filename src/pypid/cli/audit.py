"""The `audit` and `downloads` commands: what was changed, and who downloaded a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import define

from pypid.cli.asking import ask, follow, print_json
from pypid.cli.command import add_command
from pypid.cli.table import counted, in_minutes, print_table, printable
from pypid.cli.verbs import explain

AUDIT = """\
  pypid audit                              the last 100 changes, the newest last
  pypid audit --who carol
  pypid audit --what delete-file
  pypid audit --subject spam/spam-1.0.tar.gz
  pypid audit --most 1000 --json           for machines, the newest first
  pypid audit --follow                     and then what is done from now on

Each line: its number, when (UTC), who, what, to what, from which address or by
which token, and details. Older ones than these: --before NUMBER.
"""
DOWNLOADS = """\
  pypid downloads 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  pypid downloads $(sha256sum spam-1.0.tar.gz | cut -c -64)

Files are named by their SHA-256, which is on their project's page: all downloads
of these bytes are listed, under whatever file name.
"""


def add(commands: Any) -> None:
    """Declare the `audit` and `downloads` commands."""
    audit = explain(
        add_command(
            commands, "audit", _audit, "show who changed what, when, and from where", config=True
        ),
        AUDIT,
    )
    audit.add_argument("--who", metavar="USER", help="only what this user did")
    audit.add_argument(
        "--what", metavar="DEED", help="only this: publish-file, set-right, revoke-token ..."
    )
    audit.add_argument(
        "--subject",
        metavar="WHAT",
        help="only what was done to this: a project, PROJECT/FILE, a user ...",
    )
    audit.add_argument("--before", metavar="NUMBER", type=int, help="only lines before this one")
    audit.add_argument(
        "--most", metavar="N", type=int, default=100, help="at most so many (100; not over 1000)"
    )
    audit.add_argument(
        "--follow", action="store_true", help="go on with what is done, until Ctrl-C"
    )
    about = "show who was given a file, when, from where, and with which token"
    downloads = explain(
        add_command(commands, "downloads", _downloads, about, config=True), DOWNLOADS
    )
    downloads.add_argument("sha256", metavar="SHA256")
    downloads.add_argument(
        "--before", metavar="NUMBER", type=int, help="only downloads before this one"
    )
    downloads.add_argument(
        "--most", metavar="N", type=int, default=1000, help="at most so many (1000; not over 1000)"
    )


def _audit(options: argparse.Namespace) -> None:
    asked = {name: getattr(options, name) for name in ("who", "what", "subject", "before", "most")}
    url = "/api/audit?" + urlencode(
        {name: value for name, value in asked.items() if value is not None}
    )
    if options.follow:
        follow(options, url, _Following(options.json).heard)
        return
    answer = ask(options, "GET", url)
    if options.json:
        print_json(answer)
        return
    print_table(
        ("NUMBER", "WHEN (UTC)", "WHO", "WHAT", "SUBJECT", "FROM", "DETAILS"),
        map(_row, reversed(answer["deeds"])),
    )
    if answer["before"] is not None:
        print(f"There may be older ones: pypid audit --before {answer['before']}")


@define
class _Following:
    """Prints each audit entry once, the oldest first; with `json` as an object per line."""

    json: bool
    last: int = 0

    def heard(self, answer: Mapping[str, Any]) -> None:
        """Print the new entries of the answer."""
        new = [deed for deed in reversed(answer["deeds"]) if deed["serial"] > self.last]
        if (
            self.last
            and new
            and new[0]["serial"] > self.last + 1
            and len(new) == len(answer["deeds"])
        ):
            print("pypid: there may be more than these: see pypid audit", file=sys.stderr)
        for deed in new:
            self.last = deed["serial"]
            print(
                json.dumps(deed) if self.json else "  ".join(map(printable, _row(deed))).rstrip(),
                flush=True,
            )


def _row(deed: Mapping[str, Any]) -> tuple[str, ...]:
    when = in_minutes(deed["when"])
    return (
        str(deed["serial"]),
        when,
        deed["who"],
        deed["what"],
        deed["subject"],
        _from(deed),
        _details(deed),
    )


def _downloads(options: argparse.Namespace) -> None:
    asked = {name: getattr(options, name) for name in ("sha256", "before", "most")}
    said = urlencode({name: value for name, value in asked.items() if value is not None})
    answer = ask(options, "GET", f"/api/downloads?{said}")
    if options.json:
        print_json(answer)
        return
    rows = [
        (
            in_minutes(download["when"]),
            download["who"],
            _from(download),
            download["project"],
            download["filename"],
        )
        for download in reversed(answer["downloads"])
    ]
    print_table(("WHEN (UTC)", "WHO", "FROM", "PROJECT", "FILE"), rows)
    print(counted(len(rows), "download"))
    if answer["before"] is not None:
        print(
            f"There may be older ones: pypid downloads {options.sha256} --before {answer['before']}"
        )


def _from(line: Mapping[str, Any]) -> str:
    words = [line["where"] or "this machine", f"token {line['token']}" if line["token"] else ""]
    return " ".join(word for word in words if word)


def _details(deed: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in deed["details"].items() if value)
