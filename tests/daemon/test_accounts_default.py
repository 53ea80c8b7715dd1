"""Users of the accounts database may log in by default; those of a database from before that
default may not.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any

from attrs import evolve
from sqlalchemy import Insert, Table
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from pypid.access.passwords import hash_password
from pypid.access.sql import schema
from pypid.blobs.memory import MemoryBlobs
from pypid.core.claims import Claims
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, Unauthenticated
from pypid.core.permissions import Credential
from pypid.core.records.layout import ACCOUNTS_KNOWN
from pypid.daemon.identities import Identities
from pypid.daemon.state import where
from pypid.daemon.stores import open_stores
from pypid.flow import start
from pypid.flow.signals import Signals
from pypid.testing.examples import an_account
from pypid.testing.worlds import world
from pypid.wiring.checks.account_names import dormant_accounts
from pypid.wiring.configuration import load_config
from pypid.wiring.identities import make_identities

PASSWORD = "correct horse"
HASH = hash_password(PASSWORD)
PYPICLOUD = "[app:main]\npypi.db.url = sqlite:///x\npypi.storage = file\nstorage.dir = files\n"
UNSET = ""
CONFIG, SQL = "backend = config\n", "backend = config sql\n"
KEY = "backend = config sql"


def quickly(
    test: Callable[[DefaultTests], Coroutine[Any, Any, None]],
) -> Callable[[DefaultTests], Deferred[None]]:
    """Make a test of a coroutine."""

    @wraps(test)
    def run(self: DefaultTests) -> Deferred[None]:
        return start(test(self))

    return run


class DefaultTests(TestCase):
    """Starts with different configurations, one after the other, in one state folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        self.blobs = MemoryBlobs(world().now)

    @property
    def database(self) -> Path:
        return self.state / "accounts.db"

    def config(self, access: str, ini: str | None = None) -> Config:
        file = self.folder / "pypid.ini"
        file.write_text(f"[access]\n{access}" if ini is None else ini)
        config = load_config(file)
        return evolve(config, server=evolve(config.server, state=str(self.state)))

    def made(self, access: str, ini: str | None = None) -> Identities:
        config = self.config(access, ini)
        here, places = world(), where(config, {})
        stores = open_stores(config, places, here, reactor)
        return make_identities(
            config, places, stores, here, reactor, Claims(), Signals(), blobs=self.blobs
        )

    async def start_once(
        self, access: str, *, ini: str | None = None, add: bool = False
    ) -> tuple[bool, bool]:
        """Start and stop; return whether bob can log in, and whether a line was logged that names
        the key. With `add` the account bob is created before the stop.
        """
        people = self.made(access, ini)
        with capturedLogs() as events:
            await people.open()
        texts = [formatEvent(event) for event in events]
        try:
            if add:
                await people.stores.accounts.add_user(an_account("bob", hash=HASH))
            can = await self.logs_in(people)
            if (self.state / "accounts.db").exists():
                registry = people.state.registry
                assert registry is not None
                self.assertEqual(registry.configured().accounts_log_in, can)
            return can, any(KEY in text for text in texts)
        finally:
            await people.end()

    async def logs_in(self, people: Identities) -> bool:
        """Whether bob can log in. A user who can be found can log in."""
        try:
            identity = await people.chain.identify(Credential("bob", PASSWORD))
        except Unauthenticated:
            identity = None
        self.assertEqual(await people.chain.find("bob"), identity)
        return identity is not None

    @quickly
    async def test_new_installation(self) -> None:
        """Accounts of a new installation log in at once, and after each further start."""
        self.assertEqual(await self.start_once(UNSET), (False, False))
        self.assertEqual(await self.start_once(UNSET, add=True), (True, False))
        for access in (UNSET, SQL, UNSET):
            self.assertEqual(await self.start_once(access), (True, False))

    @quickly
    async def test_dormant_accounts(self) -> None:
        """Accounts that could not log in cannot after an upgrade either, and one line names the
        key, until it is written.
        """
        self.assertEqual(await self.start_once(CONFIG, add=True), (False, False))
        for _ in range(2):
            self.assertEqual(await self.start_once(UNSET), (False, True))
        self.assertEqual(await self.start_once(CONFIG), (False, False))
        self.assertEqual(await self.start_once(SQL), (True, False))
        self.assertEqual(await self.start_once(UNSET), (False, True))

    async def refused(self) -> str:
        """Why a start is refused."""
        people = self.made(UNSET)
        with self.assertRaises(CannotStart) as caught:
            await people.open()
        await people.end()
        return str(caught.exception)

    def warned(self, access: str) -> bool:
        """Whether `pypid check-config` warns of accounts that cannot log in."""
        config = self.config(access)
        found = list(dormant_accounts(config, where(config, {})))
        self.assertTrue(all(KEY in each.message and each.is_warning for each in found))
        return bool(found)

    @quickly
    async def test_check(self) -> None:
        """The check of a configuration warns where accounts exist that it does not let log in."""
        self.assertFalse(self.warned(UNSET))
        self.database.touch()
        self.assertFalse(self.warned(UNSET))
        await self.start_once(CONFIG, add=True)
        self.assertEqual([self.warned(each) for each in (UNSET, CONFIG, SQL)], [True, False, False])
        self.state, self.blobs = self.folder / "new", MemoryBlobs(world().now)
        self.state.mkdir()
        await self.start_once(UNSET, add=True)
        self.assertFalse(self.warned(UNSET))

    @quickly
    async def test_environment(self) -> None:
        """PYPID_ACCESS_BACKEND counts as the key in the file."""
        self.patch(os, "environ", {"PYPID_ACCESS_BACKEND": "config"})
        self.assertEqual(await self.start_once(UNSET, add=True), (False, False))
        self.patch(os, "environ", {"PYPID_ACCESS_BACKEND": "config sql"})
        self.assertEqual(await self.start_once(UNSET), (True, False))

    @quickly
    async def test_users_of_the_file_only(self) -> None:
        """An installation without an accounts database has no user more than before."""
        ini = f"[users]\ncarol = {HASH}\n"
        self.assertEqual(await self.start_once(UNSET, ini=ini), (False, False))
        self.assertFalse(self.database.exists())

    @quickly
    async def test_config_of_pypicloud(self) -> None:
        """A config.ini of pypicloud keeps what it says: with pypi.auth = config, also where that is
        its default, no account logs in.
        """
        for auth in ("", "pypi.auth = config\n"):
            ini = f"{PYPICLOUD}{auth}"
            self.assertEqual(await self.start_once("", ini=ini, add=not auth), (False, False))
        self.assertEqual(await self.start_once(UNSET), (False, True))

    @quickly
    async def test_crash_before_the_tables(self) -> None:
        """A file that a crash has left empty has no accounts yet; those that follow log in."""
        self.database.touch(0o600)
        self.assertEqual(await self.start_once(UNSET, add=True), (True, False))
        self.assertEqual(await self.start_once(UNSET), (True, False))

    @quickly
    async def test_note_comes_with_the_tables(self) -> None:
        """The note is committed with the tables: there is no state with one of the two."""
        people = self.made(UNSET)
        await people.open()
        try:
            real, seen = schema.insert, []

            def broken(table: Table) -> Insert:
                seen.append(table)
                if len(seen) == 2:
                    raise RuntimeError("crash")
                return real(table)

            patched = self.patch(schema, "insert", broken)
            with self.assertRaises(RuntimeError):
                await people.stores.accounts.add_user(an_account("bob", hash=HASH))
            patched.restore()
            with closing(sqlite3.connect(self.database)) as database:
                names = database.execute("SELECT name FROM sqlite_master").fetchall()
            self.assertEqual(names, [])
        finally:
            await people.end()
        self.assertEqual(await self.start_once(UNSET, add=True), (True, False))

    @quickly
    async def test_copied_folder(self) -> None:
        """The note is part of the database: a copied state folder, or a restored database, behaves
        as the original.
        """
        await self.start_once(UNSET, add=True)
        copy = self.folder / "copy"
        shutil.copytree(self.state, copy)
        self.state = copy
        self.assertEqual(await self.start_once(UNSET), (True, False))

    @quickly
    async def test_restored_database(self) -> None:
        """A database from before the default, put into a new installation, has no users who log in;
        also while pypid runs.
        """
        await self.start_once(CONFIG, add=True)
        old = self.folder / "old.db"
        self.database.replace(old)
        self.state, self.blobs = self.folder / "new", MemoryBlobs(world().now)
        self.state.mkdir()
        people = self.made(UNSET)
        await people.open()
        try:
            shutil.copy(old, self.state / "accounts.db")
            await people.stores.accounts.poll()
            self.assertEqual(len(await people.stores.accounts.users()), 1)
            self.assertFalse(await self.logs_in(people))
        finally:
            await people.end()
        self.assertEqual(await self.start_once(UNSET), (False, True))

    @quickly
    async def test_groups_of_a_dormant_database(self) -> None:
        """Its groups go on to count for users of other sources."""
        ini = f"[users]\ncarol = {HASH}\n[access]\n"
        people = self.made(UNSET, ini + CONFIG)
        await people.open()
        try:
            await people.stores.accounts.add_group("team")
            await people.stores.accounts.join("team", "carol")
        finally:
            await people.end()
        people = self.made(UNSET, ini)
        await people.open()
        try:
            carol = await people.chain.find("carol")
            assert carol is not None
            self.assertEqual(carol.groups, {"team"})
        finally:
            await people.end()

    @quickly
    async def test_lost_accounts(self) -> None:
        """A lost database still stops the start; a first start is not taken for one."""
        await self.start_once(UNSET, add=True)
        self.database.write_bytes(b"no database" * 1000)
        self.assertIn("move it away: pypid begins a new one, or says how", await self.refused())
        self.database.unlink()
        self.assertIn("To go on with", await self.refused())
        await self.blobs.delete(ACCOUNTS_KNOWN)
        self.assertEqual(await self.start_once(UNSET, add=True), (True, False))
