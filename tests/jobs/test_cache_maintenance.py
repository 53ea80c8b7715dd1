"""What is done while nobody asks: kept pages refreshed, use written down, the surplus evicted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.errors import StorageDown
from pypid.core.model import Blob, File, Listing, Project
from pypid.core.packaging.names import ProjectName, parse_filename, project_name
from pypid.core.policy import Policy
from pypid.core.restrictions import ProjectRestrictions, Restrictions
from pypid.flow import whole
from pypid.flow.spool import sweep
from pypid.index import Index
from pypid.index.upstream.eviction import inventory_of
from pypid.index.views import DIRECT, STORED, UpstreamPermission
from pypid.jobs.cache_maintenance import LOOK_AT_SIZE, REFRESHES, WRITE_DOWN, CacheMaintenance
from pypid.jobs.leases import COMPARE
from tests.core.test_restrictions import VersionRule
from tests.index.file_cache_cases import noise
from tests.index.uploads import an_index, publishing, sent
from tests.support import world
from tests.support.engines import a_catalog, rows_of
from tests.support.worlds import Awaiting
from tests.web.memory_upstream import Elsewhere

KIB = 1 << 10
RECORD = 1 * KIB
"""A record has fewer bytes."""
CACHE = Policy(mode=Mode.CACHE)


class Watched(MemoryBlobs):
    """A storage that counts the listings of all that is kept, and can be away, or slow."""

    listings = 0
    away: StorageDown | None = None
    gate: Deferred[None] | None = None
    """What the next delete waits for."""

    async def delete(self, key: str) -> None:
        if self.gate is not None:
            await self.gate
        await super().delete(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        self.listings += prefix == ".kept/"
        if self.away is not None:
            raise self.away
        async for blob in super().list(prefix):
            yield blob


@define(eq=False)
class Slow(Elsewhere):
    """It answers, or fails, when the test says so."""

    waiting: dict[str, Deferred[None]] = field(factory=dict)
    held: bool = False

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        if self.held:
            self.waiting[name] = Deferred()
            await self.waiting[name]
        return await super().project(name, known, via)


class UpkeepCase(Awaiting, SynchronousTestCase):
    """An index in front of another one, and its jobs."""

    policy = CACHE

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.world = world(self.clock)
        self.upstream = Slow(now=self.world.now)
        self.blobs = Watched(self.world.now)
        self.folder = Path(self.mktemp())
        sweep(self.folder)
        self.index = self.another()

    def another(self, policy: Policy | None = None, catalog: SharedCatalog | None = None) -> Index:
        """An index of the same storage that has been compared with it."""
        made = an_index(
            self.blobs,
            catalog or a_catalog(),
            self.upstream,
            policy or self.policy,
            self.world,
            spool=self.folder,
        )
        self.have(made.maintenance.reconcile())
        return made

    def maintenance(
        self, max_cache: int | None = None, refresh: timedelta | None = None
    ) -> CacheMaintenance:
        """The jobs of the index, which run."""
        made = CacheMaintenance(self.index, self.disconnected, refresh=refresh, max_cache=max_cache)
        made.startService()
        return made

    async def disconnected(self) -> None:
        """There are no connections."""

    def stop(self, maintenance: CacheMaintenance) -> None:
        """As the daemon stops it."""

        async def stopped() -> None:
            await maintenance.stopService()
            await maintenance.end()

        self.have(stopped())

    def want(self, filename: str, asked: UpstreamPermission = DIRECT) -> bytes:
        """A client's download."""
        return self.have(self._wanted(filename, asked))

    async def _wanted(self, filename: str, asked: UpstreamPermission) -> bytes:
        file = await self.index.file(parse_filename(filename).project, filename, asked)
        return await whole(await self.index.open(file, None, asked), 1 << 22)

    def has(self, *filenames: str, size: int = 20 * KIB) -> None:
        """Upstream has these files, of so many bytes."""
        for filename in filenames:
            self.upstream.has(parse_filename(filename).project, filename, noise(size))

    def keep(self, *filenames: str, size: int = 20 * KIB, every: float = 60) -> None:
        """Have these files of upstream, one in so many seconds."""
        self.has(*filenames, size=size)
        for filename in filenames:
            self.clock.advance(every)
            self.assertEqual(len(self.want(filename)), size)

    def kept(self) -> list[str]:
        """The kept files, by what lies in the storage, which is what the catalog says."""
        found = [
            (file.project, file.filename) for file in self.have(inventory_of(self.index).lying())
        ]
        for name in {project for project, _ in found}:
            held = self.have(self.index.catalog.upstream.get(name)).kept
            self.assertEqual(
                [file.filename for file in held],
                [filename for project, filename in found if project == name],
            )
        return [filename for _, filename in found]

    def size(self) -> int:
        """The bytes that are kept."""
        return sum(file.size for file in self.have(inventory_of(self.index).lying()))


