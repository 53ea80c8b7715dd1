"""What a kind of the gauntlet tried, and what failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from attrs import define, field

FULL: Final = os.environ.get("GAUNTLET") == "full"
"""Whether everything is tried, or the short form that is part of ``make live``."""
_RESULTS: Final = os.environ.get("GAUNTLET_RESULTS")
EVERY: Final = 10
"""Trials after which the counts are written down, so that a kind that is cut off has some."""


@define
class Tally:
    """Counts the trials of one kind; a failed trial does not end the others."""

    kind: str
    trials: int = 0
    failures: list[str] = field(factory=list)

    def trial(self, name: str, *problems: str) -> None:
        """Count one trial, which failed if there are problems."""
        self.trials += 1
        self.failures += [f"{name}: {problem}" for problem in problems]
        if _RESULTS and not self.trials % EVERY:
            self._write()

    def close(self) -> None:
        """Write the counts down for the table. Raises `AssertionError` if there were failures, or
        no trials at all.
        """
        if _RESULTS:
            self._write()
        assert self.trials, f"{self.kind}: nothing was tried"
        assert not self.failures, (
            f"{self.kind}: {len(self.failures)} failures in {self.trials} trials\n"
            + "\n".join(self.failures[:50])
        )

    def _write(self) -> None:
        """Write the counts of now as the last line, for a reader that may come before the end."""
        counts = {"kind": self.kind, "trials": self.trials, "failures": self.failures}
        with Path(_RESULTS or "").open("a") as results:
            results.write(json.dumps(counts) + "\n")


def sampled(number: int, most: int) -> list[int]:
    """The numbers from 1 to `number`; in the short form at most so many of them, evenly spread."""
    if FULL or number <= most:
        return list(range(1, number + 1))
    return sorted({1 + int((index + 0.5) * number / most) for index in range(most)})
