"""Several nodes: an index each, over one storage and one engine that they share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.model import File, Listing, Presence, Project, Span
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.core.records.layout import ObjectKind
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.engine import Engine
from pypid.database.places import SqliteFile
from pypid.flow import BytesBody, at_once, start, whole
from pypid.index import Index
from pypid.index.local.publish import PublishOutcome
from pypid.ports import Blobs, Body
from tests.index.file_cache_cases import listed
from tests.index.uploads import SPAM, WHEEL, Sent, an_index, publishing
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared
from tests.support.worlds import Timed, contents, world

STALE_FOR = timedelta(seconds=60)
THEIR_DATA = b"bytes of theirs"


class Told:
    """An upstream that writes down each name that it is told, and has one file of each but those
    that it has not.
    """

    def __init__(self, clock: Clock) -> None:
        self._now = world(clock).now
        self.names_told: list[str] = []
        self.fetched: list[str] = []
        self.has_not: set[str] = set()
        self.all_names: Sequence[ProjectName] = ()

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self.names_told.append(name)
        files = None if name in self.has_not else (listed(THEIR_DATA, f"{name}-1.0.tar.gz"),)
        return Listing(
            name=name, files=files, confirmed=self._now(), index="https://up.example/simple/"
        )

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        return self.all_names

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        self.fetched.append(url)
        return BytesBody(THEIR_DATA if span is None else THEIR_DATA[span.start : span.stop])


class NodesCase(Timed, SynchronousTestCase):
    """Each test with two nodes, `here` and `there`, which a storage in memory and an engine in
    memory have in common.
    """

    def setUp(self) -> None:
        super().setUp()
        self.place = Place()
        self.store: Blobs = MemoryBlobs(self.world.now)
        self.upstream = Told(self.clock)
        self.here = self.node()
        self.there = self.node()

    def engine(self) -> Engine:
        """Another node's way to the engine."""
        return PlacedEngine(self.clock, self.place)

    def node(self, blobs: Blobs | None = None, mode: Mode = Mode.CACHE) -> Index:
        """A node that starts now, and has compared nothing."""
        settings = SharedSettings("storage", STALE_FOR)
        catalog = self.have(open_shared(settings, self.engine(), self.world))
        self.addCleanup(lambda: self.have(catalog.close()))
        spool = Path(self.mktemp())
        spool.mkdir()
        return an_index(
            blobs or self.store,
            catalog,
            self.upstream,
            Policy(mode=mode),
            self.world,
            shared=True,
            spool=spool,
        )

    def catalog(self, node: Index) -> SharedCatalog:
        """Its."""
        assert isinstance(node.catalog, SharedCatalog)
        return node.catalog

    def cut_off(self, *nodes: Index, off: bool = True) -> None:
        """These can ask the engine no more, or again; and time passes so that they know."""
        for node in nodes:
            engine = self.catalog(node).following.engine
            assert isinstance(engine, PlacedEngine)
            engine.is_down = off
        self.go(1.5)

    def go(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    def publish(self, node: Index, what: Sent, *, overwrite: bool = False) -> PublishOutcome:
        """Publish it there, now."""
        return self.have(publishing(node, what, overwrite=overwrite))

    def seen(self, node: Index, name: ProjectName = SPAM) -> dict[str, str | None]:
        """The files that a page lists there, with their hashes."""
        return {file.filename: file.sha256 for file in self.have(node.project(name)).files}

    def row(self, name: ProjectName = SPAM) -> Project | Presence:
        """What a node that starts now has of the project, without looking at the storage."""
        return self.have(self.node().catalog.local.get(name))

    def keys(self) -> list[str]:
        """What lies in the storage."""
        return self.have(contents(self.store))

    def has_record(self) -> bool:
        """Whether any file is of record."""
        return any(key.endswith(ObjectKind.RECORD.value) for key in self.keys())

    def file(self, node: Index, filename: str = WHEEL, name: ProjectName = SPAM) -> File:
        """One of them."""
        return self.have(node.file(name, filename))

    def data(self, node: Index, file: File) -> bytes:
        """What a client gets."""

        async def got() -> bytes:
            return await whole(await node.open(file), 1 << 20)

        waiting = start(got())
        self.clock.advance(0)
        return self.successResultOf(waiting)


class SqliteNodesCase(NodesCase):
    """The same, with a file of SQLite in common."""

    path: Path

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "catalog.db"
        super().setUp()

    def engine(self) -> Engine:
        return SqlEngine(SqlSettings(SqliteFile(self.path), at_once), self.world)