class EvictingTests(UpkeepCase):
    """No more than `max_cache` bytes of theirs."""

    def test_at_once(self) -> None:
        """When what comes is too much, the file that nobody wanted for longest goes at once, and is
        fetched anew if wanted.
        """
        self.maintenance(max_cache=3 * (20 * KIB + RECORD) + 5 * KIB)
        files = [f"{name}-1.0.tar.gz" for name in ("zebra", "mouse", "ant")]
        self.keep(*files)
        self.assertEqual(self.kept(), sorted(files))
        self.clock.advance(5)
        self.want("zebra-1.0.tar.gz")
        self.keep("bee-1.0.tar.gz")
        self.assertEqual(self.kept(), ["ant-1.0.tar.gz", "bee-1.0.tar.gz", "zebra-1.0.tar.gz"])
        self.assertEqual(self.want("mouse-1.0.tar.gz"), noise(20 * KIB))
        self.assertEqual(self.kept(), ["bee-1.0.tar.gz", "mouse-1.0.tar.gz", "zebra-1.0.tar.gz"])

    def test_withheld(self) -> None:
        """A blocked file stays, as evidence, while the block lasts; others go in its place."""
        self.patch(self.index.context.policy.restrictions, "current", Restrictions())
        self.keep("ant-1.0.tar.gz")
        ant = project_name("ant")
        rule = VersionRule(frozenset(["1.0"]))
        self.index.context.policy.restrictions.replace(
            "blocks", {ant: ProjectRestrictions((rule,))}
        )
        self.clock.advance(3600)
        self.keep("bee-1.0.tar.gz")
        self.have(self.maintenance(max_cache=KIB).evict())
        self.assertEqual(self.kept(), ["ant-1.0.tar.gz"])
        self.index.context.policy.restrictions.replace("blocks", {})
        self.have(self.maintenance(max_cache=KIB).evict())
        self.assertEqual(self.kept(), [])

    def test_never_ours(self) -> None:
        """Files of ours take nothing of the limit, and stay, also those of a name
        that both have.
        """
        self.index = self.another(Policy(mode=Mode.CACHE, allow_mixed=("spam",)))
        for number in range(3):
            one = sent(noise(90 * KIB + number), f"spam-{number}-py3-none-any.whl")
            self.have(publishing(self.index, one))
        ours = self.have(self.index.project(project_name("spam"))).files
        maintenance = self.maintenance(max_cache=30 * KIB)
        self.clock.advance(3600)  # what was heard of spam is no longer fresh
        self.keep("spam-7.0.tar.gz", "eggs-1.0.tar.gz")
        self.assertEqual(self.kept(), ["eggs-1.0.tar.gz"])
        self.has(*(f"ham-{number}.0.tar.gz" for number in range(3)))
        maintenance.max_cache = 1
        self.clock.advance(LOOK_AT_SIZE)
        self.want("ham-0.0.tar.gz")
        self.assertEqual((self.kept(), self.size()), ([], 0))
        for file in ours:
            self.assertEqual(len(self.have(self._read(file))), file.size)

    async def _read(self, file: File) -> bytes:
        return await whole(await self.index.open(file), 1 << 22)

    def test_what_was_there(self) -> None:
        """What was kept before the start is looked at within a minute, once; or when the first file
        comes.
        """
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz", "cat-1.0.tar.gz")
        self.index = self.another()
        maintenance = self.maintenance(max_cache=50 * KIB)
        self.blobs.listings = 0
        self.clock.advance(LOOK_AT_SIZE)
        self.assertEqual(self.kept(), ["bee-1.0.tar.gz", "cat-1.0.tar.gz"])
        looked = self.blobs.listings
        for _ in range(10):
            self.clock.advance(LOOK_AT_SIZE)
        self.assertEqual(self.blobs.listings, looked)
        self.stop(maintenance)
        self.index = self.another()
        self.maintenance(max_cache=30 * KIB)
        self.keep("dog-1.0.tar.gz", every=1)
        self.assertEqual(self.kept(), ["dog-1.0.tar.gz"])

    def test_storage_away(self) -> None:
        """A storage that is away while files should go is logged; they go when it is back."""
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz", "cat-1.0.tar.gz")
        maintenance = self.maintenance(max_cache=50 * KIB)
        self.blobs.away = StorageDown("the disk is gone.")
        self.clock.advance(LOOK_AT_SIZE)
        self.assertEqual(len(self.flushLoggedErrors(StorageDown)), 1)
        self.blobs.away = None
        self.assertEqual(len(self.kept()), 3)
        self.clock.advance(LOOK_AT_SIZE)
        self.assertEqual(len(self.kept()), 2)
        self.stop(maintenance)

    async def _opened(self, filename: str) -> object:
        return await self.index.open(
            await self.index.file(parse_filename(filename).project, filename)
        )


