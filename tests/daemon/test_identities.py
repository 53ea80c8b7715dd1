"""People and rules, put together: what a change of the configuration does to who is logged in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from pypid.access.passwords import hash_password
from pypid.blobs.memory import MemoryBlobs
from pypid.core.accounts.acl import Dump
from pypid.core.accounts.rights import Right, Session, Whom
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadRequest, CannotStart, PeopleUnknown, StorageDown, StorageFull
from pypid.core.packaging.names import ProjectName, project_glob, project_name
from pypid.core.permissions import ANONYMOUS, Action, Rules, may
from pypid.core.policy import EVERY_NAME, Claims
from pypid.core.records.layout import ACCOUNTS_KNOWN, CLOSED, OWNERS
from pypid.daemon.identities import Identities, OtherNodes, open_stores
from pypid.daemon.state import where
from pypid.flow import BytesBody, World, start
from pypid.flow.derived import Signal, Signals
from pypid.ports import Blobs
from pypid.web.app.app import App, AppSettings
from pypid.web.app.rate_limit import FAR, LEASE
from pypid.wiring.platform import load_config
from pypid.wiring.recipe import make_identities
from tests.support.worlds import world

SECRET, GLOB = project_name("secret"), project_glob("acme-*")


def ini(folder: Path, password: str) -> Path:
    """A configuration whose only user is carol."""
    path = folder / "pypid.ini"
    path.write_text(f"[server]\nstate = state\n[users]\ncarol = {hash_password(password)}\n")
    return path


def asynchronously(
    method: Callable[[Any], Coroutine[Any, Any, None]],
) -> Callable[[Any], Deferred[None]]:
    """Run the test in trial's reactor."""

    @wraps(method)
    def run(self: Any) -> Deferred[None]:
        return start(method(self))

    return run


def made_identities(
    config: Config,
    here: World | None = None,
    claims: Claims | None = None,
    nodes: OtherNodes | None = None,
    blobs: Blobs | None = None,
) -> Identities:
    """The identities of a configuration, not opened yet."""
    here, places = here or world(), where(config, {})
    stores = open_stores(config, places, here, reactor)
    return make_identities(
        config, places, stores, here, reactor, claims or Claims(), Signals(), nodes,
        blobs=blobs or MemoryBlobs(here.now),
    )  # fmt: skip


def follow(people: Identities, app: App) -> None:
    """Keep the app up to date, as the wiring does."""
    people.signals.rights_changed.connect(lambda: app.use_access(people.state))


