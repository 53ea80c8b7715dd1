"""Steps of the wall clock in the middle of tests, as a kind of the gauntlet."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gauntlet.tally import FULL, Tally
from tests.live.processes import ROOT
from tests.stepped import dated

DAY: Final = 86400
STEPS: Final = (-DAY, -3600, DAY) if FULL else (-3600,)
MODULES: Final = ("tests.index", "tests.web", "tests.compat") if FULL else ("tests.index.upstream",)


class ClockTests(SynchronousTestCase):
    """The unit tests of the index and of the web, with a clock that is set."""

    def test_setting_the_clock_fails_only_tests_that_look_at_dates(self) -> None:
        """Each test is a trial; those in ``tests/stepped.txt`` look at dates."""
        tally, exempt = Tally("steps of the wall clock"), dated()
        for seconds in STEPS:
            command = [sys.executable, "-m", "tests.stepped", str(seconds), *MODULES]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            failed = [name for name in found["failed"] if name not in exempt]
            tally.trials += found["run"]
            tally.failures += [f"{seconds} s: {name}" for name in failed]
        tally.close()
