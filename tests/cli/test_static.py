"""pypid static, as it is called."""

import gc
import io
import json
import os
import pty
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid import cli

PYPID = Path(sys.executable).with_name("pypid")
URL = ("--packages-url", "../../pool/")


class StaticTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def static(self, *words: str, said: str = "", to: str = "out") -> tuple[int, str]:
        """Exit status and standard error; nothing is ever said on standard output."""
        self.addCleanup(gc.enable)  # what ends with its process need not be swept
        given, out, err = io.TextIOWrapper(io.BytesIO(said.encode())), io.StringIO(), io.StringIO()
        patched = [
            self.patch(sys, name, stream)
            for name, stream in (("stdin", given), ("stdout", out), ("stderr", err))
        ]
        with chdir(self.folder), self.assertRaises(SystemExit) as ended:
            cli.main(["static", *words, *URL, "--output-dir", to])
        for patch in patched:
            patch.restore()
        self.assertEqual(out.getvalue(), "")
        code = ended.exception.code
        if isinstance(code, str):  # Python prints it, and ends with 1
            return 1, f"{err.getvalue()}{code}\n"
        return int(code or 0), err.getvalue()

    def page(self, path: str) -> str:
        return (self.folder / "out" / path).read_text()

    def test_silent(self) -> None:
        """Where all goes well it is silent, for programs that mail what they are told."""
        (self.folder / "files.txt").write_text("spam-1.0.tar.gz\n")
        self.assertEqual(self.static("--package-list", "files.txt"), (0, ""))
        self.assertIn('href="../../pool/spam-1.0.tar.gz"', self.page("simple/spam/index.html"))

    def test_standard_input(self) -> None:
        """- is standard input."""
        self.assertEqual(
            self.static("--package-list-json", "-", said='{"filename": "spam-1.0.tar.gz"}\n'),
            (0, ""),
        )
        self.assertEqual(json.loads(self.page("packages.json")), {"filename": "spam-1.0.tar.gz"})

    def test_left_out(self) -> None:
        """Files that are left out are said with their lines, the rest is written, and the exit
        status is 0.
        """
        status, said = self.static("--package-list", "-", said="spam-1.0.tar.gz\n../x\n")
        self.assertEqual(status, 0)
        self.assertIn("pypid: line 2: '../x' is not a valid distribution file name", said)
        self.assertIn("pypid: 1 project. Pages: 10 written, 0 unchanged. Lines left out: 1.", said)

    def test_strict(self) -> None:
        """With --strict nothing is written then."""
        status, said = self.static(
            "--package-list", "-", "--strict", said="spam-1.0.tar.gz\n../x\n"
        )
        self.assertEqual(status, 1)
        self.assertIn("1 file would be left out, which --strict forbids; nothing was written", said)
        self.assertFalse((self.folder / "out").exists())

    def test_refused(self) -> None:
        """A list that is none is refused, and nothing is written."""
        status, said = self.static(
            "--package-list-json", "-", said='{"filename": "spam-1.0.tar.gz"}\n{"filena'
        )
        self.assertEqual(status, 1)
        self.assertIn("standard input is no list of files; nothing was written:\n  line 2:", said)
        self.assertFalse((self.folder / "out").exists())

    def test_no_file(self) -> None:
        """A list that is not there, and a place that cannot be written to, are said."""
        self.assertEqual(
            self.static("--package-list", "no"),
            (1, "pypid: no cannot be read: No such file or directory\n"),
        )
        (self.folder / "file").touch()
        status, said = self.static("--package-list", "-", said="spam-1.0.tar.gz", to="file")
        self.assertEqual((status, said.endswith("/file: File exists\n")), (1, True))

    def test_previous(self) -> None:
        """DIR/packages.json is the list to compare with the next time; a project that is gone is
        said.
        """
        self.static("--package-list", "-", said="spam-1.0.tar.gz\neggs-1.0.tar.gz\n")
        before = (self.folder / "out/simple/spam/index.html").stat()
        previous = ("--previous-package-list-json", "out/packages.json")
        status, said = self.static("--package-list", "-", *previous, said="spam-1.0.tar.gz\n")
        self.assertEqual(
            (status, said.startswith("pypid: 1 project no longer in the list")), (0, True)
        )
        self.assertEqual((self.folder / "out/simple/spam/index.html").stat(), before)
        self.assertTrue((self.folder / "out/simple/eggs").exists())
        self.assertEqual(
            self.static("--package-list", "-", "--delete", said="spam-1.0.tar.gz\n"), (0, "")
        )
        self.assertFalse((self.folder / "out/simple/eggs").exists())

    def test_never_all(self) -> None:
        """A list without files, of a pipe that failed for example, never deletes everything."""
        self.static("--package-list", "-", said="spam-1.0.tar.gz\n")
        status, said = self.static("--package-list", "-", "--delete")
        self.assertEqual(status, 1)
        self.assertIn("the list is empty, and --delete would delete every page", said)
        self.assertTrue((self.folder / "out/simple/spam/index.html").exists())

    def test_reproducible(self) -> None:
        """With --no-generate-timestamp two runs make the same bytes; without, only the first page
        says when it was made.
        """
        for to in ("a", "b"):
            self.static(
                "--package-list", "-", "--no-generate-timestamp", said="spam-1.0.tar.gz\n", to=to
            )
        done = subprocess.run(
            ["diff", "-r", "a", "b"], cwd=self.folder, capture_output=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.static("--package-list", "-", said="spam-1.0.tar.gz\n")
        self.assertIn("Generated on ", self.page("index.html"))

    def test_all_options(self) -> None:
        """All options of dumb-pypi are taken."""
        (self.folder / "before").touch()
        words = (
            "--title",
            "T",
            "--logo",
            "l",
            "--logo-width",
            "3",
            "--no-generate-timestamp",
            "--no-per-release-json",
        )
        given = ("--package-list", "-", "--previous-package-list", "before", *words)
        self.assertEqual(self.static(*given, said="spam-1.0.tar.gz\n"), (0, ""))
        self.assertFalse((self.folder / "out/pypi/spam/1.0").exists())

    def test_wrong_words(self) -> None:
        """One list is wanted, and no more than one."""
        self.assertEqual(self.static()[0], 2)
        self.assertEqual(self.static("--package-list", "-", "--package-list-json", "-")[0], 2)

    def test_bar(self) -> None:
        """On a terminal it shows how far it is, and says at the end what it did."""
        ours, its = pty.openpty()
        command = [
            PYPID,
            "static",
            "--package-list",
            "-",
            *URL,
            "--output-dir",
            self.folder / "out",
        ]
        subprocess.run(command, input=b"spam-1.0.tar.gz\n", stderr=its, check=True)
        os.close(its)
        with open(ours, "rb", buffering=0) as terminal:
            said = terminal.read(4096).decode()
        self.assertIn("[##############################] 1 of 1 projects written", said)
        self.assertTrue(
            said.endswith(
                "pypid: 1 project. Pages: 10 written, 0 unchanged. Lines left out: 0.\r\n"
            ),
            said,
        )

    def test_needs_nothing(self) -> None:
        """It imports neither Twisted nor what a server needs."""
        code = (
            "import sys; from pypid import cli\n"
            "try: cli.main(['static', '--package-list', '/dev/null', '--packages-url', 'x', "
            "'--output-dir', 'out'])\n"
            "except SystemExit: pass\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('twisted', 'klein', "
            "'treq', 'sqlalchemy', 'zope')])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout, "[]\n")

    def test_json(self) -> None:
        """With --json the summary is on standard output, for programs."""
        done = subprocess.run(
            [PYPID, "static", "--package-list", "-", *URL, "--output-dir", "out", "--json"],
            input="spam-1.0.tar.gz\n../x\n",
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout)
        self.assertEqual((answer["projects"], answer["left_out"], answer["gone"]), (1, 1, 0))
