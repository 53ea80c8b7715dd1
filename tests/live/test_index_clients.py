"""A named index from its creation to an installation: the command, twine, uv and pip."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.asking import command
from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import BIN, done
from tests.live.projects import publish, wheel
from tests.live.test_install import NEWEST, installed

TWINE = {"TWINE_USERNAME": "alice", "TWINE_PASSWORD": PASSWORDS["alice"]}
UV = {"UV_PUBLISH_USERNAME": "alice", "UV_PUBLISH_PASSWORD": PASSWORDS["alice"]}


class IndexClientTests(IndexTestCase):
    """A pypid of its own, whose indexes the command creates."""

    def start(self) -> LiveIndex:
        folder = self.folder / "pypid"
        folder.mkdir()
        return self.entered(pypid(folder, Settings()))

    def install(self, line: list[str | Path], target: str, *projects: str) -> set[str]:
        """Install the projects; the releases that were installed."""
        works([*line, "--no-deps", "--target", self.folder / target, *projects], self.folder)
        return installed(self.folder / target)

    def test_clients_by_url_alone(self) -> None:
        """twine and uv publish to the printed upload URL; pip and uv install from the printed index
        URL what the index has, and what it inherits. The default index has none of it.
        """
        publish(self.index, wheel("spam"), wheel("eggs", "3.0"))
        made = json.loads(
            command(self.index.config, "index", "create", "team-a", "write=alice", "--json")
        )
        team, upload = made["index"], made["upload"]
        self.assertEqual(team, self.index.url("/team-a/simple/"))
        dist = self.folder / "dist"
        first, second = wheel("spam", "2.0").into(dist), wheel("ham").into(dist)
        works([client("twine"), "upload", "--repository-url", upload, first], self.folder, **TWINE)
        line = [client("uv"), "publish", "--publish-url", upload, "--check-url", team, second]
        for _ in range(2):  # the second one finds the file on the page
            works(line, self.folder, **UV)
        expected = {"spam-2.0", "ham-1.0", "eggs-3.0"}
        projects = ("spam", "ham", "eggs")
        self.assertEqual(self.install(pip(NEWEST, "install", team), "pip", *projects), expected)
        self.assertEqual(self.install(uv(team), "uv", *projects), expected)
        default = self.index.url()
        self.assertEqual(
            self.install(uv(default), "default", "spam", "eggs"), {"spam-1.0", "eggs-3.0"}
        )
        fails([*uv(default), "--target", self.folder / "none", "ham"], self.folder)

    def test_refusals_reach_the_user(self) -> None:
        """A client that may not publish or read is told so; --force deletes an index with files."""
        values = ("read=alice", "write=alice")
        command(self.index.config, "index", "create", "team-b", *values)
        upload, team = self.index.url("/team-b/legacy/"), self.index.url("/team-b/simple/")
        path = wheel("secret").into(self.folder / "dist")
        line = [client("twine"), "upload", "--repository-url", upload, path]
        carol = {"TWINE_USERNAME": "carol", "TWINE_PASSWORD": PASSWORDS["carol"]}
        self.assertIn("403", fails(line, self.folder, **carol))
        works(line, self.folder, **TWINE)
        target = self.folder / "target"
        fails([*uv(team), "--target", target, "secret"], self.folder)
        fails(
            [*uv(self.index.url("/team-b/simple/", "carol")), "--target", target, "secret"],
            self.folder,
        )
        line = uv(self.index.url("/team-b/simple/", "alice"))
        self.assertEqual(self.install(line, "target", "secret"), {"secret-1.0"})
        deleting = [BIN / "pypid", "index", "delete", "team-b", "-c", self.index.config]
        said = done(deleting, status=1)
        self.assertIn("--force", said)
        command(self.index.config, "index", "delete", "team-b", "--force")
        fails([*line, "--target", self.folder / "gone", "secret"], self.folder)
