"""A release from its upload to a staging index to the index of everyone: twine, uv and the
command.
"""

from __future__ import annotations

import json

from tests.live.asking import ask, basic, command
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, uv, works
from tests.live.projects import wheel
from tests.live.test_index_clients import TWINE, UV
from tests.live.test_install import installed

SECTIONS = "[index:staging]\nbases = none\nwrite = alice\n"


class PromotingTests(IndexTestCase):
    """alice publishes in staging."""

    def start(self) -> LiveIndex:
        folder = self.folder / "pypid"
        folder.mkdir()
        return self.entered(pypid(folder, Settings(sections=SECTIONS)))

    def promote(self, *more: str) -> str:
        releases = ("spam==2.0", "ham==1.0", "--from", "staging", *more)
        return command(self.index.config, "promote", *releases)

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
        self.assertIn("would be promoted", self.promote("--dry-run"))
        fails([*uv(default), "--target", target, "spam"], self.folder)
        self.assertIn("2 files of 2 projects promoted", self.promote())
        works([*uv(default), "--no-deps", "--target", target, "spam", "ham"], self.folder)
        self.assertEqual(installed(target), {"spam-2.0", "ham-1.0"})
        self.assertEqual(self.hashes("/staging"), self.hashes(""))
        self.assertIn("were deleted in staging", self.promote("--move"))
        self.assertEqual(self.hashes("/staging"), [])
        listed = json.loads(command(self.index.config, "promote", "--list", "--json"))
        self.assertEqual(listed["promotions"][0]["releases"], ["ham==1.0", "spam==2.0"])

    def hashes(self, index: str) -> object:
        accept = {"Accept": "application/vnd.pypi.simple.v1+json", **basic("alice")}
        files = ask(self.index.port, f"{index}/simple/spam/", accept).json["files"]
        return [(file["filename"], file["hashes"], file["upload-time"]) for file in files]
