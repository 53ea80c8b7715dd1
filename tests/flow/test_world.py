"""Computation in turn: `pypid.flow.world`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from pypid.flow.world import InTurn
from tests.support.worlds import Turns


class InTurnTests(SynchronousTestCase):
    """`InTurn`."""

    def test_one_after_the_other(self) -> None:
        """A call begins when the one before has ended, whatever came of that, also if its caller
        was cancelled: a thread cannot be.
        """
        turns, done = Turns(), list[object]()
        thinking = InTurn(turns)
        first = thinking(lambda: 1 // 0)
        second = thinking(done.append, 2)
        third = thinking(done.append, 3)
        fourth = thinking(done.append, 4)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertEqual(len(turns), 1)
        turns.turn()
        self.failureResultOf(first, ZeroDivisionError)
        self.assertEqual((len(turns), done), (1, []))
        turns.turn()
        self.successResultOf(second)
        turns.all()
        self.successResultOf(fourth)
        self.assertEqual(done, [2, 4])
        running, next_one = thinking(done.append, 5), thinking(done.append, 6)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(len(turns), 1)
        turns.all()
        self.successResultOf(next_one)
        self.assertEqual(done, [2, 4, 5, 6])
