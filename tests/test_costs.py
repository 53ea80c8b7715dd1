"""No text that a client sends costs more than linear time or memory: each parser is given its worst
inputs, in four sizes.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.costs import SLACK, memory_growth, time_growth
from tests.pathological import PARSERS


class CostTests(SynchronousTestCase):
    """The corpus is `tests.pathological`."""

    def test_time_grows_linearly(self) -> None:
        """Eight times the input takes about eight times the CPU time, whatever is in it."""
        for parser in PARSERS:
            for name, make in parser.inputs.items():
                grown, times = time_growth(make, parser.parse, parser.largest)
                shown = ", ".join(f"{each * 1000:.1f}" for each in times)
                self.assertLess(grown, SLACK, f"{parser.name}, {name!r}: {shown} ms")

    def test_memory_grows_linearly(self) -> None:
        """Eight times the input takes about eight times the memory, whatever is in it."""
        for parser in PARSERS:
            for name, make in parser.inputs.items():
                grown, peaks = memory_growth(make, parser.parse, parser.memory_largest)
                shown = ", ".join(f"{each >> 10}" for each in peaks)
                self.assertLess(grown, SLACK, f"{parser.name}, {name!r}: {shown} KiB")
