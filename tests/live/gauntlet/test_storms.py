"""Storms of operations and kills, as a kind of the gauntlet."""

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gauntlet import storms
from tests.live.gauntlet.indexes import index
from tests.live.gauntlet.tally import Tally


class StormTests(SynchronousTestCase):
    """Several clients and kill -9."""

    def test_random_operations_and_kills_agree_with_the_model(self) -> None:
        """After each kill the projects are as their clients were told, and
        listed files download.
        """
        seed = int.from_bytes(os.urandom(4))
        tally = Tally(f"storms (seed {seed})")
        with index() as made:
            storms.run(made, tally, seed)
        tally.close()
