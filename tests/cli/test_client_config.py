"""The `client-config` command: what it prints, and the commands in it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.command_lines import problem_of, pypid_lines
from tests.cli.commands import RecordedCase


class ClientConfigTests(RecordedCase):
    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.ini = folder / "pypid.ini"
        self.ini.write_text("[server]\npublic_url = https://index.example\n")

    def printed(self, *words: str) -> str:
        """Standard output of the command."""
        status, out, _ = self.run_command("client-config", *words, "--config", str(self.ini))
        self.assertIsNone(status)
        return out

    def test_created_index(self) -> None:
        """The server is asked for an index that is not in the configuration, and whether all users
        may read it.
        """
        for read, expected in (("alice", True), ("everyone", False)):
            self.answer = {"values": {"read": read}}
            out = self.printed("pip.conf", "--index", "team-b")
            self.assertEqual(self.asked[-1].url, "/api/indexes/team-b")
            self.assertIn("/team-b/simple/", out)
            self.assertEqual("requires a login" in out, expected, out)

    def test_commands(self) -> None:
        """Each command of pypid in a file can be parsed."""
        comments = re.findall(r"^# +(pypid .*)$", self.printed(), re.MULTILINE)
        self.assertEqual(len(comments), 1)
        for words in pypid_lines("\n".join(comments)):
            self.assertIsNone(problem_of(words))
