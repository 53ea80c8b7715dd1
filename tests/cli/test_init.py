"""The `init` command: the configuration that it writes, and what it leaves alone."""

from __future__ import annotations

import io
import os
import stat
import sys
from datetime import timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid import cli
from tests.support.configuration import parse


class InitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(mode=0o700)
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)
        self.patch(sys, "argv", ["pypid"])
        self.data = self.folder / "home/pypid"
        self.patch(os, "environ", {"XDG_DATA_HOME": str(self.data.parent), "PATH": "/nothing"})

    def init(self, *words: str) -> tuple[object, str]:
        """The exit status, or the text of an error, and the output."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        try:
            with self.assertRaises(SystemExit) as ended:
                cli.main(["init", *words])
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
        return ended.exception.code, out.getvalue()

    def test_file(self) -> None:
        """It writes the commented defaults, for their owner alone, and says how to start."""
        status, out = self.init()
        self.assertEqual(
            (status, out), (None, "pypid.ini was written. Start the index with: pypid serve\n")
        )
        file = Path("pypid.ini")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        embedded = Path(pypid.__file__).with_name("pypid.ini").read_text()
        self.assertEqual(file.read_text(), embedded)
        config = parse(embedded, filename="pypid.ini")
        self.assertEqual(config.upstream.cooldown.wait, timedelta(days=3))
        self.assertEqual(config.advisories.source, "osv")

    def test_never_over_a_file(self) -> None:
        """A file that exists is replaced with --force only; a link is never followed."""
        file = Path("pypid.ini")
        file.write_text("mine")
        status, _ = self.init()
        self.assertEqual(
            status, "pypid: pypid.ini exists; nothing was written. To replace it, use --force."
        )
        self.assertEqual(file.read_text(), "mine")
        self.init("--force")
        self.assertIn("[server]", file.read_text())
        Path("link.ini").symlink_to(self.folder / "target")
        for options in ((), ("--force",)):
            status, _ = self.init("link.ini", *options)
            self.assertIn("pypid: link.ini ", str(status))
        self.assertFalse((self.folder / "target").exists())

    def test_data_in_use(self) -> None:
        """Data that `pypid serve` without a file has stored stay the data of the index."""
        self.data.mkdir(parents=True)
        self.init()
        self.assertIsNone(parse(Path("pypid.ini").read_text(), filename="x").server.state)
        (self.data / "lock").touch()
        self.init("--force")
        found = parse(Path("pypid.ini").read_text(), filename="x").server.state
        self.assertEqual(found, str(self.data))
