from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.access import config
from pypid.access.config import AdminRecord, ConfigPeople, UsersSettings, read_admin
from pypid.access.passwords import Verifier, hash_password, needs_upgrade
from pypid.core.errors import Unauthenticated, Unreadable
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, at_once, start
from pypid.ports import People
from tests.support.people import PeopleContract

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ours = lru_cache(hash_password)


def world() -> World:
    return World(
        clock=Clock(),
        now=lambda: NOW,
        blocking=at_once,
        random=os.urandom,
    )


class ConfigContractTests(PeopleContract, TestCase):
    """The configuration's users fulfil the contract."""

    admins = False
    strangers = True

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        hashes = {name: CHEAP.hash(password) for name, password in users.items()}
        outside = world()
        settings = UsersSettings(users=hashes, groups=groups, state=Path(self.mktemp()))
        return ConfigPeople(settings, outside, Verifier(outside))


class FirstRunContractTests(PeopleContract, TestCase):
    """So they do when one of them is the first-run admin."""

    strangers = True

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        hashes = {name: CHEAP.hash(password) for name, password in users.items() if name != admin}
        settings = UsersSettings(users=hashes, groups=groups, state=Path(self.mktemp()))
        outside = world()
        return ConfigPeople(
            settings, outside, Verifier(outside), AdminRecord(1, admin, ours(users[admin]))
        )


class ConfigPeopleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir(parents=True)

    def open(self, users: Mapping[str, str] | None = None) -> ConfigPeople:
        outside = world()
        settings = UsersSettings(users=users or {}, state=self.state)
        return ConfigPeople(settings, outside, Verifier(outside), read_admin(self.state))

    def check(self, people: People, user: str, password: str) -> Identity | None:
        return self.successResultOf(start(people.check(Credential(user, password))))

    def refused(self, people: People, user: str, password: str) -> Failure:
        failure: Failure = self.failureResultOf(
            start(people.check(Credential(user, password))), Unauthenticated
        )
        return failure

    def identify(self, people: People, user: str, password: str) -> Identity:
        found = self.check(people, user, password)
        assert found is not None, user
        return found

    def keep(self, hash: str) -> None:
        (self.state / "admin.json").unlink(missing_ok=True)
        self.assertTrue(
            config.create_new(
                self.state / "admin.json", config._encoded(AdminRecord(1, "admin", hash))
            )
        )

    def test_configuration_comes_first(self) -> None:
        """A user in the configuration who has the first-run admin's name takes its place, as no
        admin, and the log says so.
        """
        self.keep(ours("old"))
        with capturedLogs() as events:
            access = self.open({"admin": ours("new")})
        self.assertEqual(self.identify(access, "admin", "new"), Identity("admin"))
        self.refused(access, "admin", "old")
        self.assertIn("[access] admins", formatEvent(events[0]))

    def test_damaged_record(self) -> None:
        """A damaged record stops the start, and a reload leaves all as it was."""
        access = self.open({"alice": ours("a")})
        (self.state / "admin.json").write_text("{")
        self.assertRaises(Unreadable, self.open)
        self.failureResultOf(
            start(access.reload(UsersSettings(users={}, state=self.state))), Unreadable
        )
        self.identify(access, "alice", "a")

    def test_reload(self) -> None:
        """After a reload only the new users, passwords and groups count, also for who was
        remembered.
        """
        access = self.open({"alice": ours("a"), "bob": ours("b")})
        self.identify(access, "alice", "a")
        self.identify(access, "bob", "b")
        settings = UsersSettings(
            users={"bob": ours("c")}, groups={"team": frozenset({"bob"})}, state=self.state
        )
        self.successResultOf(start(access.reload(settings)))
        self.assertIsNone(self.check(access, "alice", "a"))
        self.refused(access, "bob", "b")
        self.assertEqual(self.identify(access, "bob", "c"), Identity("bob", frozenset({"team"})))

    def test_upgrade(self) -> None:
        """The first-run admin's hash is upgraded by the first login, and stays good for the same
        password.
        """
        self.keep(CHEAP.hash("pw"))
        access = self.open()
        self.refused(access, "admin", "x")
        for _ in range(2):
            self.assertTrue(self.identify(access, "admin", "pw").admin)
            record = read_admin(self.state)
            assert record is not None
            self.assertFalse(needs_upgrade(record.hash))
        self.assertEqual((self.state / "admin.json").stat().st_mode & 0o777, 0o600)
        self.assertTrue(self.identify(self.open(), "admin", "pw").admin)

    def test_upgrade_fails(self) -> None:
        """An upgrade that cannot be written is logged without the password, and the login is good
        all the same.
        """
        self.keep(CHEAP.hash("Xyzzy"))
        access = self.open()

        def full(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        with capturedLogs() as events:
            for _ in range(2):
                self.assertTrue(self.identify(access, "admin", "Xyzzy").admin)
        self.assertEqual(len(events), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertNotIn("Xyzzy", formatEvent(events[0]) + events[0]["log_failure"].getTraceback())
        self.assertEqual([path.name for path in self.state.iterdir()], ["admin.json"])

    def test_reset_while_running(self) -> None:
        """A login never brings back a record that was deleted to reset the password."""
        self.keep(CHEAP.hash("pw"))
        access = self.open()
        (self.state / "admin.json").unlink()
        self.identify(access, "admin", "pw")
        self.assertIsNone(read_admin(self.state))

    def test_no_secret(self) -> None:
        """No password and no hash is in any logged event, error or repr."""
        self.keep(CHEAP.hash("Xyzzy"))
        hashes = {"alice": CHEAP.hash("Xyzzy-a"), "carol": "Xyzzy-plain"}
        with capturedLogs() as events:
            access = self.open(hashes)
            errors = [
                self.refused(access, user, "Xyzzy-wrong") for user in ("alice", "admin", "carol")
            ]
            self.identify(access, "alice", "Xyzzy-a")
            self.identify(access, "admin", "Xyzzy")
        self.assertTrue(events)
        seen = (
            repr(events)
            + "".join(formatEvent(event) for event in events)
            + repr(vars(access))
            + repr(vars(access._verifier._flights))
        )
        seen += "".join(str(error.value) + repr(error) + error.getTraceback() for error in errors)
        for secret in ("Xyzzy", *hashes.values()):
            self.assertNotIn(secret, seen)