class WritingDownTests(UpkeepCase):
    """When kept files were last wanted."""

    def wanted(self, index: Index) -> dict[str, int]:
        """Seconds since the world began, by file."""
        begun = int(self.world.now().timestamp()) - int(self.clock.seconds())

        return {
            file.filename: file.wanted - begun for file in self.have(inventory_of(index).taken())
        }

    def touched(self) -> dict[str, int]:
        """What the catalog holds, in hours since the world began."""
        hours = (int(self.world.now().timestamp()) - int(self.clock.seconds())) // 3600
        return {
            name: hour - hours
            for name, hour in self.have(
                self.index.catalog.upstream.get(project_name("ant"))
            ).touched
        }

    def test_hourly(self) -> None:
        """Once an hour it goes into the catalog, to the hour, and until then it is known to the
        second.
        """
        maintenance = self.maintenance()
        self.keep("ant-1.0.tar.gz", "ant-2.0.tar.gz")
        self.clock.advance(1000 - self.clock.seconds())
        self.want("ant-1.0.tar.gz", STORED)
        self.assertEqual(self.touched(), {})
        self.assertEqual(self.wanted(self.index), {"ant-1.0.tar.gz": 1000, "ant-2.0.tar.gz": 120})
        self.clock.advance(WRITE_DOWN - self.clock.seconds())
        self.assertEqual(self.touched(), {"ant-1.0.tar.gz": 0, "ant-2.0.tar.gz": 0})
        self.clock.advance(400)
        self.want("ant-1.0.tar.gz", STORED)
        self.assertEqual(self.wanted(self.index), {"ant-1.0.tar.gz": 4000, "ant-2.0.tar.gz": 120})
        self.clock.advance(3 * WRITE_DOWN - self.clock.seconds())
        self.assertEqual(self.touched(), {"ant-1.0.tar.gz": 1, "ant-2.0.tar.gz": 0})
        self.stop(maintenance)

    def test_at_stop(self) -> None:
        """At the end it is written down, for the next start."""
        maintenance = self.maintenance()
        self.keep("ant-1.0.tar.gz", "ant-2.0.tar.gz")
        self.clock.advance(2 * 3600 + 100 - self.clock.seconds())
        self.want("ant-1.0.tar.gz")
        self.stop(maintenance)
        self.assertEqual(self.touched(), {"ant-1.0.tar.gz": 2, "ant-2.0.tar.gz": 0})
        self.index = self.another(catalog=a_catalog(place=rows_of(self.index.catalog)))
        self.assertEqual(self.wanted(self.index), {"ant-1.0.tar.gz": 7200, "ant-2.0.tar.gz": 120})


