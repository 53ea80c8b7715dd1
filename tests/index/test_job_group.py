"""Jobs that run at once: `pypid.index.job_group`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.flow import start
from pypid.index.job_group import Job, all_of


class TogetherTests(SynchronousTestCase):
    """`all_of`, and `Together` by it."""

    def setUp(self) -> None:
        self.gates: dict[int, Deferred[None]] = {}
        self.ended: list[int] = []

    def job(self, number: int) -> Job[int]:
        async def run() -> int:
            self.gates[number] = Deferred()
            try:
                await self.gates[number]
            finally:
                del self.gates[number]
                self.ended.append(number)
            return number * number

        return run

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.integers(1, 5), st.lists(st.integers(0, 4), max_size=12))
    def test_results(self, most: int, ending: list[int]) -> None:
        """In whatever order they end: never more than `most` run, and the results are in the order
        of the jobs.
        """
        self.gates, self.ended = {}, []
        done = start(all_of([self.job(number) for number in range(len(ending))], most))
        for which in ending:
            self.assertTrue(0 < len(self.gates) <= most)
            self.gates[sorted(self.gates)[which % len(self.gates)]].callback(None)
        self.assertEqual(
            self.successResultOf(done), [number * number for number in range(len(ending))]
        )

    def test_failure(self) -> None:
        """A failure is raised once the others were broken off, and nothing more begins."""
        done = start(all_of([self.job(number) for number in range(9)], 3))
        self.gates[1].errback(KeyError("one"))
        self.failureResultOf(done, KeyError)
        self.assertEqual((sorted(self.ended), self.gates), ([0, 1, 2], {}))

    def test_cancelled(self) -> None:
        """Whoever breaks it off breaks off all of it."""
        done = start(all_of([self.job(number) for number in range(9)], 3))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((sorted(self.ended), self.gates), ([0, 1, 2], {}))

    def test_at_once(self) -> None:
        """Jobs that wait for nothing take no turns."""

        async def nothing() -> None:
            return None

        self.assertEqual(self.successResultOf(start(all_of([nothing] * 5000, 2))), [None] * 5000)
