"""A process that is killed in the middle of its changes has lost none of those that it had made."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.place import SqliteFile
from pypid.testing.accounts import an_account
from tests.access.sql.sqlite import InFiles
from tests.children import with_us
from tests.live.clients import ROOT
from tests.live.processes import clean_environ

WRITES = """
import sys
from pathlib import Path
from twisted.internet.task import Clock
from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.database import Database
from pypid.access.sql.audit import SqlJournal
from pypid.access.sql.place import SqliteFile
from pypid.flow import at_once, start
from pypid.testing.accounts import an_account
from pypid.testing.examples import a_deed
from pypid.testing.worlds import world

clock = Clock()
database = Database(SqliteFile(Path(sys.argv[1])), at_once, clock)
accounts, journal = SqlAccounts(database, world(clock)), SqlJournal(database, world(clock))
start(accounts.open())
number = 0
while True:
    done = []
    start(accounts.add_user(an_account(f"user{number}"))).addCallback(done.append)
    start(journal.note(a_deed(number))).addCallback(done.append)
    if len(done) == 2:
        print(number, flush=True)
    number += 1
"""


class KilledTests(InFiles, SynchronousTestCase):
    """``kill -9``, again and again."""

    def test_killed(self) -> None:
        """After each kill the file opens, is sound, and has everybody whom the killed process had
        said to be there.
        """
        path = self.folder / "accounts.db"
        for round in range(3):
            path.unlink(missing_ok=True)
            for beside in ("-wal", "-shm"):
                path.with_name(f"{path.name}{beside}").unlink(missing_ok=True)
            said = self.killed_after(path, 5 + 7 * round)
            accounts = SqlAccounts(self.database(SqliteFile(path)), self.world)
            self.have(accounts.open())
            found = {account.name for account in self.have(accounts.users())}
            self.assertTrue({f"user{number}" for number in range(said + 1)} <= found)
            with closing(sqlite3.connect(path)) as connection:
                self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                (deeds,) = connection.execute("SELECT count(*) FROM pypid_deeds").fetchone()
            self.assertTrue(deeds > said)
            self.have(accounts.add_user(an_account("after")))

    def killed_after(self, path: Path, changes: int) -> int:
        """The last change that a process said to be done before it was killed, some time after so
        many.
        """
        command = [*with_us(), sys.executable, "-c", WRITES, str(path)]
        environ = clean_environ(PYTHONPATH=str(ROOT / "src"))
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= changes:
                    break
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")[:-1]
        return int(rest[-1]) if rest else changes
