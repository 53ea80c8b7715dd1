"""The accounts database in a real PostgreSQL: contracts, several nodes at once, and a server that
goes away.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet import reactor as installed
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.accounts import SqlAccounts
from pypid.core.accounts.rights import Account
from pypid.database.database import Database
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import place_of
from pypid.flow import at_once
from tests.live.postgresql import Postgresql, shared
from tests.support import AccountsContract, DownloadsContract, JournalContract
from tests.support.accounts import an_account
from tests.support.examples import a_deed, a_download
from tests.support.worlds import BEGINNING, Timed

T = TypeVar("T")
NO_FILE = Path("/nowhere")
MOST_OPEN = 8
reactor: Any = installed


class InPostgresql(Timed):
    """What is made here lies in a server that all share, each in a place of its own, and is closed
    at the end.
    """

    url: str

    def setUp(self) -> None:
        self.opened: list[Database] = []
        super().setUp()

    def server(self) -> Postgresql:
        return shared()

    def a_database(self, url: str | None = None) -> Database:
        """One that is open until the end of the test; without a URL where the last one lies."""
        made = Database(place_of(url or self.url, NO_FILE), at_once, self.clock)
        self.opened.append(made)
        if len(self.opened) > MOST_OPEN:  # it opens itself again if it is asked
            self.have(self.opened.pop(0).close())
        self.addCleanup(lambda: self.have(made.close()))
        return made

    def some_accounts(self) -> SqlAccounts:
        """Where the last ones lie, opened."""
        accounts = SqlAccounts(self.a_database(), self.world)
        self.have(accounts.current.open())
        return accounts

    def new_accounts(self) -> SqlAccounts:
        """New ones, opened."""
        self.url = self.server().database()
        return self.some_accounts()


class AccountsTests(InPostgresql, AccountsContract, SynchronousTestCase):
    """The contract."""

    async def make(self) -> SqlAccounts:
        return self.new_accounts()

    async def again(self) -> SqlAccounts:
        return self.some_accounts()

    async def after_a_while(self, accounts: SqlAccounts) -> None:
        assert isinstance(accounts, SqlAccounts)
        await accounts.current.poll()


class JournalTests(InPostgresql, JournalContract, SynchronousTestCase):
    """The contract."""

    async def make(self) -> SqlJournal:
        self.url = self.server().database()
        return await self.again()

    async def again(self) -> SqlJournal:
        return SqlJournal(self.a_database())


class DownloadsTests(InPostgresql, DownloadsContract, SynchronousTestCase):
    """The contract."""

    async def make(self) -> SqlDownloads:
        self.url = self.server().database()
        return SqlDownloads(self.a_database(), self.world)

    def test_nodes(self) -> None:
        """Nodes that count the same days at the same time, in whatever order, wait for each other,
        and all of it is counted.
        """
        nodes = [SqlDownloads(self.a_database(), self.world) for _ in range(4)]

        def node(downloads: SqlDownloads, order: int) -> None:
            for _ in range(20):
                for number in range(50)[::order]:
                    downloads.note(a_download(86400 * (number % 5), project=f"spam{number % 10}"))
                self.have(downloads.flush())

        at_the_same_time(
            *[lambda at=at, each=each: node(each, (1, -1)[at % 2]) for at, each in enumerate(nodes)]
        )
        counted = [
            count
            for number in range(10)
            for _, count in self.have(nodes[0].by_day(f"spam{number}", BEGINNING.date()))
        ]
        self.assertEqual(counted, [400] * 10)


def at_the_same_time(*jobs: Callable[[], T]) -> list[T]:
    """What they return, each in a thread of its own."""
    found: list[T] = []
    threads = [threading.Thread(target=lambda job=job: found.append(job())) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


class NodesTests(InPostgresql, SynchronousTestCase):
    """Several nodes with one database."""

    def setUp(self) -> None:
        super().setUp()
        self.here = self.new_accounts()
        self.there = self.some_accounts()

    def test_at_once(self) -> None:
        """Nodes that change the same account at the same time lose no change."""
        self.have(self.here.add_user(an_account("alice", hash="")))

        def node() -> None:
            accounts = SqlAccounts(self.a_database(), self.world)
            self.have(accounts.current.open())

            def longer(account: Account) -> Account:
                return evolve(account, hash=account.hash + "x")

            for _ in range(25):
                self.have(accounts.edit_user("alice", longer))

        at_the_same_time(*[node] * 4)
        self.have(self.there.current.poll())
        self.assertEqual(self.have(self.there.user("alice")).hash, "x" * 100)

    def test_once(self) -> None:
        """Of many nodes that say a value at the same time exactly one is told that it is new."""
        nodes = [self.some_accounts() for _ in range(6)]
        until = BEGINNING + timedelta(days=1)
        for value in ("a", "b", "c"):
            said = [partial(node.once, "jti", value, until) for node in nodes]
            told = at_the_same_time(*[partial(self.awaited, say) for say in said])
            self.assertEqual(sorted(told), [False] * 5 + [True])

    def awaited(self, say: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """What it returns."""
        return self.have(say())

    def test_first_start(self) -> None:
        """Nodes that are started for the first time at the same time all find their tables."""
        self.url = self.server().database()

        def node() -> int:
            accounts = SqlAccounts(self.a_database(), self.world)
            self.have(accounts.current.open())
            return len(self.have(accounts.users()))

        self.assertEqual(at_the_same_time(*[node] * 6), [0] * 6)

    def test_audit_log(self) -> None:
        """Nodes that write the audit log at the same time get serials without gaps, in the order of
        each one.
        """
        journals = [SqlJournal(self.a_database()) for _ in range(4)]

        def node(journal: SqlJournal, who: str) -> None:
            for number in range(20):
                self.have(journal.note(a_deed(number, who=who)))

        at_the_same_time(
            *[
                lambda at=at, journal=journal: node(journal, f"n{at}")
                for at, journal in enumerate(journals)
            ]
        )
        found = self.have(journals[0].entries(most=1000))
        self.assertEqual([deed.serial for deed in found], list(range(80, 0, -1)))
        times = [deed.when for deed in reversed(found) if deed.who == "n1"]
        self.assertEqual(times, sorted(times))
