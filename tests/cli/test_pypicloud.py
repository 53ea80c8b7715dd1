"""The names of pypicloud's commands: what each calls, and what those say that there
is nothing for.
"""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid import cli
from pypid.access.passwords import PasswordVerdict, verify
from pypid.cli import pypicloud
from pypid.core.configuration.parse import parse


class NamesCase(SynchronousTestCase):
    def run_script(
        self, script: Callable[[], None], *words: str, said: str = ""
    ) -> tuple[Any, str, str]:
        """Exit status (or its text), standard output and standard error of a console script."""
        out, err = io.StringIO(), io.StringIO()
        for name, stream in (("stdin", io.StringIO(said)), ("stdout", out), ("stderr", err)):
            self.patch(sys, name, stream)
        self.patch(sys, "argv", ["ppc", *words])
        code: Any = None
        try:
            script()
        except SystemExit as ended:
            code = ended.code
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
            self.patch(sys, "stderr", sys.__stderr__)
        return code, out.getvalue(), err.getvalue()

    def called(self, script: Callable[[], None], *words: str) -> list[str]:
        """The command line of ours that the script leads to."""
        lines: list[Any] = []
        self.patch(cli, "main", lines.append)
        self.run_script(script, *words)
        [line] = lines
        return list(line)


class NamesTests(NamesCase):
    def test_gen_password(self) -> None:
        """A password's hash is printed, which verifies; options of pypicloud's hashes are taken,
        and said to do nothing.
        """
        code, out, err = self.run_script(
            pypicloud.gen_password, "-i", "-s", "pbkdf2_sha512", "-r", "9", said="geheim\n"
        )
        self.assertIs(verify(out.strip(), "geheim"), PasswordVerdict.RIGHT)
        self.assertIn("argon2id", err)
        self.assertFalse(code)

    def test_make_config(self) -> None:
        """Our configuration is printed, and is a good one; OUTFILE is for its owner's eyes and
        never written over.
        """
        _, printed, _ = self.run_script(pypicloud.make_config, "-p")
        parse(printed, filename="pypid.ini")
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "config.ini"
        self.run_script(pypicloud.make_config, str(file))
        self.assertEqual((file.read_text(), stat.S_IMODE(file.stat().st_mode)), (printed, 0o600))
        file.write_text("mine")
        code, _, _ = self.run_script(pypicloud.make_config, str(file))
        self.assertIn("convert-config", code)
        self.assertEqual(file.read_text(), "mine")

    def test_dumps(self) -> None:
        """Export and import lead to `pypid acl`, with the file if there is one."""
        self.assertEqual(
            self.called(pypicloud.export, "c.ini"), ["acl", "export", "--config", "c.ini"]
        )
        self.assertEqual(
            self.called(pypicloud.import_, "c.ini", "-i", "x.gz"),
            ["acl", "import", "--config", "c.ini", "-i", "x.gz"],
        )

    def test_migrate(self) -> None:
        """Migrating leads to `pypid storage copy`."""
        self.assertEqual(
            self.called(pypicloud.migrate, "a.ini", "b.ini"), ["storage", "copy", "a.ini", "b.ini"]
        )

    def test_nothing_to_do(self) -> None:
        """No schema has to be created, and that is no failure."""
        code, _, err = self.run_script(pypicloud.create_schema)
        self.assertFalse(code)
        self.assertIn("no schema", err)

    def test_refused(self) -> None:
        """What has no counterpart ends with the reason, and with a failure."""
        for script in (pypicloud.create_s3_sync, pypicloud.build_lambda_bundle):
            code, _, _ = self.run_script(script)
            self.assertIn("pypid storage rebuild", code)
