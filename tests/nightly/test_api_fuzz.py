"""The JSON API, asked by schemathesis all that its own description allows, and what it does not:
pypid answers as it says.

By schemathesis' command: its Python API is made for pytest. It asks for JSON documents; the events
of ``POST /api/tier`` are none, so that it could not check them (tests/web/test_events.py does).
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import environ
from tests.live.processes import BIN, done, scratch
from tests.live.projects import call, publish, wheel

SETTINGS: Final = Settings(
    access="backend = config sql\ndelete = admin\nregistration = open\ncaptcha = no\n"
)
"""All that can be asked for is open, but what only another setting opens (`OUT_OF_REACH`)."""

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
"""Not ``ignored_auth``: who tries many wrong passwords is answered 429, as it should be
(tests/web/test_matrix.py asks every route without). Not ``positive_data_acceptance``: what a name
may be, and which folder lies in the storage, no schema says.
"""

DOCUMENT: Final = "/api/openapi.json"
VERSIONS: Final = [f"{number}.0" for number in range(1, 21)]
FILENAMES: Final = [wheel("spam", version).filename for version in VERSIONS]
NAMES: Final = [f"ann{number}" for number in range(6)]
"""Of users, and of groups."""
GLOBS: Final = ["acme-*", "*-internal"]
IDS: Final = 4

LAST: Final = (
    "deleteProjectsProject",
    "deleteNamesProject",
    "deleteIndexesIndex",
)
"""After which there is nothing left to ask for."""

OUT_OF_REACH: Final = {
    "GET /api/captcha": "nobody has to solve a riddle here",
    "POST /api/export": "nobody over a network has files written",
    "POST /api/import": "no distribution is made up",
    "POST /api/indexes/{index}/promotions": "no release of an index is made up",
    "GET /api/invitations": "nobody registers by invitation here",
    "POST /api/invitations": "nobody registers by invitation here",
    "POST /api/package/{project}/{filename}": "no distribution is made up",
    "POST /api/reload": "only commands on this machine reload",
    "POST /api/tier": "the storage is no bucket",
    "DELETE /api/trust/{project}": "no project has publishers",
    "POST /api/user/password": "nobody's password is guessed",
    "PUT /api/user/{name}": "no password that is long enough is made up",
}
"""What nobody can be answered with a 2xx by this pypid."""

CONFIG: Final = """\
[dictionaries]
projects.values = {projects}
filenames.values = {filenames}
names.values = {names}
versions.values = {versions}
ids.values = {ids}
blocks.values = {blocks}
indexes.values = {indexes}
globs.values = {globs}
approvals.values = {approvals}
digests.values = ["{digest}"]
kinds.values = ["py2.py3-none-any"]
members.values = ["spam-*.dist-info/METADATA"]