class RefreshingTests(UpkeepCase):
    """``[upstream] mode = mirror``."""

    policy = Policy(mode=Mode.MIRROR)

    def refresh(self, maintenance: CacheMaintenance | None = None) -> list[str]:
        """What upstream heard of while everything was refreshed."""
        self.upstream.heard.clear()
        self.have((maintenance or self.maintenance(refresh=timedelta(hours=1))).refresh_pages())
        return sorted(self.upstream.heard)

    def files(self, name: str) -> list[str]:
        """What is known of the page, without asking."""
        said = self.have(self.index.catalog.upstream.get(project_name(name))).listing
        assert said is not None and said.files is not None
        return [file.filename for file in said.files]

    def test_what_is_kept(self) -> None:
        """The pages of projects of which files are kept are asked for anew, though they are fresh,
        and no others.
        """
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz")
        self.has("cat-1.0.tar.gz", "ant-2.0.tar.gz")
        self.have(self.index.project(project_name("cat")))  # seen, and nothing of it is kept
        self.assertEqual(self.files("ant"), ["ant-1.0.tar.gz"])
        maintenance = self.maintenance(refresh=timedelta(hours=1))
        self.upstream.heard.clear()
        self.clock.advance(3599)
        self.assertEqual(self.upstream.heard, [])
        self.clock.advance(1)
        self.assertEqual(sorted(self.upstream.heard), ["ant", "bee"])
        self.assertEqual(self.files("ant"), ["ant-1.0.tar.gz", "ant-2.0.tar.gz"])
        self.clock.advance(3600)
        self.assertEqual(sorted(self.upstream.heard), ["ant", "ant", "bee", "bee"])
        self.stop(maintenance)

    def test_only_in_this_mode(self) -> None:
        """Without the mode nothing is asked for while nobody asks."""
        self.keep("ant-1.0.tar.gz")
        maintenance = self.maintenance(max_cache=1 << 30)
        self.upstream.heard.clear()
        self.clock.advance(100_000)
        self.assertEqual(self.upstream.heard, [])
        self.stop(maintenance)

    def test_what_may_be_told(self) -> None:
        """A name that has become ours, reserved, denied or not allowed since is not asked for,
        though files of it are kept.
        """
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz")
        self.have(publishing(self.index, sent(filename="ant-9.0-py3-none-any.whl")))
        self.assertEqual(self.refresh(), ["bee"])
        for rules in ({"reserved": ("b*",)}, {"deny": ("bee",)}, {"allow": ("ant",)}):
            self.index = self.another(Policy(mode=Mode.MIRROR, **rules))  # type: ignore[arg-type]
            self.assertEqual(self.refresh(), [])

    def test_published_elsewhere(self) -> None:
        """A name that another process has just published, which our catalog does not know, is not
        told either.
        """
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz")
        other = self.another()
        self.have(publishing(other, sent(filename="ant-9.0-py3-none-any.whl")))
        self.assertNotIsInstance(
            self.have(self.index.catalog.local.get(project_name("ant"))), Project
        )
        self.assertEqual(self.refresh(), ["bee"])

    def test_stop(self) -> None:
        """A stop waits neither for projects that have not had their turn nor for
        those that have.
        """
        self.keep(*(f"name{number}-1.0.tar.gz" for number in range(11)))
        maintenance = self.maintenance(refresh=timedelta(hours=1))
        self.upstream.held = True
        self.clock.advance(3600)
        self.assertEqual(len(self.upstream.waiting), REFRESHES)
        self.stop(maintenance)
        self.assertEqual(len(self.upstream.waiting), REFRESHES)


class ComparingTests(UpkeepCase):
    def test_dead_node(self) -> None:
        """What a node wrote that died before it told the catalog is found ten minutes later, and
        the log says so.
        """
        maintenance = CacheMaintenance(self.index, self.disconnected, compares=True)
        maintenance.startService()
        self.addCleanup(self.stop, maintenance)
        self.have(publishing(self.another(), sent()))
        with capturedLogs() as events:
            self.clock.advance(COMPARE - 1)
            self.assertEqual(len(self.have(self.index.names())), 0)
            self.clock.advance(1)
            self.assertEqual(len(self.have(self.index.names())), 1)
            self.clock.advance(COMPARE)
        said = [formatEvent(event) for event in events if event["log_level"].name == "info"]
        self.assertEqual(said, ["compared with the storage: 1 of 1 projects read again"])