class ReloadTests(TestCase):
    """Another configuration while it runs."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "state").mkdir(parents=True)

    async def made(self) -> Identities:
        """Everything, with one session of carol's."""
        config = load_config(ini(self.folder, "the first"))
        made = made_identities(config)
        await made.open()
        now = made.world.now()
        await made.stores.accounts.add_session(
            Session(digest="d", user="carol", created=now, expires=now + timedelta(hours=1))
        )
        return made

    def app(self) -> App:
        """As much of one as is told."""
        app = App.__new__(App)
        app.access_changed = Signal()
        app.rules, app.settings, app.closed = (
            Rules(),
            AppSettings(spool=self.folder, max_upload=1),
            None,
        )
        return app

    def test_nobody_is_believed(self) -> Deferred[None]:
        """After a reload, and after each change of the accounts, nobody is believed only because
        they were before.
        """

        async def work() -> None:
            people = await self.made()
            app = self.app()
            try:
                follow(people, app)
                await people.use(load_config(ini(self.folder, "another one")))
                turned = people.generation.changes
                self.assertGreater(turned, 0)
                await people.stores.accounts.end_session("d")
                now = people.world.now()
                session = Session(
                    digest="e", user="carol", created=now, expires=now + timedelta(hours=1)
                )
                await people.stores.accounts.add_session(session)
                self.assertGreater(people.generation.changes, turned)
                self.assertEqual(people.generation.lease, LEASE)
            finally:
                await people.end()

        return start(work())

    def test_elsewhere(self) -> Deferred[None]:
        """Where a directory knows people, nobody is believed for longer than it may be
        silent about a change.
        """

        async def work() -> None:
            written = ini(self.folder, "the first")
            written.write_text(
                f"{written.read_text()}[access]\nbackend = config ldap\n[ldap]\nurl = "
                f"ldaps://127.0.0.1:1\nbase_dn = dc=example\n"
            )
            config = load_config(written)
            people = made_identities(config)
            await people.open()
            app = self.app()
            try:
                follow(people, app)
                await people.use(config)
                self.assertEqual(people.generation.lease, FAR)
                self.assertLess(FAR, LEASE)
            finally:
                await people.end()

        return start(work())

    def test_server_away(self) -> Deferred[None]:
        """As long as a database server has never answered nobody is let in, any name may be ours,
        nobody is believed long.
        """

        async def work() -> None:
            written = ini(self.folder, "the first")
            written.write_text(
                f"{written.read_text()}[access]\nbackend = config sql\n[database]\nurl = "
                f"postgresql://127.0.0.1:1/pypid\n"
            )
            config = load_config(written)
            claims = Claims()
            people = made_identities(config, claims=claims)
            app = self.app()
            try:
                follow(people, app)
                await people.open()
                self.assertIsInstance(app.closed, PeopleUnknown)
                self.assertEqual(claims.names, EVERY_NAME)
                self.assertEqual(people.generation.lease, FAR)
                app.closed = None
                await people.use(config)
                self.assertIsInstance(app.closed, PeopleUnknown)
            finally:
                await people.end()

        return start(work())

    def test_database_away(self) -> Deferred[None]:
        """The sessions of who has another password in the file end also if the accounts database is
        away just then: later.
        """

        async def work() -> None:
            people = await self.made()
            accounts, end = people.stores.accounts, people.stores.accounts.end_session
            try:

                async def away(digest: str) -> None:
                    raise PeopleUnknown("the accounts database")

                patched = self.patch(accounts, "end_session", away)
                await people.use(load_config(ini(self.folder, "another one")))
                self.assertIsNotNone(await accounts.session("d"))
                patched.restore()
                self.assertEqual(accounts.end_session, end)
                people.world.clock.advance(1)  # type: ignore[attr-defined]
                later = people.world.now()
                since = Session(
                    digest="e", user="carol", created=later, expires=later + timedelta(hours=1)
                )
                await accounts.add_session(since)
                await people.outdated.end()
                self.assertEqual(
                    (await accounts.session("d"), await accounts.session("e")), (None, since)
                )
                future = Session(
                    digest="f",
                    user="carol",
                    created=since.expires,
                    expires=since.expires + timedelta(hours=1),
                )
                await accounts.add_session(future)
                await people.use(load_config(ini(self.folder, "a third one")))
                self.assertIsNone(
                    await accounts.session("f"), "begun before the clock was set back"
                )
            finally:
                await people.end()

        return start(work())


