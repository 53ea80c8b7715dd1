"""A pypid with several indexes over one storage, one catalog and one upstream in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import evolve

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.signed_urls import Links
from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings, settings_of_values
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy, UpstreamChoice
from pypid.core.restrictions import RestrictionsInForce
from pypid.index import Index
from pypid.index.decisions import Decisions
from pypid.index.local.publish import PublishOutcome
from pypid.index.named_indexes import Indexes, NamedUpstream
from pypid.index.promotions import PromotionRecovery
from pypid.ports import Blobs
from tests.index.nodes import Told
from tests.index.uploads import an_index, fetched, publishing, sent
from tests.support.engines import a_catalog
from tests.support.worlds import Timed, contents

Only = Mapping[str, tuple[str, ...]]


async def set_index(indexes: Indexes, settings: IndexSettings) -> IndexSettings:
    """Replace all settings of the index."""
    return await indexes.change(settings.name, lambda _: settings)


class NamedCase(Timed):
    """Each test with a pypid with named indexes; `started` makes it again over the same storage, as
    a process that starts now.
    """

    only: ClassVar[Only] = {}
    """The names and globs of each named upstream."""
    links: Links | None = None
    """The signed URLs of the storage."""
    recovery: PromotionRecovery
    """The promotions that the last process finishes, if a test follows them."""
    is_sole: Callable[[], bool] | None = None
    """Whether this process alone may write to the storage."""

    def setUp(self) -> None:
        super().setUp()
        self.store: Blobs = MemoryBlobs(self.world.now)
        self.upstream = Told(self.clock)
        self.upstreams = {name: Told(self.clock) for name in self.only}
        self.indexes = self.started()

    def started(
        self,
        *configured: IndexSettings,
        compared: bool = True,
        catalog: SharedCatalog | None = None,
        policy: Policy | None = None,
    ) -> Indexes:
        """Return the indexes of a process that starts now."""
        spool = Path(self.mktemp())  # type: ignore[attr-defined]
        spool.mkdir()
        is_shared = catalog is not None
        catalog = catalog or a_catalog()
        policy = policy or Policy(mode=Mode.CACHE)
        decisions = Decisions(self.store, self.world, RestrictionsInForce(), is_shared)
        indexes = Indexes(
            catalog, decisions, {each.name: each for each in configured}, self.only, is_shared
        )
        self.recovery = PromotionRecovery()
        default = an_index(
            self.store,
            catalog,
            self.upstream,
            policy,
            self.world,
            shared=is_shared,
            spool=spool,
            links=self.links,
            lease=self.is_sole,
            choice=UpstreamChoice.of(None, self.only),
            names_elsewhere=indexes.names,
            indexes=indexes,
            promotions=self.recovery,
        )
        upstreams = {
            name: NamedUpstream(
                upstream,
                evolve(policy, only=self.only[name]),
                default.source.ttl,
                default.source.timeout,
            )
            for name, upstream in self.upstreams.items()
        }
        indexes.join(default, upstreams)
        self.have(decisions.refresh())
        if compared:
            self.have(default.maintenance.reconcile())
        return indexes

    def create(self, name: str, indexes: Indexes | None = None, **values: str) -> Index:
        """Create an index with these values, as the API does."""
        indexes = indexes or self.indexes
        self.have(indexes.create(settings_of_values(name, values)))
        return self.index(name, indexes)

    def index(self, name: str, indexes: Indexes | None = None) -> Index:
        """Return the index, or the upstream, of this name; "" is the default one."""
        found = (indexes or self.indexes).find(name)
        assert found is not None, name
        return found

    def publish(self, index: Index, filename: str, data: bytes = b"bytes") -> PublishOutcome:
        """Publish a file there."""
        return self.have(publishing(index, sent(data, filename)))

    def files(self, index: Index, name: str) -> dict[str, bytes]:
        """Return the files that a page of the index lists, with what a client gets for each."""
        project = self.have(index.project(project_name(name)))
        bodies = {}
        for file in project.files:
            shown = self.have(index.file(project.name, file.filename))
            bodies[file.filename] = self.have(fetched(index, shown))
        return bodies

    def keys(self, prefix: str = "") -> Sequence[str]:
        """Return the keys in the storage."""
        return [key for key in self.have(contents(self.store)) if key.startswith(prefix)]

    def told(self) -> list[str]:
        """Return all names that any upstream was asked for."""
        return [
            name for each in (self.upstream, *self.upstreams.values()) for name in each.names_told
        ]
