"""Accounts, journals and downloads in files of sqlite, in a folder of the test's own."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pathlib import Path

from pypid.access.accounts import SqlAccounts
from pypid.database.database import Database
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import Place, SqliteFile
from pypid.flow import at_once
from tests.support.worlds import Timed


class InFiles(Timed):
    """What is made here is closed at the end of the test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self._made = 0
        super().setUp()

    def place(self) -> Place:
        """Of the accounts that were made last."""
        return SqliteFile(self.folder / f"{self._made}.db")

    def database(self, place: Place | None = None) -> Database:
        """One that is open until the end of the test."""
        database = Database(place or self.place(), at_once, self.clock)
        self.addCleanup(lambda: self.have(database.close()))
        return database

    def new_accounts(self) -> SqlAccounts:
        """Accounts in a file that is not there yet, opened."""
        self._made += 1
        return self.accounts_again()

    def accounts_again(self) -> SqlAccounts:
        """Other ones in the same file, opened."""
        accounts = SqlAccounts(self.database(), self.world)
        self.have(accounts.current.open())
        return accounts

    def new_journal(self) -> SqlJournal:
        """In a file that is not there yet."""
        self._made += 1
        return SqlJournal(self.database())

    def new_downloads(self) -> SqlDownloads:
        """In a file that is not there yet."""
        self._made += 1
        place = SqliteFile(self.folder / f"{self._made}.db", of_record=False)
        return SqlDownloads(self.database(place), self.world)
