"""Databases that go away, are damaged, full, or of another version: nothing is granted, nothing is
lost, and it goes on.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from attrs import evolve
from sqlalchemy import Connection, text
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.accounts import PAUSE, SqlAccounts
from pypid.core.errors import CannotStart, NoSuchUser, PeopleUnknown, StorageFull
from pypid.database import account_tables as engine
from pypid.database.account_state import AccountsState
from pypid.database.places import SqliteFile
from pypid.flow import start
from tests.database.sqlite import InFiles
from tests.support.accounts import a_session, a_token, an_account


class FileCase(InFiles, SynchronousTestCase):
    """Accounts with alice in them."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = self.new_accounts()
        self.have(self.accounts.add_user(an_account("alice")))
        place = self.place()
        assert isinstance(place, SqliteFile)
        self.path = place.path

    @contextmanager
    def by_hand(self) -> Iterator[sqlite3.Connection]:
        """The file, as somebody else opens it."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection


class GoneTests(FileCase):
    """The file is taken away while it is in use."""

    def test_taken_away_and_put_back(self) -> None:
        """While the file is away nobody in it is known and nothing changes, nobody makes a new one;
        put back, it goes on.
        """
        self.have(self.accounts.add_token(a_token("t")))
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        self.refused(self.accounts.add_user(an_account("bob")), PeopleUnknown)
        for asked in (
            self.accounts.users(),
            self.accounts.user("alice"),
            self.accounts.token("digest-t"),
            self.accounts.rights(),
        ):
            self.refused(asked, PeopleUnknown)
        self.refused(self.accounts.once("jti", "x", self.world.now()), PeopleUnknown)
        self.have(self.accounts.current.poll())
        self.have(self.accounts.tend())
        self.assertFalse(self.path.exists())
        away.rename(self.path)
        self.clock.advance(PAUSE)
        self.have(self.accounts.current.poll())
        self.assertEqual([account.name for account in self.have(self.accounts.users())], ["alice"])
        self.have(self.accounts.add_user(an_account("bob")))
        self.assertEqual(len(self.have(self.accounts_again().users())), 2)

    def test_noticed_by_itself(self) -> None:
        """That the file is away is found out without any change; what was known stays known to the
        rules.
        """
        before = self.accounts.current.known
        self.path.unlink()
        self.have(self.accounts.current.poll())
        self.refused(self.accounts.users(), PeopleUnknown)
        self.assertIs(self.accounts.current.known, before)
        with self.assertRaises(PeopleUnknown):
            self.accounts.current.state()

    def test_taken_away_meanwhile(self) -> None:
        """What was written into a file that lost its name before the end of the change was not
        changed.
        """

        def take_away(account: object) -> object:
            self.path.rename(self.path.with_suffix(".away"))
            return evolve(account, admin=True)  # type: ignore[misc]

        self.refused(self.accounts.edit_user("alice", take_away), PeopleUnknown)  # type: ignore[arg-type]
        self.assertFalse(self.accounts.current.known.accounts["alice"].admin)

    def test_another_one(self) -> None:
        """Another database that is put in its place is read as a whole, whatever its serial."""
        other = self.new_accounts()
        for user in ("bob", "carol"):
            self.have(other.add_user(an_account(user)))
        self.have(other.current.database.close())
        place = self.place()
        assert isinstance(place, SqliteFile)
        for beside in ("-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{beside}").unlink(missing_ok=True)
        place.path.replace(self.path)
        self.have(self.accounts.current.poll())
        self.refused(self.accounts.users(), PeopleUnknown)
        self.have(self.accounts.current.poll())
        self.assertEqual(
            [account.name for account in self.have(self.accounts.users())], ["bob", "carol"]
        )

    def test_put_there_later(self) -> None:
        """A database that appears after the start (fetched from the bucket) is read by the next
        look.
        """
        place = SqliteFile(self.folder / "later.db")
        later = SqlAccounts(self.database(place), self.world)
        self.have(later.current.open())
        self.assertEqual(list(self.have(later.users())), [])
        self.have(later.current.poll())
        self.have(later.tend())
        self.have(later.close())
        self.assertFalse(place.path.exists())
        self.have(self.accounts.current.database.close())
        self.path.rename(place.path)
        self.have(later.current.poll())
        self.assertEqual([account.name for account in self.have(later.users())], ["alice"])


class HeldTests(FileCase):
    """Somebody else has the file, or there is no room for it."""

    def test_held_by_somebody(self) -> None:
        """While somebody else writes for too long nothing can be changed, but
        everybody is known.
        """
        self.patch(engine, "BUSY", 0.05)
        self.have(self.accounts.current.database.close())
        with self.by_hand() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.refused(self.accounts.add_user(an_account("bob")), PeopleUnknown)
            self.assertEqual(len(self.have(self.accounts.users())), 1)
            connection.execute("ROLLBACK")
        self.have(self.accounts.add_user(an_account("bob")))

    def test_full(self) -> None:
        """Without space nothing is changed, everybody is known, and with space again it goes on."""

        def limit(pages: int) -> None:
            def work(connection: Connection) -> None:
                connection.execute(text(f"PRAGMA max_page_count = {pages}"))

            self.have(self.accounts.current.database.read("accounts", work))

        limit(1)  # of those that it has, none is taken away
        names = ["alice"]
        while (
            adding := start(self.accounts.add_user(an_account(f"user{len(names)}", hash="x" * 900)))
        ) and adding.called:
            result = self.successResultOf(adding.addErrback(lambda failure: failure.value))
            if result is not None:
                break
            names.append(f"user{len(names)}")
        self.assertIsInstance(result, StorageFull)
        self.assertEqual({account.name for account in self.have(self.accounts.users())}, {*names})
        limit(1 << 20)
        self.have(self.accounts.add_user(an_account("bob", hash="x" * 900)))
        self.assertEqual(
            {account.name for account in self.have(self.accounts_again().users())}, {*names, "bob"}
        )


class DamagedTests(FileCase):
    """What lies there cannot be used."""

    def unusable(self) -> str:
        """What is said at the start."""
        self.have(self.accounts.current.database.close())
        fresh = SqlAccounts(self.database(SqliteFile(self.path)), self.world)
        error = self.refused(fresh.current.open(), CannotStart)
        self.refused(fresh.users(), PeopleUnknown)
        return str(error)

    def test_damaged(self) -> None:
        """A file that is no database, or one of which the beginning is lost, is said to be damaged,
        and stays as it is.
        """
        self.have(self.accounts.current.database.close())
        for beginning in (b"not a database" * 100, b"\0" * 4096, b"x"):
            self.path.write_bytes(beginning)
            self.assertIn("damaged", self.unusable())
            self.assertEqual(self.path.read_bytes(), beginning)

    def test_not_readable(self) -> None:
        """A folder in its place is no reason to go on without anybody."""
        self.have(self.accounts.current.database.close())
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("cannot be used", self.unusable())

    def test_newer(self) -> None:
        """A database of a newer pypid is left alone, with advice: at the start, and when it becomes
        one meanwhile.
        """
        with self.by_hand() as connection:
            connection.execute("UPDATE pypid_schema SET version = 7")
        self.refused(self.accounts.add_user(an_account("bob")), PeopleUnknown)
        self.refused(self.accounts.users(), PeopleUnknown)
        said = self.unusable()
        self.assertIn("version 7", said)
        self.assertIn("newer pypid", said)
        with self.by_hand() as connection:
            self.assertEqual(
                connection.execute("SELECT count(*) FROM pypid_users").fetchone(), (1,)
            )

    def test_older(self) -> None:
        """A database of an older version is refused and left alone; the advice says how its users
        come along.
        """
        self.have(self.accounts.current.database.close())
        with self.by_hand() as connection:
            connection.execute("UPDATE pypid_schema SET version = 1 WHERE part = 'accounts'")
        self.assertIn("pypid acl export", self.unusable())
        with self.by_hand() as connection:
            self.assertEqual(
                connection.execute("SELECT count(*) FROM pypid_users").fetchone(), (1,)
            )


class ChangeTests(FileCase):
    """What is told of changes, and what is done from time to time."""

    def test_told(self) -> None:
        """Each change is told with the new roll, once it is in force; who fails at it keeps nobody
        else from hearing.
        """
        heard: list[AccountsState] = []

        def fail(state: AccountsState) -> None:
            raise ZeroDivisionError

        self.accounts.current.on_change += [fail, heard.append]
        self.have(self.accounts.add_user(an_account("bob")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused(self.accounts.remove_user("carol"), NoSuchUser)
        self.have(self.accounts.current.poll())
        self.have(self.accounts.end_session("none"))
        self.assertEqual([[*state.accounts] for state in heard], [["alice", "bob"]])
        self.assertIs(heard[-1], self.accounts.current.state())

    def test_anothers_change(self) -> None:
        """What another process has changed is seen by the next look, and tells of it."""
        other = self.accounts_again()
        heard: list[AccountsState] = []
        self.accounts.current.on_change.append(heard.append)
        self.have(other.add_session(a_session("s")))
        self.have(other.add_group("team"))
        self.assertIsNone(self.have(self.accounts.session("s")))
        self.have(self.accounts.current.poll())
        self.assertIsNotNone(self.have(self.accounts.session("s")))
        self.assertEqual(len(heard), 1)
        self.assertIs(heard[0].users, heard[0].users)

    def test_swept(self) -> None:
        """Sessions that have ended, tokens that ended a month ago and values whose time is over are
        removed from the file.
        """
        day = 86400
        self.have(self.accounts.add_session(a_session("s")))
        for id in ("expires", "revoked", "stays"):
            expires = (
                self.world.now() + (a_session("x").expires - a_session("x").created)
                if id == "expires"
                else None
            )
            self.have(self.accounts.add_token(a_token(id, expires=expires)))
        self.have(self.accounts.revoke_token("revoked"))
        self.have(self.accounts.once("jti", "x", a_session("s").expires))
        self.clock.advance(29 * day)
        self.have(self.accounts.tend())
        self.assertEqual(self.counts(), (0, 3, 0))
        self.assertEqual(len(self.have(self.accounts.tokens())), 3)
        self.clock.advance(2 * day)
        self.have(self.accounts.tend())
        self.assertEqual(self.counts(), (0, 1, 0))
        self.assertEqual([token.id for token in self.have(self.accounts.tokens())], ["stays"])

    def counts(self) -> tuple[int, ...]:
        """Rows of sessions, tokens and values."""
        with self.by_hand() as connection:
            tables = ("pypid_sessions", "pypid_tokens", "pypid_once")
            return tuple(
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in tables
            )

    def test_only_we_may_read_it(self) -> None:
        """The file and what lies beside it are ours alone."""
        modes = {
            path.name: path.stat().st_mode & 0o777 for path in Path(self.path.parent).iterdir()
        }
        self.assertEqual({name: mode for name, mode in modes.items() if mode != 0o600}, {})
