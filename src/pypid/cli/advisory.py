"""The `advisory` command: security advisories of stored files, and the check of lock files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from pypid import __version__
from pypid.cli.grammar import argument, command, command_group, flag, one_of
from pypid.cli.lock_file import field_of, text_of
from pypid.cli.output import Column, counted, print_answer, print_json, print_rows, printable
from pypid.cli.request import query, request_command, send_request

ADVISORIES = """\
  pypid advisory list
  pypid advisory check pylock.toml

[advisories] names the source of the advisories, and the company's own ones.
"""
LIST = """\
  pypid advisory list
  pypid advisory list --severity high
  pypid advisory list --project requests --json
  pypid advisory list --csv > advisories.csv
  pypid advisory list --sarif > advisories.sarif

Lists the advisories that affect local files or cached upstream files, the most severe
first, with the downloads of these files in the last 30 days and the users who downloaded
them.
"""
CHECK = """\
  pypid advisory check pylock.toml
  pypid advisory check requirements.txt --json

Checks each release that the file pins: whether it is blocked, yanked, gone (no file of it
can be installed from this index), or vulnerable, and whether its files have attestations.
Requirements without an exact version are named and not checked.

The exit status is 1 if a release is blocked, yanked, gone, vulnerable, or could not be
checked, or if no line has an exact version. Missing attestations do not change it.
"""
Hosted = Mapping[str, Any]
"""An advisory as ``GET /api/advisories`` returns it."""

COLUMNS = (
    *("project", "id", "aliases", "severity", "malware", "summary", "fixed", "versions", "files"),
    *("downloads", "users", "published", "modified", "private", "local"),
)
SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
"""A score in the middle of each severity's range: code scanning services sort by a number."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

LONGEST = 60
"""Characters of a summary in the table."""


# --- list -----------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    answer = send_request(
        options, "GET", f"/api/advisories?{query(options, 'project', 'severity')}"
    )
    if options.sarif:
        print_json(as_sarif(answer["advisories"], __version__))
    elif options.csv:
        print(as_csv(answer["advisories"]), end="")
    else:
        print_answer(options, answer, _print_advisories)


_TABLE: dict[str, Column] = {
    "ADVISORY": "id",
    "SEVERITY": lambda each: "malware" if each["malware"] else each["severity"],
    "PROJECT": "project",
    "VERSIONS": lambda each: _versions(each["versions"]),
    "FIXED IN": lambda each: ", ".join(each["fixed"]) or "none",
    "FILES": lambda each: str(len(each["files"])),
    "DOWNLOADS": lambda each: "unknown" if each["downloads"] is None else str(each["downloads"]),
    "BY": lambda each: ", ".join(user["user"] for user in each["users"] or ()),
    "SUMMARY": lambda each: _short(each["summary"]),
}


def _print_advisories(answer: Mapping[str, Any]) -> None:
    print_rows(answer["advisories"], _TABLE)
    total = counted(answer["total"], "advisory", "advisories")
    if answer["age"] is None:
        print(f"{total}. No advisories were read: see [advisories] source.")
    else:
        print(f"{total}. The source was read {_age(answer['age'])} ago.")


