"""The `collect` command: its requests, its progress, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pypid.daemon.control import ControlRequest
from tests.cli.commands import RecordedCase


class CollectTests(RecordedCase):
    FILE = {  # noqa: RUF012
        "filename": "a-1.whl",
        "outcome": "kept",
        "needs_build": False,
        "reason": "",
        "done": 1,
        "of": 2,
    }

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.whole: dict[str, Any] = {
            "files": [
                self.FILE,
                {**self.FILE, "filename": "b.tar.gz", "outcome": "had", "needs_build": True},
            ],
            "problems": [],
            "ignored": [],
            "unparseable": [],
            "failed": [],
            "complete": True,
        }
        self.answer = self.whole

    def ask(self, file: Path, question: ControlRequest) -> Any:
        assert question.tell is not None
        question.tell({"platform": "linux", "python": "3.12", "seconds": 12.0})
        question.tell({"platform": "linux", "python": "3.12", "releases": 2})
        question.tell(self.FILE)
        return super().ask(file, question)

    def file(self, name: str, text: str = "") -> str:
        path = self.folder / name
        path.write_text(text or name)
        return str(path)

    def test_told(self) -> None:
        """Without a terminal each step is a line on standard error; the files and the sum are on
        standard output.
        """
        status, out, err = self.run_command("cache", "fetch", "-r", self.file("r.txt"))
        self.assertEqual(status, None)
        self.assertEqual(
            out,
            "kept    a-1.whl\nhad     b.tar.gz (needs a build)\n"
            "Files: 1 cached now, 1 cached before. Incomplete requirements: 0.\n",
        )
        lines = [
            "resolving (12 s)",
            "needs 2 releases",
            "1 of 2: kept a-1.whl",
        ]
        self.assertEqual(
            [line.removeprefix("Python 3.12 on linux: ") for line in err.splitlines()], lines
        )

    def test_incomplete(self) -> None:
        """What was not collected is told with the reason and for whom, and is status 1."""
        targets = [{"platform": "linux", "python": "3.12"}]
        self.answer = {
            **self.whole,
            "complete": False,
            "failed": ["nope"],
            "problems": [{"line": "nope", "reason": "is not there", "targets": targets}],
            "ignored": [{"line": "-i x", "reason": "not here"}],
        }
        status, out, _ = self.run_command("cache", "fetch", "-r", self.file("r.txt"))
        self.assertEqual(status, 1)
        self.assertIn("not cached: nope\n    is not there\n    (for Python 3.12 on linux)\n", out)
        self.assertIn("ignored: -i x\n    not here\n", out)
        status, out, err = self.run_command("cache", "fetch", "-r", self.file("r.txt"), "--json")
        self.assertEqual((status, json.loads(out), err), (1, self.answer, ""))

    def test_unreadable(self) -> None:
        """A file that cannot be read, or is no text, is told; without a file the command line is
        wrong.
        """
        (self.folder / "x").write_bytes(b"\xff\xfe\x00")
        for file, words in (
            (str(self.folder / "none"), "cannot be read"),
            (str(self.folder / "x"), "not text in UTF-8"),
        ):
            status, _, _ = self.run_command("cache", "fetch", "-r", file)
            self.assertIn(words, status)
        self.assertEqual(self.run_command("cache", "fetch")[0], 2)
        self.assertEqual(self.asked, [])
