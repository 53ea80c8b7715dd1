"""Computation in turn: `pypid.flow.world`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from pypid.flow.world import InTurn
from pypid.testing.worlds import Turns


class InTurnTests(SynchronousTestCase):
    """`InTurn`."""

    def test_one_after_the_other(self) -> None:
        """A call begins when the one before has ended, whatever came of that, or was given up by
        whoever wanted it.
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
