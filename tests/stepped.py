"""Run tests whose wall clock is set in the middle of each: ``python -m tests.stepped SECONDS MODULE ...``.

Every world of `tests.support` has a wall clock of its own (`WallClock`). Here its `LOOK`-th look sets it forward by so many
seconds, or back. Timers and ages go by the monotonic clock, so that only tests that look at dates may fail; these are listed
in ``stepped.txt``. Prints one JSON line: the number of tests, and the ids of those that failed.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader, TrialRunner

from tests.support import worlds

LOOK: Final = 6
DATED: Final = Path(__file__).with_suffix(".txt")


class Stepping(worlds.WallClock):
    """A wall clock that is set once."""

    seconds = 0.0
    _looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        if self._looks == LOOK:
            self.step(self.seconds)
        return super().__call__()


class Failed(TestResult):
    """Collects the ids of failed tests."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__()

    def done(self) -> None:
        """Print them."""
        ids = {test.id() for test, _ in (*self.failures, *self.errors)}
        print("\n" + json.dumps({"run": self.testsRun, "failed": sorted(ids)}))


def dated() -> dict[str, str]:
    """Return the tests that look at dates, each with the reason: the heading above it."""
    found, reason = {}, ""
    for line in DATED.read_text().splitlines():
        if line.startswith("# "):
            reason = line.removeprefix("# ")
        elif line:
            found[line] = reason
    return found


def main(seconds: float, *modules: str) -> int:
    """Run the tests of these modules."""
    Stepping.seconds = seconds
    worlds.WallClock = Stepping  # type: ignore[misc]
    tests = TestLoader().loadByNames(list(modules), recurse=True)
    with TemporaryDirectory() as folder:
        TrialRunner(Failed, workingDirectory=f"{folder}/trial").run(tests)
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *sys.argv[2:]))
