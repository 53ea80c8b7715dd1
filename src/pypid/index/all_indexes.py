"""All indexes and upstreams of one pypid by name. Each is an `Index` over its part of the storage
and of the catalog, made from the default index.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from attrs import define, evolve, field, frozen

from pypid.blobs.store import PartOfBucket, part
from pypid.catalog.part_catalog import PartCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import Busy
from pypid.core.indexes import (
    DEFAULT,
    IndexDocument,
    IndexSettings,
    check_takes_files,
    settings_of_document,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.core.records.layout import INDEXES, UPSTREAMS, decision_key, place
from pypid.core.upstream_choice import PUBLIC, UpstreamChoice
from pypid.index.context import UnderWay
from pypid.index.index import Index
from pypid.index.private_names import LocalNames, MarkedBlobs, PrivateNames
from pypid.index.store.records import read_document
from pypid.ports import Blobs, Bucket, NamedGlance, Upstream
from pypid.upstream.nothing import Nothing

FOLDER = "indexes"
"""The folder of the documents of named indexes in the storage."""


@frozen
class NamedUpstream:
    """The client and the settings of an `[upstream:NAME]`."""

    upstream: Upstream
    policy: Policy
    ttl: timedelta
    timeout: timedelta


@define(eq=False)
class AllIndexes:
    """All indexes and upstreams of one pypid, by name. Made before the default index, which `join`
    adds. `others_write`: other processes may publish in the same storage.
    """

    blobs: Blobs = field(repr=False)
    catalog: NamedGlance = field(repr=False)
    only: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """The names and globs of each `[upstream:NAME]`."""
    others_write: bool = False
    names: PrivateNames = field(init=False, repr=False)
    """The names that are local in named indexes."""
    upstreams: dict[str, Index] = field(factory=dict, init=False, repr=False)
    """The indexes of all `[upstream:NAME]`, which `join` adds."""
    settings: Mapping[str, IndexSettings] = field(
        default=MappingProxyType({}), init=False, repr=False
    )
    """The named indexes. Replaced as a whole."""
    _default: Index | None = field(default=None, init=False, repr=False)
    _made: dict[str, Index] = field(factory=dict, init=False, repr=False)
    _ready: Callable[[], Awaitable[object]] | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.names = PrivateNames(
            self.blobs, self.catalog, lambda: self.settings, self.others_write
        )

    def join(self, default: Index, upstreams: Mapping[str, NamedUpstream]) -> None:
        """Add the default index and the named upstreams."""
        self._default = default
        self.upstreams.update(
            (name, _named_upstream(self, name, settings)) for name, settings in upstreams.items()
        )

    def wait_for(self, ready: Callable[[], Awaitable[object]]) -> None:
        """Set `ready`, which returns once all indexes are known; it is awaited before they are
        compared.
        """
        self._ready = ready

    @property
    def default(self) -> Index:
        """The default index; only after `join`."""
        assert self._default is not None
        return self._default

    @property
    def made(self) -> Sequence[Index]:
        """The named indexes and upstreams that were used."""
        return (*self._made.values(), *self.upstreams.values())

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        """Return all named indexes and upstreams, once they are known; with `former` also deleted
        indexes of which the catalog still lists projects. Raises `StorageDown`.
        """
        if self._ready is not None:
            await self._ready()
        found = [self.find(name) for name in (*self.settings, *self.upstreams)]
        listed = await self.names.listed_indexes() if former else frozenset()
        deleted = [self.make(name) for name in sorted(listed - self.settings.keys())]
        return [*(index for index in found if index is not None), *deleted]

    def replace(self, settings: Mapping[str, IndexSettings]) -> None:
        """Replace the settings of all named indexes."""
        self._made = {
            name: each
            for name, each in self._made.items()
            if name in settings and settings[name].created == self.settings[name].created
        }
        self.settings = MappingProxyType(dict(settings))

    def is_asked(self, upstream: str, project: ProjectName) -> bool:
        """Return whether any index asks this upstream (empty: `[upstream]`) for the project."""
        chosen = {each.upstreams for each in self.settings.values() if each.upstreams is not None}
        choices = [UpstreamChoice.of(names, self.only) for names in chosen]
        if self._default is not None:
            choices.append(self._default.choice)
        return any((upstream or PUBLIC) in each.upstreams_of(project) for each in choices)

    def check_takes_files(self, name: str, created: datetime | None) -> None:
        """Raise what `core.indexes.check_takes_files` raises for the named index; `Busy` if it was
        not created at this time.
        """
        self._check(name, created, self.settings.get(name))

    def _check(self, name: str, created: datetime | None, now: IndexSettings | None) -> None:
        if now is not None and now.created != created:
            raise Busy(f"The index {name!r} was deleted and created again meanwhile.", 1)
        check_takes_files(name, now, self.default.world.now())

    async def check_still_takes_files(
        self, name: str, created: datetime | None, project: ProjectName
    ) -> None:
        """Raise the same by the settings in the storage, where other processes may have closed or
        deleted the index; `Busy` if it was not created at this time. The project is not private in
        an index that was deleted, unless other files of it are stored there. Raises `StorageDown`,
        `Unreadable`.
        """
        known = self.settings.get(name)
        if not self.others_write or (known is not None and known.configured):
            return
        document = await read_document(self.blobs, IndexDocument, decision_key(FOLDER, name))
        now = None if document is None else settings_of_document(document)
        if now is None and await self._count_files(name, project) <= 1:  # this upload's own
            # the deletion may have released the name before it was marked
            await self.names.release(project, name)
        self._check(name, created, now)

    async def _count_files(self, name: str, project: ProjectName) -> int:
        """Return the number of files of the project that the storage has in the named index."""
        folder = part(self.blobs, f"{INDEXES}{name}/")
        async with aclosing(folder.list(f"{project}/")) as listing:
            places = [place(blob.key) async for blob in listing]
        return len({each.filename for each in places if each is not None and each.filename})

    def find(self, name: str) -> Index | None:
        """Return the index, or the upstream, of this name; "" and ``default``: the default one."""
        if name in ("", DEFAULT):
            return self._default
        if name in self.settings:
            return self.make(name)
        return self.upstreams.get(name)

    def make(self, name: str) -> Index:
        """Return the named index, even if it does not exist or was deleted."""
        if name not in self._made:
            made = _named_index(self, name)
            if self.default.context.records.dump_is_exact:
                made.maintenance.trust_dump()
            if name not in self.settings:
                return made
            self._made[name] = made
        return self._made[name]


@frozen
class _UnderWay:
    """Announces the publishes of one index."""

    whole: UnderWay
    prefix: str

    def announced(self, place: str) -> AbstractAsyncContextManager[bool]:
        return self.whole.announced(self.prefix + place)


def _named_index(indexes: AllIndexes, name: str) -> Index:
    """Return the index of this name: a part of the storage and of the catalog of the default one,
    without an upstream of its own.
    """
    default, prefix = indexes.default, f"{INDEXES}{name}/"
    settings = indexes.settings.get(name)
    created = None if settings is None else settings.created
    return evolve(
        default,
        name=name,
        prefix=prefix,
        blobs=MarkedBlobs(part(default.blobs, prefix), indexes.names, name),
        catalog=PartCatalog(indexes.catalog, index=name),
        upstream=Nothing(),
        policy=evolve(default.policy, mode=Mode.OFFLINE, cooldown=Cooldown(), only=()),
        bucket=_part_of_bucket(default, prefix),
        describing=None,
        provisional=None if default.provisional is None else part(default.provisional, prefix),
        under_way=None if default.under_way is None else _UnderWay(default.under_way, prefix),
        trust=None,
        upstreams={},
        choice=UpstreamChoice((), {}),
        names_elsewhere=None,
        all_indexes=indexes,
        released=partial(indexes.names.release, index=name),
        refuse_if_closed=partial(indexes.check_takes_files, name, created),
        refuse_if_closed_elsewhere=partial(indexes.check_still_takes_files, name, created),
    )


def _named_upstream(indexes: AllIndexes, name: str, settings: NamedUpstream) -> Index:
    """Return the index of `[upstream:NAME]`: a part of the storage and of the catalog of the
    default one, without local projects. No name that is local in any index goes there.
    """
    default, prefix = indexes.default, f"{UPSTREAMS}{name}/"
    return evolve(
        default,
        name=name,
        prefix=prefix,
        blobs=part(default.blobs, prefix),
        catalog=PartCatalog(indexes.catalog, source=name),
        upstream=settings.upstream,
        policy=settings.policy,
        ttl=settings.ttl,
        timeout=settings.timeout,
        bucket=_part_of_bucket(default, prefix),
        describing=None,
        provisional=None,
        under_way=None,
        upstreams={},
        choice=UpstreamChoice(),
        names_elsewhere=LocalNames(indexes),
        all_indexes=indexes,
    )


def _part_of_bucket(default: Index, prefix: str) -> Callable[[], Awaitable[Bucket]] | None:
    bucket = default.bucket
    if bucket is None:
        return None

    async def opened() -> Bucket:
        return PartOfBucket(await bucket(), prefix)

    return opened
