"""Advisories of stored files as CSV and as SARIF 2.1.0, for other programs. Pure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

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


def as_csv(found: Sequence[Hosted]) -> str:
    """Return the advisories as CSV with a header line; lists are separated by spaces."""
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
    fixed = f" Fixed in {', '.join(each['fixed'])}." if each["fixed"] else ""
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
