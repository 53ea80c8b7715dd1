"""The names of pypicloud's commands: what each calls, and what those say that there
is nothing for.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid import cli
from pypid.access.passwords import PasswordVerdict, verify
from pypid.cli import pypicloud


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

    def test_dumps(self) -> None:
        """Importing leads to `pypid user import`, with the file if there is one."""
        self.assertEqual(
            self.called(pypicloud.import_, "c.ini", "-i", "x.gz"),
            ["user", "import", "--config", "c.ini", "-i", "x.gz"],
        )

    def test_refused(self) -> None:
        """What has no counterpart ends with the reason, and with a failure."""
        for script in (pypicloud.create_s3_sync, pypicloud.build_lambda_bundle):
            code, _, _ = self.run_script(script)
            self.assertIn("pypid storage rebuild", code)
        self.assertIn("pypid backup", self.run_script(pypicloud.export)[0])
