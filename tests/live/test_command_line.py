"""`pypid status` and `pypid reload`, as an operator uses them."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import (
    BIN,
    configure,
    done,
    free_port,
    running,
    scratch,
)


class StatusTests(SynchronousTestCase):
    def test_status_and_reload(self) -> None:
        """Status is 3 before the start and after the stop, and 0 in between; a reload is done when
        the command ends, and a broken configuration makes it fail without effect.
        """
        folder = Path(self.enterContext(scratch()))
        port = free_port()
        ini = configure(folder, f"tcp:{port}:interface=127.0.0.1")
        status = [BIN / "pypid", "status", "--config", ini]
        said = done(status, cwd=folder, status=3)
        self.assertEqual(said, f"pypid is not running\nconfiguration: {ini}\n")
        self.assertFalse((folder / "state").exists())

        serve = [BIN / "pypid", "serve", "--config", ini]
        with running(serve, folder / "log", cwd=folder) as daemon:
            daemon.until_answers(f"http://127.0.0.1:{port}/ready")
            said = done(status, cwd=folder)
            self.assertIn("is running and ready\n", said)
            self.assertIn(f"http://127.0.0.1:{port}", said)
            self.assertIn(str(ini), said)
            answer = json.loads(done([*status, "--json"], cwd=folder))
            self.assertEqual((answer["running"], answer["ready"]), (True, True))
            self.assertEqual(answer["pid"], daemon.process.pid)

            good = ini.read_text()
            ini.write_text(f"{good}[log]\nlevel = debug\n")
            reload = [BIN / "pypid", "reload", "--config", ini]
            self.assertIn("were read again", done(reload, cwd=folder))
            level = done([BIN / "pypid", "log-level", "--config", ini], cwd=folder)
            self.assertEqual(level, "debug\n")
            daemon.stop_in_order()
        done(status, cwd=folder, status=3)
