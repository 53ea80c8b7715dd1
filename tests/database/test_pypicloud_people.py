"""The people of a pypicloud, out of its database: read once, as a whole, and never written."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.access import pypicloud
from pypid.access.accounts import SqlAccounts
from pypid.access.pypicloud import inherit, read_people
from pypid.core.accounts.acl import KEPT_CLOSED, Dump, DumpedPerson, Merged, ParsedAcl
from pypid.core.accounts.rights import AccountStatus, Right, Whom
from pypid.core.errors import BadRequest, CannotStart
from pypid.core.packaging.names import project_name
from pypid.database.database import Database
from pypid.database.places import SqliteFile
from pypid.flow import at_once
from tests.support.accounts import a_session, a_token, an_account
from tests.support.worlds import world
from tests.web.app_with_accounts import have

TABLES = """
CREATE TABLE pypicloud_keyvals ("key" VARCHAR(255) NOT NULL, value TEXT, PRIMARY KEY ("key"));
CREATE TABLE pypicloud_users (
    username VARCHAR(255) NOT NULL, password TEXT NOT NULL, admin BOOLEAN NOT NULL, pending BOOLEAN NOT NULL,
    PRIMARY KEY (username)
);
CREATE TABLE pypicloud_groups (name VARCHAR(255) NOT NULL, PRIMARY KEY (name));
CREATE TABLE pypicloud_user_groups (
    username VARCHAR(255) NOT NULL, "group" VARCHAR(255) NOT NULL, PRIMARY KEY (username, "group")
);
CREATE TABLE pypicloud_user_permissions (
    package VARCHAR(255) NOT NULL, read BOOLEAN, write BOOLEAN, username VARCHAR(255) NOT NULL, PRIMARY KEY (package, username)
);
CREATE TABLE pypicloud_group_permissions (
    package VARCHAR(255) NOT NULL, read BOOLEAN, write BOOLEAN, groupname VARCHAR(255) NOT NULL,
    PRIMARY KEY (package, groupname)
);
"""
"""As pypicloud 1.3.12 makes them, without the foreign keys."""
PEOPLE = """
INSERT INTO pypicloud_users VALUES ('ada', '$6$a', 1, 0), ('bob', '$6$b', 0, 0), ('carol', '$6$c', 0, 1);
INSERT INTO pypicloud_groups VALUES ('devs'), ('empty');
INSERT INTO pypicloud_user_groups VALUES ('bob', 'devs');
INSERT INTO pypicloud_user_permissions VALUES ('spam', 1, 0, 'bob'), ('eggs', NULL, NULL, 'bob');
INSERT INTO pypicloud_group_permissions VALUES ('spam', 1, 1, 'devs'), ('ham', 1, NULL, 'everyone');
INSERT INTO pypicloud_keyvals VALUES ('allow_register', 'true');
"""
SPAM = project_name("spam")
RIGHTS = (
    Right(project_name("eggs"), Whom.GROUP, KEPT_CLOSED),
    Right(project_name("ham"), Whom.EVERYONE),
    Right(SPAM, Whom.GROUP, "devs", True),
    Right(SPAM, Whom.USER, "bob"),
)


def pypiclouds(path: Path, script: str = PEOPLE) -> Path:
    """A database as pypicloud makes it."""
    with closing(sqlite3.connect(path)) as made:
        made.executescript(TABLES + script)
    return path


class ReadTests(SynchronousTestCase):
    """What is read."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.path = self.folder / "auth.db"

    def read(self, url: str) -> ParsedAcl:
        """What is read."""
        found = read_people(url, self.folder)
        assert found is not None
        return found

    def test_whole(self) -> None:
        """Users, who waits, groups with members and without, rights, empty ones too, are read; the
        file stays as it is.
        """
        pypiclouds(self.path)
        before = self.path.read_bytes(), self.path.stat().st_mtime_ns
        found = self.read(f"sqlite:///{self.path}")
        users = [(user.name, user.hash, user.admin, user.pending) for user in found.dump.users]
        expected = [
            ("ada", "$6$a", True, False),
            ("bob", "$6$b", False, False),
            ("carol", "$6$c", False, True),
        ]
        self.assertEqual(users, expected)
        self.assertEqual(
            found.dump.groups, {"devs": {"bob"}, "empty": frozenset(), KEPT_CLOSED: frozenset()}
        )
        self.assertEqual(found.dump.rights, RIGHTS)
        self.assertEqual((self.path.read_bytes(), self.path.stat().st_mtime_ns), before)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["auth.db"])

    def test_odd_values(self) -> None:
        """What is no text, or not UTF-8, where sqlite lets it stand breaks the start off in plain
        words, and shows no hash.
        """
        for row in (
            "pypicloud_user_permissions VALUES (NULL, 1, 0, 'ada')",
            "pypicloud_users VALUES (x'6162', '$6$x', 0, 0)",
            "pypicloud_users VALUES ('zoe', CAST(x'2436247365637265742dff' AS TEXT), 0, 0)",
        ):
            self.path.unlink(missing_ok=True)
            with closing(sqlite3.connect(self.path)) as made:
                made.executescript(f"{TABLES.replace('NOT NULL', '')} INSERT INTO {row};")
            error = self.assertRaises(CannotStart, self.read, f"sqlite:///{self.path}")
            self.assertIn("text", str(error))
            self.assertNotIn("secret", str(error))

    def test_old(self) -> None:
        """Without the table of switches nobody may register."""
        with closing(sqlite3.connect(pypiclouds(self.path))) as made:
            made.execute("DROP TABLE pypicloud_keyvals")
        found = self.read("sqlite:///auth.db").oddities
        self.assertNotIn("allow_register is on", [oddity.what for oddity in found])

    def test_refused(self) -> None:
        """What cannot be read as a whole stops the start, with what to do; no URL is told, which
        may hold a password.
        """
        (self.folder / "text.db").write_text("no database, but long enough to be one")
        (self.folder / "empty.db").touch()
        with closing(sqlite3.connect(pypiclouds(self.folder / "half.db"))) as made:
            made.execute("DROP TABLE pypicloud_group_permissions")
        pypiclouds(self.path)
        (self.folder / "torn.db").write_bytes(self.path.read_bytes()[:5000])
        for url in (
            *(
                "sqlite:///gone.db",
                "sqlite:///text.db",
                "sqlite:///empty.db",
                "sqlite:///half.db",
                "sqlite:///torn.db",
            ),
            *(
                "mysql://u:s3cret@host/db",
                "mysql+pymysql://u:s3cret@host/db",
                "sqlite:auth.db",
                "nonsense",
                "",
            ),
            *("postgresql://u:s3cret@w@host/db", "postgresql+psycopg2://u:s3cret@127.0.0.1:1/db"),
        ):
            error = self.assertRaises(CannotStart, read_people, url, self.folder)
            self.assertIn("ppc-export", str(error), url)
            self.assertNotIn("s3cret", str(error))
        self.assertIn(
            "pypicloud_group_permissions",
            str(self.assertRaises(CannotStart, read_people, "sqlite:///half.db", self.folder)),
        )

    def test_locked(self) -> None:
        """A pypicloud that is writing just then stops the start, instead of half of its people
        being read.
        """
        pypiclouds(self.path)
        self.patch(pypicloud, "LOCKED", 0.01)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            self.assertIn(
                "locked",
                str(self.assertRaises(CannotStart, read_people, "sqlite:///auth.db", self.folder)),
            )


