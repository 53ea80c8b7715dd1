"""A release from its upload to a staging index, over a gate, to the index of everyone: twine, uv,
the command and a CI job's token.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.asking import ask, basic, bearer, command
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, uv, works
from tests.live.processes import BIN, clean_environ, done
from tests.live.projects import wheel
from tests.live.test_index_clients import TWINE, UV
from tests.live.test_install import installed

SECTIONS = "[index:staging]\nbases = none\nwrite = alice\n"
GATES = "gates = approved-by:tests\n"


class PromotingTests(IndexTestCase):
    """alice publishes in staging, and ci's token approves."""

    def start(self) -> LiveIndex:
        folder = self.folder / "pypid"
        folder.mkdir()
        return self.entered(pypid(folder, Settings(sections=SECTIONS, access=GATES)))

    def promote(self, *more: str) -> str:
        releases = ("spam==2.0", "ham==1.0", "--from", "staging", *more)
        return command(self.index.config, "promote", *releases)

    def refusal(self) -> str:
        line: list[str | Path] = [BIN / "pypid", "promote", "spam==2.0", "--from", "staging"]
        return done([*line, "-c", self.index.config], status=1, environ=clean_environ())

    def token(self) -> str:
        """Create the token of the CI job; return its secret."""
        document = {"name": "tests", "actions": ["read"]}
        made = ask(self.index.port, "/api/tokens", basic("alice"), method="POST", document=document)
        self.assertEqual(made.status, 201, made.body)
        secret: str = made.json["secret"]
        return secret

    def test_from_upload_to_installation(self) -> None:
        """Before the promotion the default index has nothing of it; then clients install both
        releases, with the hashes that staging lists.
        """
        staging = self.index.url("/staging/legacy/")
        dist = self.folder / "dist"
        first, second = wheel("spam", "2.0").into(dist), wheel("ham").into(dist)
        works([client("twine"), "upload", "--repository-url", staging, first], self.folder, **TWINE)
        works([client("uv"), "publish", "--publish-url", staging, second], self.folder, **UV)
        target, default = self.folder / "target", self.index.url()
        fails([*uv(default), "--target", target, "spam"], self.folder)
        self.assertIn(
            "promote spam==2.0 --from staging --to default --approve tests", self.refusal()
        )
        approval = {"source": "staging", "releases": ["spam==2.0", "ham==1.0"]}
        approved = ask(
            self.index.port,
            "/api/indexes/default/approvals",
            bearer(self.token()),
            method="POST",
            document=approval,
        )
        self.assertEqual(approved.status, 200, approved.body)
        self.assertIn("would be promoted", self.promote("--dry-run"))
        fails([*uv(default), "--target", target, "spam"], self.folder)
        self.assertIn("2 files of 2 projects promoted", self.promote())
        works([*uv(default), "--no-deps", "--target", target, "spam", "ham"], self.folder)
        self.assertEqual(installed(target), {"spam-2.0", "ham-1.0"})
        self.assertEqual(self.hashes("/staging"), self.hashes(""))
        listed = json.loads(command(self.index.config, "promote", "--list", "--json"))
        self.assertEqual(listed["promotions"][0]["releases"], ["ham==1.0", "spam==2.0"])

    def hashes(self, index: str) -> object:
        accept = {"Accept": "application/vnd.pypi.simple.v1+json", **basic("alice")}
        files = ask(self.index.port, f"{index}/simple/spam/", accept).json["files"]
        return [(file["filename"], file["hashes"], file["upload-time"]) for file in files]

    def test_gates_are_reloaded(self) -> None:
        """A reload puts another gate in force."""
        staging = self.index.url("/staging/legacy/")
        first = wheel("spam", "2.0").into(self.folder / "dist")
        works([client("twine"), "upload", "--repository-url", staging, first], self.folder, **TWINE)
        config = self.index.config
        config.write_text(config.read_text().replace(GATES, "gates = attested\n"))
        command(config, "reload")
        self.assertIn("no attestation of", self.refusal())
        config.write_text(config.read_text().replace("gates = attested\n", ""))
        command(config, "reload")
        command(config, "promote", "spam==2.0", "--from", "staging", "--move")
        self.assertEqual(self.hashes("/staging"), [])
