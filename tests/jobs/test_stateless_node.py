"""The jobs of a pypid whose files lie in a bucket."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.config import ClosedAccess
from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import CannotStart, StorageDown
from pypid.core.model import Blob
from pypid.core.permissions import Credential, Identity
from pypid.core.policy import Policy
from pypid.core.records.layout import OF_RECORD
from pypid.flow import BytesBody, start
from pypid.index.named_indexes import Indexes
from pypid.jobs.backup.copies import Backup
from pypid.jobs.leases import COMPARE
from pypid.jobs.stateless_node import LAST_WORDS, StatelessNode
from pypid.ports import Body
from pypid.upstream.nothing import Nothing
from tests.distributions import wheel
from tests.index.named import NamedCase
from tests.index.uploads import an_index
from tests.support import world
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting, contents

ADMIN = f"{OF_RECORD}admin.json"
HAM = "ham/ham-1.0-py3-none-any.whl"


class Anybody:
    async def identify(self, credential: Credential) -> Identity:
        return Identity(credential.user)


class ThrowawayCase(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.world = world(self.clock)
        self.store: Any = MemoryBlobs(self.world.now)
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.state = self.folder()
        self.closed = 0

    def folder(self) -> Path:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def made(self, secret: str | None = "x" * 40, **more: Any) -> StatelessNode:
        index = an_index(self.store, a_catalog(), Nothing(), Policy(), self.world, spool=self.state)
        return StatelessNode(
            index,
            **{
                "access": ClosedAccess(Anybody()),
                "close": self.close,
                "backup": Backup(self.store, self.state, "here", secret, self.world),
                **more,
            },
        )

    async def close(self) -> None:
        self.closed += 1

    def running(self, secret: str | None = "x" * 40) -> StatelessNode:
        """One that has compared its storage."""
        made = self.made(secret)
        made.startService()
        self.have(made.prepare())
        self.have(made.index.maintenance.reconcile())
        self.have(made.compared())
        return made

    def logged(self, level: str) -> list[str]:
        return [event["log_format"] for event in self.events if event["log_level"].name == level]

    def keys(self) -> list[str]:
        return self.have(contents(self.store))

    def put(self, key: str, data: bytes) -> None:
        self.have(self.store.write(key, BytesBody(data), replace=True))


class StartTests(ThrowawayCase):
    def test_nobody_before(self) -> None:
        """Nobody can log in until what is of record is there; then the welcome is done, once."""
        (self.state / "admin.json").write_bytes(b"1")
        self.have(self.running().end())
        self.state = self.folder()
        welcomed: list[bytes] = []

        async def welcome() -> None:
            welcomed.append((self.state / "admin.json").read_bytes())

        made = self.made(access=ClosedAccess(Anybody(), is_open=False), open_accounts=welcome)
        self.refused(made.access.identify(Credential("admin", "x")), StorageDown)
        for _ in range(2):
            self.have(made.prepare())
        self.assertEqual(
            (welcomed, self.have(made.access.identify(Credential("admin", "x"))).user),
            ([b"1"], "admin"),
        )

    def test_wrong_secret(self) -> None:
        """With another secret it stays closed."""
        (self.state / "admin.json").write_bytes(b"1")
        self.have(self.running().end())
        self.state = self.folder()
        made = self.made("y" * 40)
        made.access.is_open = False
        self.refused(made.prepare(), CannotStart)
        self.refused(made.access.identify(Credential("admin", "x")), StorageDown)

    def test_no_secret(self) -> None:
        """Without a secret the log says what will be lost; with a short one, that it is short; else
        nothing.
        """
        (self.state / "admin.json").write_bytes(b"1")
        for secret, words in (
            (None, "is lost with this machine"),
            ("short", "so short that it could be guessed"),
        ):
            self.have(self.running(secret).end())
            self.assertIn(words, self.logged("warn")[-1])
        self.events.clear()
        self.have(self.running().end())
        self.assertEqual(self.logged("warn"), [])


class JobsTests(ThrowawayCase):
    def test_copied_in_time(self) -> None:
        """What changes is in the bucket within 10 seconds."""
        made = self.running()
        self.assertNotIn(ADMIN, self.keys())
        (self.state / "admin.json").write_bytes(b"1")
        self.clock.pump([1] * 9)
        self.assertIn(ADMIN, self.keys())
        self.have(made.end())

    def test_copied_before_it_is_compared(self) -> None:
        """What is of record does not wait for a comparison, which may take long, or fail while one
        record is unreadable.
        """
        made = self.made()
        made.startService()
        for _ in range(2):
            self.have(made.prepare())
        (self.state / "admin.json").write_bytes(b"1")
        self.clock.pump([1] * 9)
        self.assertIn(ADMIN, self.keys())
        self.have(made.end())

    def test_others(self) -> None:
        """What another tool puts there is taken in once it has rested; what cannot be
        is told once.
        """
        made = self.running()
        self.put(HAM, wheel("ham"))
        self.put("spam/spam-1.0-py3-none-any.whl", b"no wheel")
        self.clock.advance(COMPARE)
        self.assertEqual(self.have(made.index.names()), ())
        for _ in range(3):
            self.clock.advance(COMPARE)
        self.assertEqual([summary.name for summary in self.have(made.index.names())], ["ham"])
        self.assertEqual(len([line for line in self.logged("warn") if "not restored" in line]), 1)
        self.have(made.end())

    def refuses(self, prefix: str = "") -> Any:
        raise StorageDown("it is away.")


class NamedIndexesTests(NamedCase, SynchronousTestCase):
    """The projects and files of named indexes in a bucket."""

    def node(self, indexes: Indexes, **more: Any) -> StatelessNode:
        """Return a node that may write to the bucket."""
        state = Path(self.mktemp())
        state.mkdir()
        return StatelessNode(
            evolve(indexes.default),
            access=ClosedAccess(Anybody()),
            close=self.close,
            backup=Backup(self.store, state, "here", "x" * 40, self.world),
            **more,
        )

    async def close(self) -> None:
        """Nothing is open."""

    def test_files_that_other_tools_put_into_a_named_index_are_adopted_there(self) -> None:
        """After they have rested; the log names what cannot be adopted once, with its key."""
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        team, default = self.create("team"), self.indexes.default
        node = self.node(self.indexes)
        for key, data in ((HAM, wheel("ham")), ("spam/spam-1.0-py3-none-any.whl", b"no wheel")):
            whole = f".pypid/index/team/{key}"
            self.have(self.store.write(whole, BytesBody(data)))
        self.have(node.look_around())
        self.assertEqual(self.have(team.own_stored_names()), ())
        self.clock.advance(COMPARE * 2)
        for _ in range(2):
            self.have(node.look_around())
        self.assertEqual([each.name for each in self.have(team.own_stored_names())], ["ham"])
        self.assertEqual(self.have(default.own_stored_names()), ())
        refused = [event["key"] for event in logged if "not restored" in event["log_format"]]
        self.assertEqual(refused, [".pypid/index/team/spam/spam-1.0-py3-none-any.whl"])


class EndTests(ThrowawayCase):
    def test_hangs(self) -> None:
        """A bucket that does not answer holds up the end for some seconds only, and is closed all
        the same.
        """

        class Hanging(MemoryBlobs):
            async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
                return await Deferred()  # type: ignore[no-any-return]

        made = self.running()
        (self.state / "admin.json").write_bytes(b"1")
        hanging = Hanging(self.world.now)
        assert made.backup is not None
        made.backup.blobs = hanging
        self.successResultOf(made.stopService())
        ending = start(made.end())
        self.assertNoResult(ending)
        self.clock.advance(LAST_WORDS)
        self.successResultOf(ending)
        self.assertEqual(
            (self.closed, self.logged("error")),
            (1, ["{what} could not be written into the bucket in time"]),
        )
