"""A client that cannot be installed is tried once in a run of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.live import clients
from tests.live.processes import ROOT, clean_environ, free_port, scratch

NPM = """#!/bin/sh
echo tried >>"$(dirname "$0")/tries"
echo "npm error code SELF_SIGNED_CERT_IN_CHAIN" >&2
exit 1
"""
ASKS_AGAIN = """
import pathlib, sys, unittest
from tests.live import clients
clients.CLIENTS = pathlib.Path(sys.argv[1])
try:
    clients.axe()
except unittest.SkipTest as reason:
    print(reason)
"""


class FailedInstallationTests(SynchronousTestCase):
    """One attempt in a run of the tests."""

    def setUp(self) -> None:
        manager = scratch()
        self.folder = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        self.patch(clients, "CLIENTS", self.folder / "clients")
        self.patch(clients, "in_ci", lambda: False)

    def test_failed_npm_package_is_tried_once_in_a_run(self) -> None:
        """What npm could not fetch is not asked for again in this run, by no process, and is tried
        again in the next run.
        """
        npm = self.folder / "npm"
        npm.write_text(NPM)
        npm.chmod(0o755)
        self.patch(os, "environ", {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"})
        for _ in range(3):
            self.assertIn("SELF_SIGNED_CERT", str(self.assertRaises(SkipTest, clients.axe)))
        command = [sys.executable, "-c", ASKS_AGAIN, str(clients.CLIENTS)]
        for run, tries in ((clients.RUN, 1), ("the next run", 2)):
            environ = {**clean_environ(), "PATH": os.environ["PATH"], "TEST_RUN": run, "CI": ""}
            ended = subprocess.run(
                command,
                cwd=ROOT,
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            self.assertIn("SELF_SIGNED_CERT", ended.stdout)
            self.assertEqual(len((self.folder / "tries").read_text().splitlines()), tries)

    def test_unreachable_registry_is_asked_once_in_a_run(self) -> None:
        """After a registry did not answer for one client, the others are not tried."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        closed = f"http://127.0.0.1:{free_port()}/simple"
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": closed, "PIP_RETRIES": "1"}
        self.patch(os, "environ", {**environ, **settings})
        python = Path(sys.executable)
        clients.CLIENTS.mkdir()
        first = self.assertRaises(
            clients.Unavailable, clients._with_pip, clients.CLIENTS / "one", python, ("nothing",)
        )
        self.assertIn("one cannot be installed", str(first))
        begun = time.monotonic()
        second = self.assertRaises(
            clients.Unavailable, clients._with_pip, clients.CLIENTS / "two", python, ("nothing",)
        )
        self.assertIn("the registry did not answer for one", str(second))
        self.assertLess(time.monotonic() - begun, 0.5)
