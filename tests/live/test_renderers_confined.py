"""What the child cannot do, tried in a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

BEGIN = """
import os, socket, subprocess, sys, time
from pypid.rendering.confinement import compute_for, confine
confine()
from pypid.rendering.render import render
from pypid.rendering.readmes import MarkupKind
"""


class ConfinedTests(SynchronousTestCase):
    """A process that has confined itself."""

    def run_in(self, code: str) -> tuple[int, str, str]:
        """Its status, and what it said."""
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def test_refused(self) -> None:
        """It opens no file but programs, writes none, and starts and connects to nothing."""
        secret = Path(self.mktemp()).absolute()
        secret.write_text("hunter2")
        codes = (
            f"open({str(secret)!r})",
            f"os.open({str(secret)!r}, os.O_RDONLY)",
            "open('/etc/passwd')",
            "open(os.open.__module__ + '.py', 'w')",
            f"open({str(secret) + '.py'!r}, 'a')",
            (
                "import docutils; open(os.path.dirname(docutils.__file__) + "
                "'/../../../../../../../../../etc/passwd')"
            ),
            "socket.create_connection(('127.0.0.1', 9))",
            "subprocess.run(['/bin/true'])",
            "os.system('true')",
            "os.fork()",
            "os.execv('/bin/true', ['true'])",
            f"os.remove({str(secret)!r})",
            f"os.rename({str(secret)!r}, 'x')",
        )
        status, said, wrong = self.run_in(
            f"for code in {codes!r}:\n    try: exec(code)\n    except BaseException as e: print(e)"
        )
        self.assertEqual((status, wrong), (0, ""))
        answers = said.splitlines()
        self.assertEqual(len(answers), len(codes), said)
        for code, answer in zip(codes, answers, strict=True):
            self.assertTrue(answer.startswith("a README wants "), (code, answer))
        self.assertEqual(secret.read_text(), "hunter2")

    def test_memory(self) -> None:
        """It gets half a gigabyte."""
        status, said, _ = self.run_in(
            "x = bytearray(100 << 20); print('small', flush=True); y = bytearray(600 << 20)"
        )
        self.assertEqual((status, said), (1, "small\n"))

    def test_time(self) -> None:
        """What computes for too long is ended, also if nobody looks."""
        status, said, _ = self.run_in(
            "compute_for(0); print('begun', flush=True)\nwhile True: pass"
        )
        self.assertEqual((status, said), (-24, "begun\n"))

    def test_renders(self) -> None:
        """It can do what it is there for, in any language of code."""
        languages = ("python", "rust", "html", "console", "diff", "yaml", "c++", "nonsense")
        code = "\n".join(f"```{name}\n<x> = 'y' + 1\n```\n" for name in languages)
        status, said, wrong = self.run_in(
            f"print(render({code!r}, MarkupKind.GFM).html); print(render('*x*', MarkupKind.RST).html)"
        )
        self.assertEqual((status, wrong), (0, ""))
        self.assertEqual(said.count("<pre>"), len(languages))
        self.assertIn("<em>x</em>", said)

    def test_readme_with_images_renders_in_the_confined_process(self) -> None:
        """Images, badges and every directive that looks at a file name need no file
        of the machine.
        """
        parts = {
            "badge": ".. image:: https://example.org/badge.svg\n   :target: https://example.org/\n",
            "figure": ".. figure:: shot.png\n\n   A caption\n",
            "substitution": "|x|\n\n.. |x| image:: x.unknown-type\n",
            "table": "==  ==\na   b\n==  ==\n1   2\n==  ==\n",
            "code": ".. code-block:: python\n\n   x = 1\n",
            "math": ".. math:: a^2\n",
            "languages": ".. code:: toml\n\n   x = 1\n\n.. highlights:: x\n\n.. contents::\n",
        }
        code = f"for name, text in {parts!r}.items(): print(name, render(text, MarkupKind.RST))"
        status, said, wrong = self.run_in(code)
        self.assertEqual((status, wrong), (0, ""))
        for line in said.splitlines():
            self.assertNotIn("html=None", line)
            self.assertIn("error=None", line)
        self.assertEqual(
            [line.split()[0] for line in said.splitlines() if line.startswith(tuple(parts))],
            [*parts],
        )
