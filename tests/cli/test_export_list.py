"""pypid export of a list of files, as it is called."""

import gc
import io
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid import cli

URL = ("--packages-url", "../../pool/")


class ListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def export(self, *words: str, said: str = "", to: str = "out") -> tuple[int, str]:
        """Exit status, and what is printed."""
        self.addCleanup(gc.enable)  # what ends with its process need not be swept
        given, out, err = io.TextIOWrapper(io.BytesIO(said.encode())), io.StringIO(), io.StringIO()
        patched = [
            self.patch(sys, name, stream)
            for name, stream in (("stdin", given), ("stdout", out), ("stderr", err))
        ]
        with chdir(self.folder), self.assertRaises(SystemExit) as ended:
            cli.main(["export", *words, *URL, "--output-dir", to])
        for patch in patched:
            patch.restore()
        printed = out.getvalue() + err.getvalue()
        code = ended.exception.code
        if isinstance(code, str):  # Python prints it, and ends with 1
            return 1, f"{printed}{code}\n"
        return int(code or 0), printed

    def page(self, path: str) -> str:
        return (self.folder / "out" / path).read_text()

    def test_left_out(self) -> None:
        """Files that are left out are said with their lines, the rest is written, and the exit
        status is 0.
        """
        status, said = self.export("--package-list", "-", said="spam-1.0.tar.gz\n../x\n")
        self.assertEqual(status, 0)
        self.assertIn("pypid: line 2: '../x' is not a valid distribution file name", said)
        self.assertIn("1 line of the list left out.", said)

    def test_again(self) -> None:
        """A project that is gone is said, and goes with --delete."""
        self.export("--package-list", "-", said="spam-1.0.tar.gz\neggs-1.0.tar.gz\n")
        before = (self.folder / "out/simple/spam/index.html").stat()
        status, said = self.export("--package-list", "-", said="spam-1.0.tar.gz\n")
        self.assertEqual(status, 0)
        self.assertIn(
            "1 project no longer there; their pages stay (to delete them: --delete)", said
        )
        self.assertIn("1 project unchanged since the last export", said)
        self.assertEqual((self.folder / "out/simple/spam/index.html").stat(), before)
        self.assertTrue((self.folder / "out/simple/eggs").exists())
        self.export("--package-list", "-", "--delete", said="spam-1.0.tar.gz\n")
        self.assertFalse((self.folder / "out/simple/eggs").exists())

    def test_never_all(self) -> None:
        """A list without files, of a pipe that failed for example, never deletes everything."""
        self.export("--package-list", "-", said="spam-1.0.tar.gz\n")
        status, said = self.export("--package-list", "-", "--delete")
        self.assertEqual(status, 1)
        self.assertIn("the list is empty, and --delete would delete every page", said)
        self.assertTrue((self.folder / "out/simple/spam/index.html").exists())

    def test_reproducible(self) -> None:
        """With --no-generate-timestamp two runs make the same bytes; without, only the first page
        says when it was made.
        """
        for to in ("a", "b"):
            self.export(
                "--package-list", "-", "--no-generate-timestamp", said="spam-1.0.tar.gz\n", to=to
            )
        done = subprocess.run(
            ["diff", "-r", "-x", ".*", "a", "b"], cwd=self.folder, capture_output=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.export("--package-list", "-", said="spam-1.0.tar.gz\n")
        self.assertIn("Generated on ", self.page("index.html"))
