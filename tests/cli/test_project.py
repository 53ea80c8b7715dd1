"""The `project` command over a whole server: what `list` and `show` print."""

from __future__ import annotations

import json

from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic


class ProjectTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        for name, version in ("spam", "1.0"), ("spam", "2.0"), ("acme-billing", "1.0"):
            filename, data = wheel_filename(name, version), wheel(name, version)
            target = f"/packages/py3/{name[0]}/{name}/{filename}"
            self.assertEqual(self.pypid.ask("PUT", target, basic("alice"), body=data).status, 200)

    def test_list(self) -> None:
        """The names, one in each line; those of a pattern; as JSON."""
        self.assertEqual(self.prints("project list"), "acme-billing\nspam\n")
        self.assertEqual(self.prints("project list ACME-*"), "acme-billing\n")
        self.assertEqual(self.prints("project list nothing"), "")
        answer = json.loads(self.prints("project list s* --json"))
        self.assertEqual(answer, {"projects": ["spam"]})

    def test_show(self) -> None:
        """The status, and each file with its version, its size and its uploader; what is yanked has
        its reason.
        """
        self.prints("project yank spam 1.0 --reason", "breaks it")
        self.prints("project set-status spam deprecated --reason", "use ham")
        out = self.prints("project show Spam")
        first, *lines = out.splitlines()
        self.assertEqual(first, "spam: deprecated (use ham), 2 releases, 2 files")
        self.assertRegex(
            lines[1], r"^1\.0 +spam-1\.0-\S+\.whl +\d+ bytes +2026-\S+ \S+ +alice +breaks it$"
        )
        self.assertRegex(lines[2], r"^2\.0 +spam-2\.0-\S+\.whl +\d+ bytes +2026-\S+ \S+ +alice$")
        self.assertEqual(len(json.loads(self.prints("project show spam --json"))["files"]), 2)
        self.assertIn("no project", self.run_command("project show nowhere")[0])

    def test_named_index(self) -> None:
        """With --index the commands list and change a project of that index; inherited projects
        are listed only.
        """
        self.prints("index create staging")
        self.stage("ham", "1.0")
        self.assertEqual(self.prints("project list"), "acme-billing\nspam\n")
        self.assertEqual(self.prints("project list --index staging"), "acme-billing\nham\nspam\n")
        self.assertIn("no project", self.run_command("project show ham")[0])
        self.prints("project yank ham 1.0 --index staging")
        self.assertRegex(self.prints("project show ham --index staging"), "yes\n$")
        self.prints("project unyank ham 1.0 --index staging")
        self.assertNotRegex(self.prints("project show ham --index staging"), "yes\n$")
        self.assertIn(
            "no project", self.run_command("project delete spam --yes --index staging")[0]
        )
        self.prints("project delete ham --yes --index staging")
        self.prints("project unreserve ham --index staging")
        self.assertIn("no project", self.run_command("project show ham --index staging")[0])
        self.assertIn("2 files", self.prints("project show spam --index default"))
        self.assertIn("no index", self.run_command("project list --index stagin")[0])