class AccountsCase(SynchronousTestCase):
    """Accounts of ours, with nobody in them."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.clock = Clock()
        self.world = world(self.clock)
        self.accounts = self.opened()

    def opened(self) -> SqlAccounts:
        """As after a start."""
        database = Database(
            SqliteFile(self.folder / "accounts.db", of_record=False), at_once, self.clock
        )
        accounts = SqlAccounts(database, self.world)
        have(accounts.current.open())
        return accounts

    def names(self, accounts: SqlAccounts | None = None) -> Sequence[str]:
        """Of the accounts."""
        return [account.name for account in have((accounts or self.accounts).users())]


class InheritTests(AccountsCase):
    """The first start in place of a pypicloud."""

    def inherit(self, accounts: SqlAccounts | None = None) -> object:
        """As a start does."""
        return have(
            inherit(accounts or self.accounts, "sqlite:///auth.db", (self.folder,), self.world)
        )

    def test_once(self) -> None:
        """The people are taken over at the first start; the second one does not even look whether
        pypicloud's are there.
        """
        path = pypiclouds(self.folder / "auth.db")
        self.assertEqual(
            self.inherit(),
            {"users": "3", "administrators": "1", "waiting": "1", "groups": "3", "rights": "4"},
        )
        carol = have(self.accounts.user("carol"))
        self.assertEqual((carol.status, carol.hash), (AccountStatus.PENDING, "$6$c"))
        self.assertEqual(have(self.accounts.rights()), RIGHTS)
        self.assertEqual(self.names(self.opened()), ["ada", "bob", "carol"])
        path.unlink()
        self.assertIsNone(self.inherit(self.opened()))

    def test_never_again(self) -> None:
        """Whoever was taken over and removed does not come back, even if nobody and nothing else is
        left.
        """
        pypiclouds(self.folder / "auth.db")
        self.inherit()
        for name in self.names():
            have(self.accounts.remove_user(name))
        for group in have(self.accounts.memberships()):
            have(self.accounts.remove_group(group))
        for right in have(self.accounts.rights()):
            have(self.accounts.withdraw(right.project, right.whom, right.name))
        for right in have(self.accounts.rights()):  # which closed the projects then
            have(self.accounts.withdraw(right.project, right.whom, right.name))
        have(self.accounts.tend())
        again = self.opened()
        self.assertIsNone(self.inherit(again))
        self.assertEqual((self.names(again), have(again.rights())), ([], ()))

    def test_people_of_ours(self) -> None:
        """Where somebody is in our database already nobody is taken over; and pypid does not start
        while a project has rules in pypicloud's only, since the defaults would hold for it.
        """
        pypiclouds(self.folder / "auth.db")
        have(self.accounts.add_group("ours"))
        error = self.assertRaises(CannotStart, self.inherit)
        for project in {right.project for right in RIGHTS}:
            self.assertIn(project, str(error))
        self.assertEqual(self.names(), [])
        for right in RIGHTS:
            have(self.accounts.grant(right))
        self.assertIsNone(self.inherit())
        self.assertEqual(self.names(), [])

    def test_people_of_ours_alone(self) -> None:
        """Where somebody is in our database, and pypicloud's is gone, or was one in memory, pypid
        starts.
        """
        have(self.accounts.add_group("ours"))
        self.assertIsNone(self.inherit())
        self.assertIsNone(have(inherit(self.accounts, "sqlite://", (self.folder,), self.world)))

    def test_cannot_be_read(self) -> None:
        """Where it cannot be read the start breaks off with nobody taken over, and the next one
        tries again.
        """
        self.assertRaises(CannotStart, self.inherit)
        self.assertEqual(self.names(), [])
        pypiclouds(self.folder / "auth.db")
        self.inherit(self.opened())
        self.assertEqual(len(self.names(self.opened())), 3)


def person(name: str, **fields: bool) -> DumpedPerson:
    """Somebody with a hash."""
    return DumpedPerson(name=name, hash="$6$x", **fields)


class MergeTests(AccountsCase):
    """A dump that is taken over beside what is there."""

    def merge(self, **said: object) -> Merged:
        """What became of it."""
        return have(self.accounts.merge(Dump(**said)))  # type: ignore[arg-type]

    def test_twice(self) -> None:
        """The second time nothing changes, not even the serial."""
        said = {
            "users": (person("ada", admin=True), person("carol", pending=True)),
            "groups": {"devs": frozenset({"ada", "dora"})},
            "rights": (Right(SPAM, Whom.USER, "ada", True), Right(SPAM, Whom.EVERYONE)),
        }
        first = self.merge(**said)
        self.assertEqual(
            (first.users, first.groups, first.members, first.rights), (("ada", "carol"), 1, 2, 2)
        )
        serial = self.accounts.current.known.serial
        second = self.merge(**said)
        self.assertFalse(second.changed)
        self.assertEqual((second.there, tuple(second.oddities())), (2, ()))
        self.assertEqual(self.accounts.current.known.serial, serial)

    def test_who_is_there_stays(self) -> None:
        """An account that is there keeps its password, standing and flag; what it may less is a
        loss, what more is told.
        """
        for account in (
            an_account("ada", admin=True),
            an_account("bob"),
            an_account("dan", status=AccountStatus.DISABLED),
            an_account("eve"),
        ):
            have(self.accounts.add_user(account))
        before = have(self.accounts.users())
        users = (
            person("ada"),
            person("bob", admin=True),
            person("dan"),
            person("eve", pending=True),
        )
        merged = self.merge(users=users)
        self.assertEqual(have(self.accounts.users()), before)
        self.assertEqual((merged.weaker, merged.other), (("bob", "dan"), ("ada", "eve")))
        self.assertEqual([oddity.grave for oddity in merged.oddities()], [True, True, False, False])

    def test_rights(self) -> None:
        """A right becomes greater, never smaller."""
        for name, write in (("ada", True), ("bob", False)):
            have(self.accounts.grant(Right(SPAM, Whom.USER, name, write)))
        merged = self.merge(
            rights=(Right(SPAM, Whom.USER, "ada"), Right(SPAM, Whom.USER, "bob", True))
        )
        self.assertEqual((merged.rights, merged.stronger), (1, (Right(SPAM, Whom.USER, "ada"),)))
        self.assertTrue(all(right.write for right in have(self.accounts.rights())))

    def test_names_that_are_one(self) -> None:
        """Who gets something because a group or a user of the dump and one that is here have one
        name is told, once.
        """
        have(self.accounts.add_group("devs"))
        have(self.accounts.join("devs", "eve"))
        have(self.accounts.grant(Right(project_name("vault"), Whom.GROUP, "devs", True)))
        have(self.accounts.grant(Right(project_name("vault"), Whom.USER, "zed")))
        said = {
            "users": (person("ann"), person("eve"), person("zed")),
            "groups": {"devs": frozenset({"ann"}), "ops": frozenset({"ann"})},
            "rights": (Right(SPAM, Whom.GROUP, "devs"), Right(SPAM, Whom.GROUP, "ops")),
        }
        wider = self.merge(**said).wider
        self.assertEqual(
            [oddity.what for oddity in wider],
            [
                "eve is in the group 'devs' here, and not by the dump",
                "ann is in the group 'devs' by the dump, and not here",
                "the name 'eve' was given something here before it had an account",
                "the name 'zed' was given something here before it had an account",
            ],
        )
        self.assertTrue(all(oddity.wider for oddity in wider))
        self.assertEqual(self.merge(**said).wider, ())

    def test_the_same_names(self) -> None:
        """Where what is here has the same members, or gives no more, there is nothing to tell."""
        said = {
            "users": (person("ann"),),
            "groups": {"devs": frozenset({"ann"})},
            "rights": (Right(SPAM, Whom.GROUP, "devs", True), Right(SPAM, Whom.USER, "ann", True)),
        }
        have(self.accounts.add_group("devs"))
        have(self.accounts.join("devs", "ann"))
        have(self.accounts.grant(Right(SPAM, Whom.GROUP, "devs")))
        have(self.accounts.grant(Right(SPAM, Whom.USER, "ann")))
        self.assertEqual(self.merge(**said).wider, ())

    def test_tokens(self) -> None:
        """Of a name that gets an account, tokens and sessions end: they are another person's."""
        have(self.accounts.add_token(a_token("t", "ada")))
        have(self.accounts.add_session(a_session("s", "ada")))
        self.merge(users=(person("ada"),))
        self.assertIsNone(have(self.accounts.token("digest-t")))
        self.assertIsNone(have(self.accounts.session("s")))

    def test_kept_closed(self) -> None:
        """A group that shall keep projects closed, and has members here, opens none: nothing is
        done.
        """
        have(self.accounts.add_group(KEPT_CLOSED))
        have(self.accounts.join(KEPT_CLOSED, "bob"))
        said = {
            "groups": {KEPT_CLOSED: frozenset[str]()},
            "users": (person("ada"),),
            "rights": (RIGHTS[0],),
        }
        error = self.assertRaises(BadRequest, lambda: self.merge(**said))
        self.assertIn(KEPT_CLOSED, str(error))
        self.assertEqual((self.names(), have(self.accounts.rights())), ([], ()))
