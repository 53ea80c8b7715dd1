"""A small advisory database in the form of pypa/advisory-database, made at random from a seed, and
the reference that says which of its records affect a version.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

VERSIONS = (
    *("0.1", "0.9", "1.0.dev1", "1.0a1", "1.0rc2", "1.0", "1.0.post1", "1.1", "1.2", "1.10"),
    *("2.0", "2.0.1", "2.1", "10.0", "2020.1", "1!0.5"),
)
NAMES = tuple(f"demo-{number}" for number in range(300))
SEED = 20260101
RECORDS = 400

Record = Mapping[str, Any]


def records() -> list[dict[str, Any]]:
    """Return the records: ranges with one or several intervals, enumerated versions, several
    packages, other spellings, other ecosystems, malware, and withdrawn ones.
    """
    chosen = random.Random(SEED)
    return [_record(chosen, number) for number in range(RECORDS)]


def _record(chosen: random.Random, number: int) -> dict[str, Any]:
    # the first projects have several records, and the last half has none
    names = chosen.sample(NAMES[: len(NAMES) // 2], chosen.choice((1, 1, 1, 2)))
    prefix = "MAL-2026" if number % 40 == 0 else "PYSEC-2026"
    record: dict[str, Any] = {
        "schema_version": "1.7.3",
        "id": f"{prefix}-{number}",
        "modified": f"2026-01-{1 + number % 28:02}T00:00:00Z",
        "published": "2026-01-01T00:00:00Z",
        "aliases": [f"CVE-2026-{10_000 + number}", f"GHSA-aaaa-{number:04}-bbbb"],
        "summary": f"Record {number}",
        "details": f"Details of record {number}.\n\nThey have 'quotes', \u00fcml\u00e4uts & lines.\n",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [_affected(chosen, name) for name in names],
    }
    if number % 17 == 0:
        record["withdrawn"] = "2026-02-01T00:00:00Z"
    if number % 23 == 0:
        record["affected"][0]["package"]["ecosystem"] = "npm"
    return record


def _affected(chosen: random.Random, name: str) -> dict[str, Any]:
    spelled = name.replace("-", chosen.choice("-._")).title() if chosen.random() < 0.1 else name
    affected: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": spelled}}
    kind = chosen.random()
    if kind < 0.2:
        affected["versions"] = chosen.sample(VERSIONS, 3)
        return affected
    if kind < 0.3:  # another spelling of a version
        affected["versions"] = [f"{version}.0" for version in ("1.1", "2.0", "10.0")]
    bounds = sorted(chosen.sample(VERSIONS, 4), key=Version)
    events: list[dict[str, str]] = [{"introduced": "0" if kind < 0.7 else bounds[0]}]
    if kind < 0.5:
        events.append({"fixed": bounds[1]})
    elif kind < 0.7:
        events.append({"last_affected": bounds[1]})
    elif kind < 0.9:  # two intervals, in any order
        events += [{"fixed": bounds[1]}, {"introduced": bounds[2]}, {"fixed": bounds[3]}]
        chosen.shuffle(events)
    affected["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
    if kind > 0.95:
        git = [{"introduced": "0"}, {"fixed": "ab" * 20}]
        affected["ranges"].insert(0, {"type": "GIT", "repo": "https://x.example", "events": git})
    return affected


def write(folder: Path, found: Sequence[Record]) -> Path:
    """Write the records as ``vulns/<project>/<id>.yaml``; return the folder."""
    for record in found:
        name = canonicalize_name(record["affected"][0]["package"]["name"])
        path = folder / "vulns" / name / f"{record['id']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return folder


def affecting(found: Sequence[Record], name: str, version: str) -> set[str]:
    """Return the ids of the records that affect a version: the algorithm of the OSV schema, written
    down once more and without pypid.
    """
    return {
        record["id"]
        for record in found
        if "withdrawn" not in record
        and any(_affects(affected, name, Version(version)) for affected in record["affected"])
    }


def _affects(affected: Mapping[str, Any], name: str, version: Version) -> bool:
    package = affected["package"]
    if package["ecosystem"] != "PyPI" or canonicalize_name(package["name"]) != name:
        return False
    if any(Version(each) == version for each in affected.get("versions", ())):
        return True
    ranges = affected.get("ranges", ())
    return any(_within(each["events"], version) for each in ranges if each["type"] == "ECOSYSTEM")


def _within(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    pairs = [pair for event in events for pair in event.items()]
    lowest = Version("0.dev0")
    vulnerable = False
    for kind, text in sorted(
        pairs, key=lambda pair: lowest if pair[1] == "0" else Version(pair[1])
    ):
        if kind == "introduced" and (text == "0" or version >= Version(text)):
            vulnerable = True
        elif (kind == "fixed" and version >= Version(text)) or (
            kind == "last_affected" and version > Version(text)
        ):
            vulnerable = False
    return vulnerable
