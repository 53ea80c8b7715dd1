"""Answers at once after a crash, also with an old catalog put back, as a kind of the gauntlet.

``make live`` runs tests.live.test_crash_answers, which is the short form.
"""

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gauntlet.tally import Tally
from tests.live.test_crash_answers import crash_storm

KILLS = 200


class AnswerTests(SynchronousTestCase):
    """A pypid that is killed again and again."""

    def test_no_answer_after_a_crash_is_older_than_what_was_acknowledged(self) -> None:
        """Each question that is asked at once after a start is a trial."""
        seed = int.from_bytes(os.urandom(3))
        tally = Tally(f"answers after a crash (seed {seed})")
        storm = crash_storm(KILLS, seed)
        tally.trials, tally.failures = storm.asked, storm.wrong
        tally.close()
