"""Failing system calls, as a kind of the gauntlet."""

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gauntlet import refusals
from tests.live.gauntlet.indexes import index
from tests.live.gauntlet.tally import Tally


class RefusalTests(SynchronousTestCase):
    """A pypid under the shim."""

    def test_refused_system_calls_leave_clients_with_an_answer(self) -> None:
        """While calls fail no answer is a 500 or a traceback; what is acknowledged is durable;
        afterwards all works again.
        """
        tally = Tally("failing system calls")
        with index() as made:
            refusals.run(made, tally)
        tally.close()