[parameters]
"path.project" = {{dictionary = "projects", probability = 0.8}}
"path.filename" = {{dictionary = "filenames", probability = 0.8}}
"path.name" = {{dictionary = "names", probability = 0.8}}
"path.user" = {{dictionary = "names", probability = 0.8}}
"path.approval" = {{dictionary = "approvals", probability = 0.9}}
"path.glob" = {{dictionary = "globs", probability = 0.8}}
"path.index" = {{dictionary = "indexes", probability = 0.8}}
"path.block" = {{dictionary = "blocks", probability = 0.9}}
"path.id" = {{dictionary = "ids", probability = 0.9}}
"path.version" = {{dictionary = "versions", probability = 0.9}}
"query.sha256" = {{dictionary = "digests", probability = 0.5}}
"query.from" = {{dictionary = "versions", probability = 1.0}}
"query.kind" = {{dictionary = "kinds", probability = 1.0}}
"query.path" = {{dictionary = "members", probability = 0.5}}
"query.to" = {{dictionary = "versions", probability = 1.0}}
"""


class FuzzTests(IndexTestCase):
    """Seeded, bounded, on a pypid of its own for each test; no address but 127.0.0.1 can be
    reached.
    """

    settings = SETTINGS

    def start(self) -> LiveIndex:
        """One that nobody else uses: everything in it may be deleted."""
        index = self.entered(pypid(self.entered(scratch()), self.settings))
        publish(index, *(wheel("spam", version) for version in VERSIONS))
        publish(index, wheel("eggs"))
        call(index, "DELETE", "/api/projects/eggs", user="admin")
        for name in NAMES:
            self.post(index, "/api/users", {"name": name})
            self.post(index, "/api/groups", {"name": name})
        for group, user in product(NAMES, NAMES):
            call(index, "PUT", f"/api/groups/{group}/members/{user}", user="admin")
        tokens = [
            self.post(index, "/api/tokens", {"name": "ci", "actions": ["read"]}) for _ in range(IDS)
        ]
        specs = [f"acme{number}" for number in range(IDS)]
        approvals = [self.post(index, "/api/approvals", {"spec": spec}) for spec in specs]
        self.ids = [token["id"] for token in tokens] + ["0" * 24]
        self.approvals = [approval["id"] for approval in approvals]
        blocks = [
            self.post(index, "/api/blocks", {"spec": spec, "reason": "bad"}) for spec in specs
        ]
        self.blocks = [block["id"] for block in blocks]
        self.indexes = [f"team-{number}" for number in range(IDS)]
        for name in self.indexes:
            self.post(index, "/api/indexes", {"name": name})
        return index

    def post(self, index: LiveIndex, path: str, document: Any) -> Any:
        """By the admin."""
        return json.loads(call(index, "POST", path, json.dumps(document).encode(), user="admin"))

    def fuzz(self, user: str | None, *more: str, projects: Sequence[str] = ("spam",)) -> set[str]:
        """Ask; which operations were tried (``GET /api/users/{name}``). Raises `AssertionError`
        with what was wrong.
        """
        config, report = self.folder / "schemathesis.toml", self.folder / "junit.xml"
        values = {
            "projects": projects,
            "filenames": FILENAMES,
            "names": NAMES,
            "versions": VERSIONS,
            "ids": self.ids,
            "blocks": self.blocks,
            "indexes": self.indexes,
            "globs": GLOBS,
            "approvals": self.approvals,
        }
        lists = {name: json.dumps(list(these)) for name, these in values.items()}
        config.write_text(CONFIG.format(**lists, digest="0" * 64))
        credential = [] if user is None else ["--auth", f"{user}:{PASSWORDS[user]}"]
        command = [
            BIN / "schemathesis",
            "--config-file",
            config,
            "run",
            self.index.url(DOCUMENT),
            *credential,
        ]
        command += [
            "--header",
            "Accept: application/json",
            "--checks",
            ",".join(CHECKS),
            "--no-color",
        ]
        command += [
            "--seed",
            "1",
            "--generation-database",
            "none",
            "--request-timeout",
            "30",
            "--continue-on-failure",
        ]
        command += ["--report", "junit", "--report-junit-path", report, *more]
        done(
            command,
            cwd=self.folder,
            environ=environ(
                self.folder / "home", all_proxy="http://127.0.0.1:9", NO_PROXY="127.0.0.1"
            ),
        )
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {str(case.get("name")) for case in cases}

    def operations(self) -> set[str]:
        """All of the document, but the one that gave it to schemathesis."""
        paths = json.loads(call(self.index, "GET", DOCUMENT))["paths"]
        return {
            f"{method.upper()} {path}" for path, methods in paths.items() for method in methods
        } - {f"GET {DOCUMENT}"}

    def reached(self) -> set[str]:
        """Those that were answered with a 2xx."""
        done = [answer for answer in self.index.answers(self.since) if answer.status < 300]
        found = set()
        for operation in self.operations():
            method, path = operation.split()
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/?]+", re.escape(path)) + r"(\?.*)?\Z")
            if any(answer.method == method and pattern.match(answer.path) for answer in done):
                found.add(operation)
        return found

    def test_admin(self) -> None:
        """Whatever an administrator sends, the answer is one that the document describes; and every
        operation is reached.
        """
        last = [word for operation in LAST for word in ("--exclude-operation-id", operation)]
        asked = self.fuzz(
            "admin", "--phases", "examples,coverage,fuzzing", "--max-examples", "8", *last
        )
        only = [word for operation in LAST for word in ("--include-operation-id", operation)]
        asked |= self.fuzz(
            "admin",
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "10",
            *only,
            projects=("spam", "eggs"),
        )
        self.assertEqual(asked, self.operations())
        self.assertEqual(self.operations() - self.reached(), set(OUT_OF_REACH))

    def test_user(self) -> None:
        """So it is for somebody who may publish, and nothing more."""
        asked = self.fuzz("alice", "--phases", "coverage,fuzzing", "--max-examples", "3")
        self.assertEqual(asked, self.operations())

    def test_nobody(self) -> None:
        """So it is for whoever has not logged in."""
        asked = self.fuzz(None, "--phases", "coverage,fuzzing", "--max-examples", "3")
        self.assertEqual(asked, self.operations())
