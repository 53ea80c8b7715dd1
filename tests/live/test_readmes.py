"""A pypid that shows a README: the process that renders it is there from then on, and not after
pypid.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests import distributions as made
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid, scratch
from tests.live.projects import call, publish, wheel

README = made.metadata(
    extra=[("Description-Content-Type", "text/markdown; charset=UTF-8")],
    description="# Lovely *spam*\n\n![eggs](https://tracker.example/eggs.png) <script>alert(1)</script>\n",
)


def renderers(of: int) -> list[int]:
    """The processes that render READMEs, of this one or of its children."""
    found = []
    for each in _children(of):
        if b"pypid.rendering.program" in Path(f"/proc/{each}/cmdline").read_bytes():
            found.append(each)
        found += renderers(each)
    return found


def _children(of: int) -> Iterator[int]:
    for task in Path(f"/proc/{of}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


class ReadmeTests(IndexTestCase):
    """One of its own, which is ended in different ways."""

    def start(self) -> LiveIndex:
        return self.entered(pypid(self.entered(scratch()), Settings()))

    def shown(self) -> list[int]:
        """The processes that render, when a README was looked at."""
        publish(self.index, wheel("spam", metadata_bytes=README))
        pid = self.index.running.process.pid
        self.assertEqual(renderers(pid), [], "a start, and a publish, need none")
        page = call(self.index, "GET", "/project/spam/", accept="text/html").decode()
        self.assertIn("Lovely <em>spam</em></h3>", page)
        self.assertIn('<a class="readme-image" href="https://tracker.example/eggs.png"', page)
        self.assertIn("&lt;script&gt;alert(1)", page)
        return renderers(pid)

    def until_gone(self, pid: int) -> None:
        """Within some seconds."""
        for _ in range(200):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        self.fail(f"{pid} is still there")

    def test_stopped(self) -> None:
        """It is one process, which ends when pypid is stopped; a second look, and a download, need
        no other.
        """
        [pid] = self.shown()
        self.assertEqual(self.shown_again(), [pid])
        filename = made.wheel_filename(tag="py2.py3-none-any")
        for _ in range(3):
            call(self.index, "GET", f"/packages/spam/{filename}")
        counted = json.loads(call(self.index, "GET", "/api/projects/spam/downloads?days=2"))
        self.assertEqual((counted["total"], sum(day["count"] for day in counted["days"])), (3, 3))
        self.assertEqual(self.index.running.stop(signal.SIGTERM), 0)
        self.until_gone(pid)

    def shown_again(self) -> list[int]:
        """The processes after another look."""
        call(self.index, "GET", "/project/spam/", accept="text/html")
        return renderers(self.index.running.process.pid)

    def test_killed(self) -> None:
        """Where somebody kills it, the next README has another one."""
        [pid] = self.shown()
        os.kill(pid, signal.SIGKILL)
        self.until_gone(pid)
        publish(
            self.index, wheel("eggs", metadata_bytes=README.replace(b"Name: spam", b"Name: eggs"))
        )
        self.assertIn(
            "Lovely <em>spam</em></h3>",
            call(self.index, "GET", "/project/eggs/", accept="text/html").decode(),
        )
        self.assertNotEqual(renderers(self.index.running.process.pid), [pid])