class LostAccountsTests(TestCase):
    """An accounts database that is empty or gone, where accounts have existed: no project that it
    closed is opened.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        self.blobs: Blobs = MemoryBlobs(world().now)

    def made(self, blobs: Blobs | None = None) -> Identities:
        """Another process."""
        config = load_config(ini(self.folder, "the first"))
        return made_identities(config, blobs=blobs or self.blobs)

    async def close_secret(self, people: Identities) -> None:
        """Close a project by a right."""
        right = Right(ProjectName("secret"), Whom.USER, "carol", write=False)
        await people.stores.accounts.grant(right)

    async def lived(self) -> None:
        """A project was closed by a right, and pypid ended."""
        people = self.made()
        await people.open()
        await self.close_secret(people)
        await people.end()

    async def opens(self) -> bool:
        """Whether a start succeeds."""
        people = self.made()
        try:
            await people.open()
        except CannotStart as error:
            self.assertIn("who may use which project", str(error))
            self.assertIn("accounts-known", str(error))
            return False
        finally:
            await people.end()
        return True

    async def is_noted(self) -> bool:
        """Whether the storage says which accounts belong to it."""
        return any([True async for _ in self.blobs.list(ACCOUNTS_KNOWN)])

    def lose(self, *, empty: bool) -> None:
        for file in self.state.glob("accounts.db*"):
            file.unlink()
        if empty:
            (self.state / "accounts.db").touch(mode=0o600)

    @asynchronously
    async def test_lost_accounts_stop_the_start(self) -> None:
        """Empty, gone or those of another pypid, they stop each start, until they are restored or
        an administrator removes the note.
        """
        await self.lived()
        saved = (self.state / "accounts.db").read_bytes()
        for empty in (True, False):
            self.lose(empty=empty)
            self.assertFalse(await self.opens())
            self.assertFalse(await self.opens())
        ours, self.blobs = self.blobs, MemoryBlobs(world().now)
        self.lose(empty=False)
        await self.lived()
        self.blobs = ours
        self.assertFalse(await self.opens(), "the accounts of another pypid")
        (self.state / "accounts.db").write_bytes(saved)
        self.assertTrue(await self.opens())
        self.lose(empty=False)
        await self.blobs.delete(ACCOUNTS_KNOWN)
        self.assertTrue(await self.opens())
        await self.lived()
        self.lose(empty=False)
        self.assertFalse(await self.opens())

    @asynchronously
    async def test_note_that_is_missing(self) -> None:
        """Accounts without a note belong to the storage that they are first used with, which the
        log says once.
        """
        await self.lived()
        await self.blobs.delete(ACCOUNTS_KNOWN)
        with closing(sqlite3.connect(self.state / "accounts.db")) as database, database:
            database.execute("DELETE FROM pypid_schema WHERE part = 'accounts-id'")
        for times in (1, 0):
            with capturedLogs() as events:
                self.assertTrue(await self.opens())
            texts = [formatEvent(event) for event in events]
            self.assertEqual(sum("noted which accounts" in text for text in texts), times)
        self.lose(empty=True)
        self.assertFalse(await self.opens())
        await self.blobs.delete(ACCOUNTS_KNOWN)
        self.assertTrue(await self.opens())

    @asynchronously
    async def test_first_start(self) -> None:
        """Without a note, accounts begin, also in an empty file; a session writes no note."""
        self.lose(empty=True)
        people = self.made()
        await people.open()
        now = people.world.now()
        session = Session(digest="d", user="carol", created=now, expires=now + timedelta(hours=1))
        await people.stores.accounts.add_session(session)
        await people.end()
        self.assertFalse(await self.is_noted())
        self.lose(empty=False)
        self.assertTrue(await self.opens())

    @asynchronously
    async def test_storage_away_at_the_first_change(self) -> None:
        """A change is refused whose accounts the storage does not know; also a crash between the
        two writes leaves a pypid that starts and goes on.
        """
        faulty = MemoryBlobs(world().now)
        people = self.made(faulty)
        await people.open()
        with (
            patch.object(faulty, "write", side_effect=StorageDown("it is away.")),
            self.assertRaises(StorageDown),
        ):
            await self.close_secret(people)
        self.assertEqual(await people.stores.accounts.rights(), ())
        await people.end()
        self.blobs = faulty
        self.assertTrue(await self.opens())
        await self.lived()
        self.assertTrue(await self.opens())
        self.assertTrue(await self.is_noted())

    def test_emptied_while_it_runs(self) -> Deferred[None]:
        """A file that is replaced by an empty one while pypid runs is away: the rights that it held
        stay.
        """

        async def work() -> None:
            await self.lived()
            people = self.made()
            await people.open()
            try:
                self.lose(empty=True)
                for _ in range(3):
                    await people.stores.accounts.current.poll()
                    self.assertFalse(people.can_be_asked)
                    self.assertEqual(
                        [right.project for right in people.stores.accounts.current.known.rights],
                        ["secret"],
                    )
            finally:
                await people.end()

        return start(work())


class OlderAccountsTests(TestCase):
    """Accounts that are a copy from before a right: what the storage names as closed has no right
    there, and is left to administrators.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        self.blobs = MemoryBlobs(world().now)
        self.said: list[str] = []

    async def opened(self) -> Identities:
        """Another process, which ends with the test, unless it has ended; `said` is its log."""
        people = made_identities(load_config(ini(self.folder, "the first")), blobs=self.blobs)
        with capturedLogs() as events:
            await people.open()
        self.said = [formatEvent(event) or "" for event in events]
        return people

    async def older(self) -> bytes:
        """The accounts of a pypid that has a group and no rights, and has ended."""
        people = await self.opened()
        await people.stores.accounts.add_group("team")
        await people.end()
        return (self.state / "accounts.db").read_bytes()

    async def closing(self, people: Identities) -> None:
        """Grant the first rights on a project and a glob."""
        for project in (SECRET, GLOB):
            await people.stores.accounts.grant(Right(project, Whom.GROUP, "team"))

    async def restored(self, saved: bytes) -> Identities:
        """Another process, with an older copy of the accounts."""
        for file in self.state.glob("accounts.db*"):
            file.unlink()
        (self.state / "accounts.db").write_bytes(saved)
        return await self.opened()

    async def closed(self) -> list[str]:
        """What the storage names as closed."""
        return [blob.key.removeprefix(CLOSED) async for blob in self.blobs.list(CLOSED)]

    def readable(self, people: Identities) -> list[str]:
        """The projects that an anonymous client may read."""
        names = ("secret", "acme-data", "open")
        rules = people.state.rules
        return [name for name in names if may(rules, ANONYMOUS, Action.READ, project_name(name))]

    @asynchronously
    async def test_older_copy(self) -> None:
        """It is closed again, with a line in the log and one in the audit log for each, until it
        gets a right, or an administrator opens it.
        """
        saved = await self.older()
        people = await self.opened()
        await self.closing(people)
        self.assertEqual(await self.closed(), [GLOB, SECRET])
        await people.end()
        for times in (1, 2):
            people = await self.restored(saved)
            self.assertEqual(sum("older copy: acme-* secret." in each for each in self.said), 1)
            self.assertEqual(
                [(each.project, each.whom) for each in await people.stores.accounts.rights()],
                [(GLOB, Whom.ADMINS), (SECRET, Whom.ADMINS)],
            )
            self.assertEqual(self.readable(people), ["open"])
            entries = await people.stores.journal.entries(who="pypid", what="right grant")
            self.assertEqual(
                sorted(each.subject for each in entries), sorted([GLOB, SECRET] * times)
            )
            await people.end()
        people = await self.opened()
        await people.stores.accounts.grant(Right(SECRET, Whom.GROUP, "team"))
        await people.stores.accounts.withdraw(GLOB, Whom.ADMINS, "")
        await people.end()
        people = await self.opened()
        self.assertFalse([each for each in self.said if "older copy" in each])
        self.assertEqual(self.readable(people), ["acme-data", "open"])
        self.assertEqual(await self.closed(), [SECRET])
        await people.end()

    @asynchronously
    async def test_restored_while_it_runs(self) -> None:
        """A server may lose its last changes while pypid uses it: it is noticed at once."""
        saved = self.folder / "saved"
        saved.write_bytes(await self.older())
        people = await self.opened()
        people.startService()
        await self.closing(people)
        with (
            closing(sqlite3.connect(saved)) as copy,
            closing(sqlite3.connect(self.state / "accounts.db")) as live,
        ):
            copy.backup(live)
        for _ in range(50):
            await deferLater(reactor, 0.1, lambda: None)
            if [right.whom for right in await people.stores.accounts.rights()] == [
                Whom.ADMINS,
                Whom.ADMINS,
            ]:
                break
        self.assertEqual(self.readable(people), ["open"])
        await people.stopService()
        await people.end()

    @asynchronously
    async def test_former_version(self) -> None:
        """A storage of a version without these notes gets them at the first start; what is no
        project in their folder is ignored.
        """
        people = await self.opened()
        await self.closing(people)
        await people.end()
        for name in await self.closed():
            await self.blobs.delete(f"{CLOSED}{name}")
        await self.blobs.write(f"{CLOSED}.DS_Store", BytesBody(b""))
        with patch.object(self.blobs, "write", side_effect=StorageFull("it")):
            people = await self.opened()
        self.assertTrue([each for each in self.said if "tries again" in each])
        await people.end()
        people = await self.opened()
        self.assertEqual(await self.closed(), [".DS_Store", GLOB, SECRET])
        self.assertEqual(len(await people.stores.accounts.rights()), 2)
        await people.end()

    @asynchronously
    async def test_owners(self) -> None:
        """A project that was first published after the copy is given back to its owner, also if the
        account is gone; not one that an administrator left without owner, or whose index is gone.
        """
        saved = await self.older()
        people = await self.opened()
        accounts = people.stores.accounts
        mine, reserved = ("", project_name("mine")), ("staging", project_name("mine"))
        await accounts.claim(mine, "sql:bob:1")
        await accounts.set_owner(reserved, "sql:alice:1")
        for index, name in (("", "freed"), ("gone", "mine")):
            await accounts.claim((index, project_name(name)), "sql:bob:1")
        await accounts.set_owner(("", project_name("freed")), None)
        await accounts.remove_owners("gone")
        await people.end()
        people = await self.restored(saved)
        self.assertEqual(sum("do not name them: mine mine." in each for each in self.said), 1)
        owners = await people.stores.accounts.owners()
        self.assertEqual(
            {key: (owner.account, owner.is_claimed) for key, owner in owners.items()},
            {mine: ("sql:bob:1", True), reserved: ("sql:alice:1", False)},
        )
        entries = await people.stores.journal.entries(who="pypid", what="project set-owner")
        self.assertEqual(
            {(entry.index, entry.subject, entry.details["user"]) for entry in entries},
            {("", "mine", "bob"), ("staging", "mine", "alice")},
        )
        await people.stores.accounts.remove_owners("staging")
        await people.end()
        people = await self.opened()
        self.assertEqual(set(await people.stores.accounts.owners()), {mine})
        await people.end()

    @asynchronously
    async def test_claims_that_changed(self) -> None:
        """The storage names the last owner; a claim that ended without a file is not given back."""
        saved = await self.older()
        now = [world().now()]
        here = evolve(world(), now=lambda: now[0])
        config = load_config(ini(self.folder, "the first"))
        people = made_identities(config, here, blobs=self.blobs)
        await people.open()
        for name in ("taken", "ended"):
            await people.stores.accounts.claim(("", project_name(name)), "sql:bob:1")
        now[0] += timedelta(minutes=11)
        await people.stores.accounts.claim(("", project_name("taken")), "sql:alice:1")
        await people.stores.accounts.claim(("", project_name("ended")), "")
        await people.end()
        people = await self.restored(saved)
        owners = await people.stores.accounts.owners()
        self.assertEqual(
            {key[1]: owner.account for key, owner in owners.items()}, {"taken": "sql:alice:1"}
        )
        await people.end()

    @asynchronously
    async def test_owners_of_a_former_version(self) -> None:
        """The first start notes them, and says so."""
        saved = await self.older()
        people = await self.opened()
        key = ("", project_name("mine"))
        await people.stores.accounts.claim(key, "sql:bob:1")
        await people.end()
        await self.blobs.delete(f"{OWNERS}default/mine")
        people = await self.opened()
        self.assertEqual(sum("owners of 1 projects" in each for each in self.said), 1)
        await people.end()
        people = await self.restored(saved)
        self.assertEqual(set(await people.stores.accounts.owners()), {key})
        await people.end()

    @asynchronously
    async def test_removed_by_administrators_only(self) -> None:
        """The note goes when an administrator opens the project, not with its other rights, nor by
        a change that fails; a refused import leaves none.
        """
        people = await self.opened()
        accounts = people.stores.accounts
        await accounts.add_group("team")
        await self.closing(people)
        await accounts.withdraw(SECRET, Whom.ADMINS, "")
        self.assertEqual(await self.closed(), [GLOB, SECRET])
        await accounts.remove_group("team")
        self.assertEqual(await self.closed(), [GLOB, SECRET])
        failing = patch.object(accounts.current, "change", side_effect=PeopleUnknown("they"))
        with failing, self.assertRaises(PeopleUnknown):
            await accounts.withdraw(SECRET, Whom.ADMINS, "")
        self.assertEqual(await self.closed(), [GLOB, SECRET])
        away = patch.object(self.blobs, "delete", side_effect=StorageDown("it is away."))
        with away, self.assertRaises(StorageDown):
            await accounts.withdraw(SECRET, Whom.ADMINS, "")
        self.assertEqual(len(await accounts.rights()), 2)
        await accounts.withdraw(SECRET, Whom.ADMINS, "")
        self.assertEqual(await self.closed(), [GLOB])
        refusing = patch.object(accounts.current, "change", side_effect=BadRequest("no"))
        rights = (Right(SECRET, Whom.EVERYONE), Right(GLOB, Whom.EVERYONE))
        with refusing, self.assertRaises(BadRequest):
            await accounts.merge(Dump(rights=rights))
        self.assertEqual(await self.closed(), [GLOB])
        await accounts.merge(Dump(rights=rights))
        self.assertEqual(await self.closed(), [GLOB, SECRET])
        await people.end()
