"""Jobs that one of several nodes does for all."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.flow import start
from pypid.jobs.leases import HELD, RENEWED, Leases, Shared
from tests.support import world
from tests.support.engines import Place, PlacedEngine
from tests.support.worlds import Awaiting


class LeasesCase(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.place = Place()
        self.done: list[str] = []
        self.one, self.other = self.node("one"), self.node("other")

    def node(self, name: str) -> Shared:
        return Shared(PlacedEngine(self.clock, self.place), name, world(self.clock))

    async def job(self) -> None:
        self.done.append("done")

    def under_way(self, node: Shared, rest: float = 0.0) -> tuple[Deferred[bool], Deferred[None]]:
        """A job that goes on until the second of these is fired."""
        ends: Deferred[None] = Deferred()

        async def job() -> None:
            await ends
            self.done.append("done")

        return start(node.run("job", job, rest)), ends


class SharedTests(LeasesCase):
    def test_one_at_a_time(self) -> None:
        """While a node does a job no other one does it, however long it takes, nor the node itself
        once more.
        """
        running, ends = self.under_way(self.one)
        for _ in range(20):
            self.clock.advance(RENEWED)
            self.assertFalse(self.have(self.other.run("job", self.job)))
        self.assertFalse(self.have(self.one.run("job", self.job)))
        ends.callback(None)
        self.assertTrue(self.successResultOf(running))
        self.assertEqual(self.done, ["done"])

    def test_taken_over(self) -> None:
        """If a node stood still for longer than its lease, another one does the job."""
        still = Clock()
        one = Shared(PlacedEngine(self.clock, self.place), "one", world(still))
        running, ends = self.under_way(one)
        still.advance(RENEWED)
        self.clock.advance(HELD + 1)
        others, others_end = self.under_way(self.other)
        still.advance(RENEWED)
        ends.callback(None)
        self.successResultOf(running)
        self.assertFalse(self.have(one.run("job", self.job)))
        others_end.callback(None)
        self.successResultOf(others)
        self.assertTrue(self.have(one.run("job", self.job)))

    def test_died(self) -> None:
        """The lease of a node that died in the middle of a job ends by itself."""
        self.have(PlacedEngine(self.clock, self.place).lease("job", "dead", HELD))
        self.assertFalse(self.have(self.other.run("job", self.job)))
        self.clock.advance(HELD + 1)
        self.assertTrue(self.have(self.other.run("job", self.job)))

    def test_away(self) -> None:
        """Where the engine cannot be asked nothing is begun; what is under way goes on
        to its end.
        """
        running, ends = self.under_way(self.one)
        self.place.is_down = True
        self.assertFalse(self.have(self.other.run("job", self.job)))
        self.clock.pump([RENEWED] * 10)
        ends.callback(None)
        self.assertTrue(self.successResultOf(running))
        self.assertEqual(self.done, ["done"])


class AloneTests(LeasesCase):
    def test_always(self) -> None:
        """Who is alone does each job when it is due."""
        alone = Leases()
        self.assertTrue(self.have(alone.run("job", self.job, 100)))
        self.assertTrue(self.have(alone.run("job", self.job, 100)))
        self.assertEqual(len(self.done), 2)
