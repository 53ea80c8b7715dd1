"""Kill at every file-system call, as a kind of the gauntlet."""

from twisted.trial.unittest import SynchronousTestCase

from tests.live.gauntlet import kills
from tests.live.gauntlet.indexes import index
from tests.live.gauntlet.tally import Tally


class KillTests(SynchronousTestCase):
    """A pypid under the shim."""

    def test_acknowledged_changes_survive_a_kill_at_any_file_system_call(self) -> None:
        """After a kill at a file-system call and a restart, acknowledged changes are in force and
        listed files download.
        """
        tally = Tally("kill at a file-system call")
        with index() as made:
            kills.run(made, tally)
        tally.close()
