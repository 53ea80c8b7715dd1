"""Pages that processes write: the same bytes, and what happens when a process ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pypid.core.cooldown import BEGINNING
from pypid.core.model import Project
from pypid.core.packaging.names import project_name
from pypid.export import folder, page_processes
from pypid.export.folder import FolderPlace
from pypid.export.options import ExportOptions
from pypid.export.page_frames import Task, encoded_batch
from pypid.export.page_processes import PageProcess
from pypid.export.pages import ShownProject
from pypid.flow import start
from pypid.static.processes import Died
from tests.export.test_one_pass import ServedCase
from tests.export.test_publish import PublishingCase


class ProcessesTests(ServedCase):
    """An export by processes."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(folder, "WORTH_PROCESSES", 1)
        self.patch(page_processes, "how_many", lambda: 2)
        self.begun: list[PageProcess] = []
        begin = PageProcess.begin

        def noted(task: Task) -> PageProcess:
            self.begun.append(begin(task))
            return self.begun[-1]

        self.patch(PageProcess, "begin", noted)

    def failed(self, error: type[Exception], **wishes: Any) -> str:
        """The export fails with the error, and leaves no process; its text."""
        failure = self.failureResultOf(start(self.writing(**wishes)), error)
        self.assertNotIn(None, [each.process.poll() for each in self.begun])
        return str(failure.value)

    def test_same_bytes(self) -> None:
        """The tree is what pypid's own threads write, and the server answers; a second export
        writes nothing. All processes have ended then.
        """
        outcome = self.write()
        self.assertEqual(len(self.begun), 2)
        self.assertEqual(self.same(), ["a-b-c", "empty", "ham", "json", "spam", "sure", "x"])
        tree = self.tree()
        again = self.write(verifies=True)
        self.assertEqual((again.counts.written, again.counts.same), (0, outcome.counts.written))
        self.assertEqual([each.process.poll() for each in self.begun], [0] * 4)
        self.patch(folder, "WORTH_PROCESSES", 1000)
        self.folder = Path(self.mktemp()).absolute()
        self.write()
        self.assertEqual(len(self.begun), 4)
        self.assertEqual(self.tree(), tree)

    def test_stale_pages(self) -> None:
        """Pages of a deleted release are removed."""
        self.write()
        self.assertIn("pypi/spam/1.0/json", self.tree())
        name = project_name("spam")
        self.have(self.pypid.index.delete(name, ["spam-1.0-py3-none-any.whl"], "alice"))
        self.write(clears=True)
        self.assertNotIn("pypi/spam/1.0/json", self.tree())
        self.same()

    def test_not_writable(self) -> None:
        """An error of the file system is the one that the process got, with its path."""
        self.write()
        where = self.folder / "pypi/spam/json"
        where.unlink()
        (where / "own").mkdir(parents=True)
        self.assertIn(
            f"Is a directory: '{where.parent}", self.failed(IsADirectoryError, verifies=True)
        )

    def test_ended(self) -> None:
        """A process that ends by itself fails the export, which says so."""
        self.patch(page_processes, "PROGRAM", (sys.executable, "-c", "raise SystemExit(3)"))
        self.assertIn("was ended with status 3", self.failed(Died))
        self.flushLoggedErrors()

    def test_killed(self) -> None:
        """So does one that is killed, for instance when memory is short. The next export works."""
        begin = PageProcess.begin

        def killed(task: Task) -> PageProcess:
            begun = begin(task)
            begun.process.send_signal(signal.SIGKILL)
            return begun

        with patch.object(PageProcess, "begin", killed):
            self.assertIn("was ended by signal 9", self.failed(Died))
        self.write()
        self.same()


class OrphanTests(ServedCase):
    """A process whose pypid has ended."""

    def test_writes_nothing(self) -> None:
        """It writes no page any more: the next pypid may be writing there."""
        self.folder.mkdir()
        shown = [ShownProject(Project(name=project_name("empty")))]
        for parent in (os.getpid() + 1, os.getpid()):
            self.assertEqual(self.tree(), {})
            task = Task(str(self.folder), ExportOptions(releases=False), parent)
            begun = PageProcess.begin(task)
            self.addCleanup(begun.end)
            if parent == os.getpid():
                begun.write(encoded_batch(shown, BEGINNING))
            else:
                self.assertRaises(Died, begun.write, encoded_batch(shown, BEGINNING))
        self.assertIn("simple/empty/index.html", self.tree())
        self.flushLoggedErrors()


class PublishedTests(PublishingCase):
    """`[publish]` by processes."""

    copies = False

    def test_kept(self) -> None:
        """What is published is in the folder; the processes end as soon as all is written."""
        self.patch(folder, "WORTH_PROCESSES", 2)
        for name in ("spam", "eggs"):
            self.have_wheel(name)
        self.soon()
        self.assertEqual(self.shown(), ["eggs", "spam"])
        self.assertIsInstance(self.place, FolderPlace)
        self.assertEqual(self.place.streams, 1)