def _versions(versions: list[str]) -> str:
    return ", ".join(versions[:3]) + (f" and {len(versions) - 3} more" if versions[3:] else "")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _age(seconds: float) -> str:
    hours = int(seconds / 3600)
    if hours < 1:
        return "less than an hour"
    return counted(hours, "hour") if hours < 48 else counted(hours // 24, "day")


# --- reports for other programs -------------------------------------------------------------------


def as_csv(found: Sequence[Hosted]) -> str:
    """Return the advisories as CSV with a header line; lists are separated by spaces."""
    import csv  # `--help` need not wait for it

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in found:
        users = [f"{user['user']}:{user['downloads']}" for user in each["users"] or ()]
        writer.writerow([_cell({**each, "users": users}[column]) for column in COLUMNS])
    return text.getvalue()


def _cell(value: object) -> str:
    """Return the text of a cell. A spreadsheet would run text that begins as a formula."""
    if isinstance(value, list):
        text = " ".join(map(str, value))
    else:
        text = (
            "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        )
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_sarif(found: Sequence[Hosted], version: str) -> dict[str, Any]:
    """Return the advisories as a SARIF log: a rule for each advisory, and a result for each
    project that it hits. `version` is that of pypid.
    """
    rules = {each["id"]: _rule(each) for each in found}
    driver = {
        "name": "pypid",
        "version": version,
        "rules": list(rules.values()),
    }
    places = {id: place for place, id in enumerate(rules)}
    results = [_result(each, places[each["id"]]) for each in found]
    run = {"tool": {"driver": driver}, "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(each: Hosted) -> dict[str, Any]:
    return {
        "id": each["id"],
        "shortDescription": {"text": each["summary"] or each["id"]},
        "properties": {
            "tags": ["security", *(["malware"] if each["malware"] else [])],
            **({"security-severity": score} if (score := SCORES.get(each["severity"])) else {}),
        },
    }


def _result(each: Hosted, rule: int) -> dict[str, Any]:
    fixed = f" (fixed in {', '.join(each['fixed'])})" if each["fixed"] else ""
    text = (
        f"{each['project']} {', '.join(each['versions'])}: {each['summary'] or each['id']}{fixed}"
    )
    location = {
        "physicalLocation": {"artifactLocation": {"uri": f"simple/{each['project']}/"}},
        "logicalLocations": [
            {"name": each["project"], "fullyQualifiedName": f"{each['project']}=={version}"}
            for version in each["versions"]
        ],
    }
    return {
        "ruleId": each["id"],
        "ruleIndex": rule,
        "level": LEVELS.get(each["severity"], "warning"),
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"advisory/v1": f"{each['project']}:{each['id']}"},
    }


# --- check ----------------------------------------------------------------------------------------


def _print_check(answer: Mapping[str, Any]) -> None:
    releases = answer["releases"]
    for release in releases:
        for line in _findings(release):
            print(printable(f"{release['project']} {release['version']}: {line}"))
    for each in answer["unchecked"]:
        print(printable(f"not checked: {each['line']}: {each['reason']}"))
    found = sum(1 for release in releases if any(_findings(release)))
    unattested = sum(not (release["attested"] or release["gone"]) for release in releases)
    print(
        f"{counted(len(releases), 'release')} checked: {found} with findings, {unattested} without "
        "attestations."
    )


def _findings(release: Mapping[str, Any]) -> list[str]:
    found = [f"{hold['kind']}{_reference(hold)}: {hold['reason']}" for hold in release["blocked"]]
    if release["yanked"] is not None:
        found.append(f"yanked{': ' if release['yanked'] else ''}{release['yanked']}")
    if release["gone"]:
        found.append(f"gone: {release['gone']}")
    named = {hold["reference"] for hold in release["blocked"]}
    for each in release["vulnerable"]:
        if each["id"] in named:
            continue
        fixed = f" (fixed in {', '.join(each['fixed'])})" if each["fixed"] else ""
        kind = "malware" if each["malware"] else f"vulnerable, {each['severity']}"
        found.append(f"{kind}: {each['id']} {each['summary']}{fixed}")
    if release["unknown"]:
        found.append(f"could not be checked: {release['unknown']}")
    return found


def _reference(hold: Mapping[str, Any]) -> str:
    return f" ({hold['reference']})" if hold["reference"] else ""


COMMANDS = (
    command_group(
        "advisory",
        "list advisories of stored files, and check lock files",
        ADVISORIES,
        command(
            "list",
            _list,
            "list the advisories that affect stored files",
            argument("--project", metavar="PROJECT", help="only advisories of this project"),
            argument(
                "--severity",
                choices=("low", "medium", "high", "critical"),
                help="only advisories of this severity or above; malware is always listed",
            ),
            one_of(
                flag("--sarif", help="print SARIF 2.1.0"),
                flag("--csv", help="print CSV"),
            ),
            examples=LIST,
        ),
        request_command(
            "check",
            "check the releases that a lock file or requirements pin",
            "POST /api/advisories/check",
            _print_check,
            argument(
                "file",
                metavar="FILE",
                help=(
                    "requirements.txt or pylock.toml, recognised by its name; - reads "
                    "requirements from standard input"
                ),
            ),
            examples=CHECK,
            body=lambda options: {field_of(options.file): text_of(options.file)},
            exit_status=lambda answer: not answer["clean"],
        ),
    ),
)
