"""Processes that tests start end with the test, however that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.children import with_us
from tests.live.processes import ROOT, clean_environ, scratch

STARTS = """
import pathlib, sys, time
from tests.live.processes import running
log = pathlib.Path(sys.argv[1])
with running([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"], log) as started:
    while "up" not in log.read_text():  # its end is bound to ours only now
        time.sleep(0.02)
    print(started.process.pid, flush=True)
    time.sleep(60)
"""


class KilledTests(SynchronousTestCase):
    """Tests that are killed."""

    def test_killed_test_takes_its_daemon_with_it(self) -> None:
        """A process that a test started ends when the process of the test is killed."""
        if not with_us():
            raise SkipTest("setpriv: not on this machine (apt install util-linux)")
        with scratch() as folder:
            command = [*with_us(), sys.executable, "-c", STARTS, str(folder / "log")]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=clean_environ()
            ) as test:
                assert test.stdout is not None
                daemon = int(test.stdout.readline())
                test.send_signal(signal.SIGKILL)
            deadline = time.monotonic() + 10
            while runs(daemon):
                self.assertLess(time.monotonic(), deadline, "the daemon outlives its test")
                time.sleep(0.02)


def runs(pid: int) -> bool:
    """Return whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
