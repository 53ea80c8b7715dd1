"""The jobs for the caches of several upstreams: one limit, one refresh, one end."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from pypid.blobs.store import Store
from pypid.core.packaging.names import parse_filename
from pypid.core.policy import PUBLIC, UpstreamChoice
from pypid.core.restrictions import ProjectRestrictions
from pypid.flow import whole
from pypid.index.upstream.eviction import inventory_of
from pypid.jobs.cache_maintenance import CacheMaintenance
from tests.core.test_restrictions import VersionRule
from tests.index.file_cache_cases import noise
from tests.index.uploads import NoOthers, an_index
from tests.jobs.test_cache_maintenance import KIB, RECORD, Slow, UpkeepCase
from tests.support.engines import a_catalog

ROOM = 20 * KIB + RECORD
TORCH = "torch-1.0.tar.gz"


class NamedCachesTests(UpkeepCase):
    """An index, and the upstream `cu128` beside `[upstream]`."""

    def setUp(self) -> None:
        super().setUp()
        self.gpu = Slow(now=self.world.now)
        self.named = an_index(
            Store(self.blobs, ".pypid/upstream/cu128/"),
            a_catalog(),
            self.gpu,
            evolve(self.policy, only=("torch*",)),
            self.world,
            spool=self.folder,
        )
        self.have(self.named.maintenance.reconcile())
        others = NoOthers({"cu128": self.named})
        source = evolve(self.index.source, file_cached=self.named.source.file_cached)
        self.index = others.index = evolve(self.index, source=source, indexes=others)
        self.have(self.index.maintenance.reconcile())

    def maintenance(
        self, max_cache: int | None = None, refresh: timedelta | None = None
    ) -> CacheMaintenance:
        """The jobs of both."""
        made = CacheMaintenance(
            self.index,
            self.disconnected,
            refresh=refresh,
            max_cache=max_cache,
        )
        made.startService()
        return made

    def want_torch(self, filename: str = TORCH, size: int = 20 * KIB) -> None:
        """Download the file from the named upstream, which has it."""
        self.clock.advance(60)
        project = parse_filename(filename).project
        self.gpu.has(project, filename, noise(size))
        file = self.have(self.named.file(project, filename))
        self.assertEqual(len(self.have(self._read(file))), size)

    async def _read(self, file: object) -> bytes:
        return await whole(await self.named.open(file), 1 << 22)  # type: ignore[arg-type]

    def all_kept(self) -> list[str]:
        """The cached files of both upstreams, with the name of the upstream."""
        named = self.have(inventory_of(self.named, "cu128").lying())
        return [*self.kept(), *(f"{file.upstream}/{file.filename}" for file in named)]

    def test_one_limit(self) -> None:
        """The least recently used file goes first, of whatever upstream it is."""
        maintenance = self.maintenance(max_cache=2 * ROOM + 5 * KIB)
        self.want_torch()
        self.keep("ant-1.0.tar.gz", "bee-1.0.tar.gz")
        self.assertEqual(self.all_kept(), ["ant-1.0.tar.gz", "bee-1.0.tar.gz"])
        self.want_torch()
        self.assertEqual(self.all_kept(), ["bee-1.0.tar.gz", f"cu128/{TORCH}"])
        self.assertEqual(self.have(self.named.catalog.upstream.get(TORCH[:5])).kept[0].size, 20480)
        self.stop(maintenance)

    def test_withheld_file_stays(self) -> None:
        """A blocked file of a named upstream stays as evidence."""
        self.want_torch()
        rules = {parse_filename(TORCH).project: ProjectRestrictions((VersionRule({"1.0"}),))}
        self.named.context.policy.restrictions.replace("blocks", rules)
        self.clock.advance(3600)
        self.have(self.maintenance(max_cache=KIB).evict())
        self.assertEqual(self.all_kept(), [f"cu128/{TORCH}"])

    def test_name_that_is_no_longer_its_own_is_not_refreshed(self) -> None:
        """After a change of `only`, no name leaves to the upstream that no longer has it."""
        self.want_torch()
        self.named.gate.policy = evolve(self.named.context.policy, only=("nvidia-*",))
        self.named.context = evolve(self.named.context, policy=self.named.gate.policy)
        del self.gpu.heard[:]
        self.have(self.maintenance(refresh=timedelta(minutes=10)).refresh_pages())
        self.assertEqual(self.gpu.heard, [])

    def test_name_that_no_index_asks_is_not_refreshed(self) -> None:
        """A project cached from the public index before its name got an upstream of its own is no
        longer requested there.
        """
        self.keep(TORCH, "ant-1.0.tar.gz")
        choice = UpstreamChoice.of(None, {"cu128": ("torch*",)})
        maintenance = CacheMaintenance(
            self.index,
            self.disconnected,
            refresh=timedelta(minutes=10),
            is_asked=lambda name, project: (name or PUBLIC) in choice.upstreams_of(project),
        )
        del self.upstream.heard[:]
        self.have(maintenance.refresh_pages())
        self.assertEqual(self.upstream.heard, ["ant"])
