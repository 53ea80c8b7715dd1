"""A new upstream project waits for approval: what pip and uv really print, and what they install
after the approval.
"""

from __future__ import annotations

from pathlib import Path

from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import scratch
from tests.live.projects import publish, wheel
from tests.live.test_cache import CacheCase
from tests.live.test_install import NEWEST, installed


class ApprovalTests(CacheCase):
    """Another pypid is the upstream index."""

    lines = "mode = cache\nnew_projects = ask"

    def clients(self) -> dict[str, list[str | Path]]:
        """The beginnings of commands."""
        url = self.index.url()
        return {"pip": pip(NEWEST, "install", url), "uv": uv(url, "--no-cache")}

    def test_waits_until_it_is_approved(self) -> None:
        """Both clients print that the project waits; after the approval of a range they install the
        newest release in it. A quarantine stops them again, with the reason (C122).
        """
        publish(self.theirs, wheel("bee", "1.0"), wheel("bee", "2.0"))
        reason = "waiting for approval: an administrator has to approve the project first"
        for name, command in self.clients().items():
            with scratch() as target:
                printed = fails([*command, "--target", target, "bee"], self.folder)
                self.assertIn(reason, printed, name)
        listed = self.pypid("approval", "list")
        self.assertRegex(listed, r"(?m)^bee +2 ")
        self.assertIn("1 project waiting for approval", listed)
        wanted = self.folder / "requirements.txt"
        wanted.write_text("bee\n")
        printed = fails(self.command("cache", "fetch", "-r", wanted), self.folder)
        self.assertIn(reason, printed)
        self.assertEqual(self.kept(), [])
        self.pypid("approval", "approve", "bee<2")
        for name, command in self.clients().items():
            with scratch() as target:
                works([*command, "--target", target, "bee"], self.folder)
                self.assertEqual(installed(target), {"bee-1.0"}, name)
                printed = fails([*command, "--target", target, "bee==2.0"], self.folder)
                self.assertIn("2.0", printed, name)
        self.pypid("project", "set-status", "bee", "quarantined", "--reason", "stolen account")
        for name, command in self.clients().items():
            with scratch() as target:
                fails([*command, "--target", target, "bee"], self.folder)
                self.assertEqual(installed(target), set(), name)
