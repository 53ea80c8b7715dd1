"""The README's quick start and the tutorials, carried out as they are written: each command, in
order, and each check.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import ROOT
from tests.live.daemon import Settings, pypid
from tests.live.isolation import environ
from tests.live.processes import BIN, copy_source, free_port, scratch
from tests.live.projects import publish, wheel
from tests.live.tutorials import Block, follow


class TutorialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.enterContext(scratch())
        self.checkout = copy_source(self.folder / "checkout")
        (self.checkout / ".venv").mkdir()
        (self.checkout / ".venv/bin").symlink_to(BIN)
        (self.checkout / ".venv/run-all.stamp").touch()  # all is installed there
        (self.folder / "upstream").mkdir()
        upstream = self.enterContext(pypid(self.folder / "upstream", Settings()))
        publish(upstream, wheel("iniconfig", "2.0.0"))
        self.upstream = upstream.url()

    def follow(self, name: str) -> list[Block]:
        """Do what the page says, on a machine whose public index is the upstream of this test."""
        port = free_port()
        variables = environ(
            self.folder / "home",
            PYPID_SERVER_LISTEN=f"tcp:{port}:interface=127.0.0.1",
            PYPID_UPSTREAM_URL=self.upstream,
            PYPID_UPSTREAM_COOLDOWN="0",
            PYPID_ADVISORIES_SOURCE="",
        )
        return follow(ROOT / name, self.folder, self.checkout, variables, port)

    def check(self, name: str, at_least: int = 11) -> None:
        blocks = self.follow(name)
        kinds = [block.kind for block in blocks]
        unchecked = [
            block.line
            for block, following in zip(blocks, [*kinds[1:], "sh"], strict=True)
            if block.kind == "sh" and following == "sh"
        ]
        self.assertLessEqual(len(unchecked), 1, f"commands without a check: lines {unchecked}")
        self.assertGreaterEqual(len(kinds), at_least)

    def test_readme(self) -> None:
        """The quick start of the README: every command works in an empty folder."""
        self.check("README.rst", 3)

    def test_tutorial(self) -> None:
        """From nothing to an install of a published and of a public package."""
        self.check("docs/start/tutorial.rst")

    def test_two_teams(self) -> None:
        """Two teams with rights, tokens and one cache."""
        self.check("docs/start/two-teams.rst")

    def test_team_indexes(self) -> None:
        """Two teams with an index each, by two lines of configuration for a team."""
        self.check("docs/start/team-indexes.rst")
