"""Completion in a real shell, and the scripts for the others."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.cli.completion import SHELLS, completion_script

WITHIN = 20.0
"""Seconds that a shell may take to start and to complete a line."""


class CompletionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def typed(self, keys: str, end: str) -> str:
        """Return what an interactive bash shows after these keys, until it shows `end`. `pypid` is
        a function that prints its arguments.
        """
        rc = self.folder / "bashrc"
        script = completion_script("bash")
        rc.write_text(f"{script}\npypid() {{ echo \"<${{*}}>\"; }}\nPS1='ready:'\n")
        terminal, slave = pty.openpty()
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--rcfile", rc, "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            cwd=self.folder,
            env={"PATH": os.defpath, "TERM": "dumb", "HOME": str(self.folder), "LC_ALL": "C"},
        )
        os.close(slave)
        try:
            shown = self.until(terminal, "ready:")
            os.write(terminal, keys.encode())
            return shown + self.until(terminal, end)
        finally:
            shell.kill()
            shell.wait()
            os.close(terminal)

    def until(self, terminal: int, end: str) -> str:
        """Return what the terminal shows until `end`."""
        shown, deadline = "", time.monotonic() + WITHIN
        while end not in shown:
            left = deadline - time.monotonic()
            self.assertGreater(left, 0, shown)
            if select.select([terminal], [], [], left)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
        return shown

    def test_bash(self) -> None:
        """Tab completes nouns, verbs and options."""
        shown = self.typed("pypid proj\tset-s\tspam --rea\twhy\n", "<")
        self.assertIn("pypid project set-status spam --reason why", shown)

    def test_shells(self) -> None:
        """Bash, and the other shells where they are installed, can parse their scripts."""
        for shell in SHELLS:
            script = completion_script(shell)
            self.assertIn("set-status", script)
            if shutil.which(shell):
                checked = subprocess.run([shell, "-n"], input=script.encode(), check=False)
                self.assertEqual(checked.returncode, 0)
