"""The accounts database is of record: what was changed in it is in the bucket with
the next copy.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.accounts import SqlAccounts
from pypid.blobs.memory import MemoryBlobs
from pypid.database.places import SqliteFile
from pypid.jobs.backup.copies import Backup
from pypid.jobs.backup.records import ACCOUNTS
from tests.database.sqlite import InFiles
from tests.support.accounts import an_account


class RecordTests(InFiles, SynchronousTestCase):
    """`Backup` with what it keeps by default, and accounts that are in use."""

    def test_each_change_is_copied(self) -> None:
        """After each change, a copy gives another machine everybody; a copy after no change writes
        nothing.
        """
        blobs = MemoryBlobs(self.world.now)
        here = SqlAccounts(self.database(SqliteFile(self.folder / ACCOUNTS)), self.world)
        file_cache = Backup(blobs, self.folder, "bucket", "s" * 40, self.world)
        self.have(here.current.open())
        for number in range(3):
            self.have(here.add_user(an_account(f"user{number}")))
            self.assertTrue(self.have(file_cache.copy()))
            etag = self.have(blobs.stat(f".pypid/of-record/{ACCOUNTS}")).etag
            self.have(here.current.poll())
            self.have(here.tend())
            self.have(here.end_session("none"))
            self.assertTrue(self.have(file_cache.copy()))
            self.assertEqual(self.have(blobs.stat(f".pypid/of-record/{ACCOUNTS}")).etag, etag)
            new = self.folder / f"new{number}"
            new.mkdir()
            self.have(Backup(blobs, new, "bucket", "s" * 40, self.world).restore())
            there = SqlAccounts(self.database(SqliteFile(new / ACCOUNTS)), self.world)
            self.have(there.current.open())
            self.assertEqual(self.have(there.users()), self.have(here.users()))
            self.assertEqual((new / ACCOUNTS).stat().st_mode & 0o777, 0o600)
