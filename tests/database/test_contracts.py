"""The contracts of accounts, journal and downloads, in files of sqlite; and of
downloads in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.accounts import SqlAccounts
from pypid.database.logs import SqlDownloads, SqlJournal
from tests.database.sqlite import InFiles
from tests.support import AccountsContract, DownloadsContract, JournalContract
from tests.support.logs import MemoryDownloads


class AccountsTests(InFiles, AccountsContract, SynchronousTestCase):
    """Accounts."""

    async def make(self) -> SqlAccounts:
        return self.new_accounts()

    async def again(self) -> SqlAccounts:
        return self.accounts_again()


class JournalTests(InFiles, JournalContract, SynchronousTestCase):
    """The audit log."""

    async def make(self) -> SqlJournal:
        return self.new_journal()

    async def again(self) -> SqlJournal:
        return SqlJournal(self.database())


class DownloadsTests(InFiles, DownloadsContract, SynchronousTestCase):
    """Downloads."""

    async def make(self) -> SqlDownloads:
        return self.new_downloads()


class MemoryDownloadsTests(DownloadsContract, SynchronousTestCase):
    """Those for tests."""

    async def make(self) -> SqlDownloads:
        return MemoryDownloads()
