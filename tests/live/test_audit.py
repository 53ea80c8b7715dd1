"""Unmodified pip-audit and uv audit against a real pypid find what a reference finds in the same
data, and private advisories only for those who may read their projects.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from tests.live.advisory_database import NAMES, VERSIONS, affecting, records, write
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import Ended, run
from tests.live.processes import scratch
from tests.live.projects import call, publish, wheel

PREVIEW = "audit-command,json-output"
ACME = {
    "id": "ACME-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "acme-billing writes tokens to its log",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "acme-billing"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.4.2"}]}],
        }
    ],
}
RIGHTS = "[projects]\nacme-billing.user.alice = rw\n"

Found = set[tuple[str, str, str]]
"""Project, version and id of an advisory."""


class AuditTests(IndexTestCase):
    """A pypid with a source of 400 records, and one of its own."""

    def start(self) -> LiveIndex:
        self.records = records()
        source, own = write(self.folder / "database", self.records), self.folder / "own"
        own.mkdir()
        (own / "acme.yaml").write_text(yaml.safe_dump(ACME))
        sections = f"{RIGHTS}[advisories]\nsource = {source}\nown = {own}\n"
        index = self.entered(pypid(self.entered(scratch()), Settings(sections=sections)))
        deadline = time.monotonic() + 60
        while json.loads(call(index, "GET", "/api/advisories"))["age"] is None:
            self.assertLess(time.monotonic(), deadline, index.log())
            time.sleep(0.1)
        return index

    def releases(self) -> dict[str, str]:
        """A version of each of 300 projects."""
        return {name: VERSIONS[place * 7 % len(VERSIONS)] for place, name in enumerate(NAMES)}

    def expected(self, releases: dict[str, str]) -> Found:
        """What the reference finds."""
        found = {
            (name, version, id)
            for name, version in releases.items()
            for id in affecting(self.records, name, version)
        }
        self.assertGreater(len(found), 50)
        return found

    # --- the clients ---

    def pip_audit(self, releases: dict[str, str], user: str | None = None) -> tuple[Ended, Found]:
        """What pip-audit prints, and what it finds."""
        lines = "".join(f"{name}=={version}\n" for name, version in releases.items())
        (self.folder / "requirements.txt").write_text(lines)
        command: list[str | Path] = [client("pip-audit"), "-s", "osv", "--progress-spinner", "off"]
        command += ["--osv-url", self.index.url("/osv/v1/query", user)]
        command += ["-r", "requirements.txt", "--no-deps", "--disable-pip", "-f", "json"]
        output = self.folder / "pip-audit.json"
        output.unlink(missing_ok=True)
        ended = run([*command, "-o", output], self.folder)
        self.assertTrue(output.exists(), ended.said)
        dependencies = json.loads(output.read_text())["dependencies"]
        self.assertEqual(len(dependencies), len(releases))
        # it shows a record by one of its aliases if its own id is not PYSEC-
        known = {record["id"] for record in (*self.records, ACME)}
        found = {
            (each["name"], each["version"], id)
            for each in dependencies
            for vulnerability in each["vulns"]
            for id in known & {vulnerability["id"], *vulnerability["aliases"]}
        }
        self.assertEqual(len(found), sum(len(each["vulns"]) for each in dependencies))
        return ended, found

    def uv_audit(self, releases: dict[str, str], user: str | None = None) -> tuple[Ended, Found]:
        """What uv audit prints, and what it finds."""
        project = self.folder / "project"
        project.mkdir(exist_ok=True)
        needs = "".join(f'    "{name}=={version}",\n' for name, version in releases.items())
        (project / "pyproject.toml").write_text(
            '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.9"\n'
            f"dependencies = [\n{needs}]\n"
        )
        (project / "uv.lock").write_text(uv_lock(releases, self.index.url("/simple/")))
        command = [client("uv"), "audit", "--frozen", "--preview-features", PREVIEW]
        service = ["--service-url", self.index.url("/osv/", user), "--output-format", "json"]
        ended = run(
            [*command, *service, "--default-index", self.index.url()], self.folder, cwd=project
        )
        begin = ended.said.find("{")
        self.assertGreaterEqual(begin, 0, ended.said)
        answer, _ = json.JSONDecoder().raw_decode(ended.said[begin:])
        self.assertEqual(answer["summary"]["audited_packages"], len(releases))
        found = {
            (each["dependency"]["name"], each["dependency"]["version"], each["id"])
            for each in answer["vulnerabilities"]
        }
        return ended, found

    # --- what they find ---

    def test_pip_audit(self) -> None:
        """pip-audit finds what the reference finds in 300 releases, with the versions that fix
        it (C120).
        """
        releases = self.releases()
        ended, found = self.pip_audit(releases)
        self.assertEqual(found, self.expected(releases))
        self.assertEqual(ended.status, 1)
        dependencies = json.loads((self.folder / "pip-audit.json").read_text())["dependencies"]
        by_summary = {record["summary"]: record for record in self.records}
        for vulnerability in (each for one in dependencies for each in one["vulns"]):
            record = by_summary[vulnerability["description"]]
            ids = {vulnerability["id"], *vulnerability["aliases"]}
            self.assertEqual(ids, {record["id"], *record["aliases"]})
        clean = dict.fromkeys(NAMES[-3:], "1.0")
        self.assertEqual(self.pip_audit(clean)[0].status, 0)

    def test_uv_audit(self) -> None:
        """uv audit finds the same in one batch (C120)."""
        releases = self.releases()
        _, found = self.uv_audit(releases)
        self.assertEqual(found, self.expected(releases))
        self.answered("POST", "/osv/v1/querybatch", agent="uv/")

    def test_private_advisory(self) -> None:
        """Both tools find a private advisory for a user who may read the project; for others it
        does not exist.
        """
        publish(self.index, wheel("acme-billing", "1.4.1"))
        mine = {"acme-billing": "1.4.1"}
        for audit in (self.pip_audit, self.uv_audit):
            self.assertEqual(audit(mine, "alice")[1], {("acme-billing", "1.4.1", "ACME-2026-1")})
            for user in (None, "bob"):
                ended, found = audit(mine, user)
                self.assertEqual((found, "ACME" in ended.said), (set(), False))
        path = "/osv/v1/vulns/ACME-2026-1"
        self.assertEqual(self.get(path, "alice")["id"], "ACME-2026-1")
        for user in ("bob", None):
            self.assertRaises(AssertionError, self.get, path, user)
            self.assertEqual(self.get("/api/advisories", user)["total"], 0)
        self.answered("GET", path, status=404, times=2)
        listed = self.get("/api/advisories", "alice")["advisories"]
        self.assertEqual([each["id"] for each in listed], ["ACME-2026-1"])

    def get(self, path: str, user: str | None) -> Any:
        """The JSON document at this path."""
        return json.loads(call(self.index, "GET", path, user=user))


def uv_lock(releases: dict[str, str], url: str) -> str:
    """A lock with these releases, from an index at `url`."""
    source = f'source = {{ registry = "{url}" }}'
    locked = "".join(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n{source}\n'
        f'sdist = {{ url = "{url}{name}.tar.gz", hash = "sha256:{"ab" * 32}", size = 1 }}\n\n'
        for name, version in sorted(releases.items())
    )
    dependencies = "".join(f'    {{ name = "{name}" }},\n' for name in sorted(releases))
    wanted = "".join(
        f'    {{ name = "{name}", specifier = "=={version}" }},\n'
        for name, version in sorted(releases.items())
    )
    return (
        'version = 1\nrevision = 3\nrequires-python = ">=3.9"\n\n'
        f"{locked}"
        '[[package]]\nname = "mine"\nversion = "1"\nsource = { virtual = "." }\n'
        f"dependencies = [\n{dependencies}]\n\n[package.metadata]\nrequires-dist = [\n{wanted}]\n"
    )
