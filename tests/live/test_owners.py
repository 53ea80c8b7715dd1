"""Two teams in one real pypid: who owns a project, by twine, commands and after a restart."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic, command
from tests.live.daemon import PASSWORDS, LiveIndex, Settings, pypid
from tests.live.isolation import fails, pip, twine, works
from tests.live.processes import scratch
from tests.live.projects import wheel
from tests.live.test_install import NEWEST, installed

TEAMS = """
[groups]
a = alice
b = bob carol
[projects]
acme-data-*.group.b = rw
[index:release]
write = group:a
"""
SETTINGS = Settings(access="owners = uploader", sections=TEAMS)
"""alice and carol may publish by default, bob only by the glob."""


class TwoTeamsTests(SynchronousTestCase):
    """alice is of team a, carol and bob are of team b; admin administers."""

    def setUp(self) -> None:
        scratched = scratch()
        self.folder = scratched.__enter__()
        self.addCleanup(scratched.__exit__, None, None, None)

    def wheel(self, name: str, version: str = "1.0") -> Path:
        return wheel(name, version).into(self.folder / "dist")

    def may(self, index: LiveIndex, user: str, path: Path, where: str = "/legacy/") -> None:
        """twine uploads the file."""
        works(twine(index.url(where), user, PASSWORDS[user], path), self.folder)

    def may_not(self, index: LiveIndex, user: str, path: Path, where: str = "/legacy/") -> None:
        """twine is refused, and told why."""
        said = fails(twine(index.url(where), user, PASSWORDS[user], path), self.folder)
        self.assertIn("403", said)
        self.assertIn(f"'{user}' may not publish", said.replace('"', "'"))

    def yank(self, index: LiveIndex, user: str, method: str = "PUT") -> int:
        """The status of a request to yank spam 1.0."""
        there = "/api/projects/spam/releases/1.0/yank"
        document = {"reason": "broken"} if method == "PUT" else None
        return ask(index.port, there, basic(user), method=method, document=document).status

    def test_two_teams(self) -> None:
        """A user of one team can neither yank nor add to a project of the other team; the owner
        can, before and after a restart, until an administrator names another owner.
        """
        with pypid(self.folder, SETTINGS) as index:
            self.may(index, "alice", self.wheel("spam"))
            self.may_not(index, "carol", self.wheel("spam", "2.0"))
            self.assertEqual(self.yank(index, "carol"), 403)
            self.assertEqual(
                (self.yank(index, "alice"), self.yank(index, "alice", "DELETE")), (200, 200)
            )
            self.may(index, "carol", self.wheel("ham"))
            self.may_not(index, "alice", self.wheel("ham", "2.0"))
            target = self.folder / "target"
            install = pip(NEWEST, "install", index.url(user="carol"))
            works([*install, "--no-deps", "--target", target, "spam"], self.folder)
            self.assertEqual(installed(target), {"spam-1.0"})
        with pypid(self.folder, SETTINGS) as index:
            self.may_not(index, "carol", self.wheel("spam", "2.0"))
            self.assertEqual(self.yank(index, "carol"), 403)
            self.may(index, "alice", self.wheel("spam", "2.0"))
            said = command(index.config, "right", "explain", "carol", "spam")
            self.assertIn("the project has an owner", said)
            self.assertIn("carol", command(index.config, "project", "set-owner", "spam", "carol"))
            self.may(index, "carol", self.wheel("spam", "3.0"))
            self.may_not(index, "alice", self.wheel("spam", "4.0"))
            audit = json.loads(
                command(index.config, "audit", "--json", "--action", "project set-owner")
            )
            found = {(each["user"], each["subject"]) for each in audit["entries"]}
            self.assertLessEqual({("alice", "spam"), ("carol", "ham")}, found)
