"""The `client-config` command: what it prints, and the commands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pypid.core.presentation.client_files import FILES
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

    def test_files(self) -> None:
        """Without a name all files are printed, with a name one, with --json an object of them."""
        whole = self.printed()
        for name in FILES:
            self.assertIn(f"# --- {name}\n{self.printed(name)}", whole)
        answer = json.loads(self.printed("--json"))
        self.assertEqual(answer, {name: self.printed(name) for name in FILES})
        one = json.loads(self.printed("pip.conf", "--json"))
        self.assertEqual(list(one), ["pip.conf"])
        status, _, _ = self.run_command("client-config", "ca.pem", "--config", str(self.ini))
        self.assertIn("certificate", status)

    def test_commands(self) -> None:
        """Each command of pypid in a file can be parsed."""
        comments = re.findall(r"^# +(pypid .*)$", self.printed(), re.MULTILINE)
        self.assertEqual(len(comments), 1)
        for words in pypid_lines("\n".join(comments)):
            self.assertIsNone(problem_of(words))
