"""The `promote` command."""

from __future__ import annotations

import json

from tests.cli.commands import CommandCase
from tests.distributions import wheel_filename


class PromoteCommandTests(CommandCase):
    """Over a whole server and its control socket, with releases of two projects in staging."""

    def setUp(self) -> None:
        super().setUp()
        self.prints("index create staging", "write=alice")
        for name in ("spam", "eggs"):
            self.stage(name, "1.0")

    def test_promote(self) -> None:
        """It prints the files by project; a second time there is nothing to do."""
        releases = ("spam==1.0", "eggs==1.0", "--from", "staging")
        out = self.prints("promote", *releases, "--dry-run")
        self.assertIn("2 files of 2 projects would be promoted from staging to default", out)
        self.assertEqual(self.pypid.get("/simple/spam/").status, 404)
        out = self.prints("promote", *releases)
        self.assertIn(f"spam: {wheel_filename('spam')}", out)
        self.assertIn("2 files of 2 projects promoted from staging to default", out)
        self.assertEqual(self.pypid.get("/simple/eggs/").status, 200)
        self.assertIn(
            "lists all files of these releases already", self.prints("promote", *releases)
        )
        out = self.prints("promote --list")
        self.assertIn("eggs==1.0 spam==1.0", out)
        self.assertIn("1 promotion", out)
        self.assertRegex(out, r"staging +default +\S+ +done +eggs==1.0")
        self.assertIn("0 promotions", self.prints("promote --list --to staging"))
        self.assertEqual(out, self.prints("promote --list --to default"))
        document = json.loads(self.prints("promote --list --json"))
        self.assertEqual(document["promotions"][0]["source"], "staging")

    def test_missing_release(self) -> None:
        """The error names the index that does not have the project or the release."""
        for release, what in (
            ("ham==1.0", "no project 'ham' in the index 'staging'"),
            ("spam==2.0", "no file or release 'spam 2.0' in the index 'staging'"),
        ):
            status, _, _ = self.run_command("promote --from staging", "eggs==1.0", release)
            self.assertIn(what, str(status))
            is_project = release == "ham==1.0"
            self.assertEqual("pypid project why ham --index staging" in str(status), is_project)
        status, _, _ = self.run_command("promote spam==1.0 --from default --to staging")
        self.assertTrue(str(status).endswith("no project 'spam' in the index 'default'."), status)

    def test_mistakes(self) -> None:
        """What is wrong is named."""
        for words, text in (
            (("spam==1.0",), "--from INDEX"),
            (("--from", "staging"), "name the releases"),
            (("spam", "--from", "staging"), "NAME==VERSION"),
            (("spam==9", "--from", "staging"), "spam 9"),
            (("spam==1.0", "--from", "other"), "other"),
            (("spam==1.0", "--from", "staging", "--to", "staging"), "same index"),
            (("--list", "--from", "staging"), "--list takes only --to"),
            (("--list", "spam==1.0"), "--list takes only --to"),
        ):
            self.assertIn(text, self.refusal(*words), words)

    def refusal(self, *words: str) -> str:
        """What the command says that fails."""
        status, _, err = self.run_command("promote", *words)
        self.assertIsNotNone(status)
        return f"{status} {err}"
