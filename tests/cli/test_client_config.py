"""The `client-config` command: what it prints, and the commands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pypid.core.configuration.lookup import BUILT_IN
from pypid.core.presentation.client_files import FILES
from pypid.daemon.control import ControlRefused
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

    def test_named_index(self) -> None:
        """The files of a named index have its URLs and its name; accounts are at the root."""
        with self.ini.open("a") as ini:
            ini.write("[index:team-a]\nwrite = alice\n")
        whole = self.printed("--index", "team-a")
        self.assertIn("index-url = https://index.example/team-a/simple/", whole)
        self.assertIn("[team-a]\nrepository = https://index.example/team-a/legacy/", whole)
        self.assertIn('name = "team-a"\nurl = "https://index.example/team-a/simple/"', whole)
        self.assertIn("https://index.example/account/", whole)
        self.assertNotIn("https://index.example/team-a/account/", whole)

        self.assertEqual(self.asked, [])
        self.assertEqual(self.printed("--index", "default"), self.printed())

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

    def test_unknown_index(self) -> None:
        """There are no files for an index that does not exist. On a machine without a pypid, one at
        another URL is not checked.
        """
        self.answer = ControlRefused("There is no index 'nope'. You may read: team-a.", 404)
        words = ("client-config", "--index", "nope")
        status, out, _ = self.run_command(*words, "--config", str(self.ini))
        self.assertIn("no index 'nope'", str(status))
        self.assertEqual(out, "")
        self.assertIn("https://other.example/nope/simple/", self.without_configuration(*words))

    def without_configuration(self, *words: str) -> str:
        """Standard output with the built-in configuration."""
        elsewhere = ("--url", "https://other.example", "--config", BUILT_IN)
        status, out, _ = self.run_command(*words, *elsewhere)
        self.assertIsNone(status)
        return out

    def test_commands(self) -> None:
        """Each command of pypid in a file can be parsed."""
        comments = re.findall(r"^# +(pypid .*)$", self.printed(), re.MULTILINE)
        self.assertEqual(len(comments), 1)
        for words in pypid_lines("\n".join(comments)):
            self.assertIsNone(problem_of(words))
