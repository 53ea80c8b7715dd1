"""The names that are local in named indexes. They are private everywhere: no index of this pypid
sends them upstream.

``.pypid/index-names/<project>/<index>`` is written before the first record of a project in a named
index, so that one listing of the storage proves that a name is not private, even if the catalog is
incomplete.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
)
from collections.abc import Set as AbstractSet
from contextlib import aclosing, suppress
from datetime import timedelta

from attrs import define, field, frozen

from pypid.core.errors import ListIncomplete, StorageDown
from pypid.core.indexes import IndexSettings
from pypid.core.layering import mixes
from pypid.core.model import Blob, Presence, Project, SignedUrl, Span
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import INDEX_NAMES, ObjectKind, is_document, place
from pypid.core.records.table_keys import index_of, project_of
from pypid.core.summaries import Run, Summaries, in_runs, name_of
from pypid.flow import BytesBody
from pypid.flow.derived import SameObjects
from pypid.flow.single_flight import Flights
from pypid.index.context import NamesElsewhere
from pypid.index.index import OtherIndexes
from pypid.ports import Blobs, Body, WholeCatalog

_Marked = dict[ProjectName, frozenset[str]]
_PROJECT = f"/{ObjectKind.PROJECT.value}"


def marker_key(name: ProjectName, index: str) -> str:
    """Return the key that says that the name is local in the index."""
    return f"{INDEX_NAMES}{name}/{index}"


@define(eq=False)
class PrivateNames:
    """The names that are local in named indexes, for the default index (`context.NamesElsewhere`).

    `settings` returns those of all named indexes, which are replaced as a whole. `others_write`:
    other processes may publish in the same storage.
    """

    blobs: Blobs
    catalog: WholeCatalog
    settings: Callable[[], Mapping[str, IndexSettings]] = field(repr=False)
    others_write: bool = False
    _marked: _Marked | None = field(default=None, init=False, repr=False)
    """The indexes of each name by the markers; None before they were read."""
    _reading: Flights[str, _Marked] = field(factory=Flights, init=False, repr=False)
    _changes: int = field(default=0, init=False)
    """The number of changes of `_marked`."""
    _compared: object = field(default=None, init=False, repr=False)
    """The settings with which `names` has compared `_marked`."""
    _names: tuple[Hashable, frozenset[ProjectName]] | None = field(
        default=None, init=False, repr=False
    )
    """The private names, and the values from which they were computed."""
    _of_runs: tuple[object, dict[int, tuple[Run, frozenset[ProjectName]]]] | None = field(
        default=None, init=False, repr=False
    )
    """`allow_mixed` of all indexes that have it, and the private names of each run of the list."""

    async def known(self, name: ProjectName) -> Presence:
        """Return whether the name is private, as far as this process knows."""
        return self._presence(name, await self.indexes_with(name))

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str]:
        """Return the named indexes in which the name is local, as far as this process knows."""
        marked = (await self._markers()).get(name, frozenset())
        if self.others_write and marked - self.settings().keys():
            await self._forget_deleted((name,), f"{name}/")
            marked = (await self._markers()).get(name, frozenset())
        listed = await self.catalog.indexes_with(name)
        if listed is not None and self.others_write:
            # another process may have released it; the catalog knows the indexes that exist
            marked = marked - self.settings().keys()
        return marked | (listed or frozenset())

    async def proven(self, name: ProjectName) -> Presence:
        """Return whether the name is private, by the storage now if other processes write there
        (`context.NamesElsewhere`).
        """
        known = await self.known(name)
        if known is Presence.ELSEWHERE or not self.others_write:
            return known
        return self._presence(name, (await self._read(f"{INDEX_NAMES}{name}/")).get(name, ()))

    def _presence(self, name: ProjectName, indexes: Iterable[str]) -> Presence:
        """Return the presence of a name that is local in these indexes. It is not private in an
        index that mixes its files with those of upstream.
        """
        is_private = any(not self._is_mixed(index, name) for index in indexes)
        return Presence.ELSEWHERE if is_private else Presence.ABSENT

    def _is_mixed(self, index: str, name: ProjectName) -> bool:
        settings = self.settings().get(index)
        return settings is not None and mixes(settings, name)

    async def names(self) -> frozenset[ProjectName]:
        """Return all private names, as far as this process knows; the same object until they
        change (`context.NamesElsewhere`).
        """
        marked, settings = await self._markers(), self.settings()
        if self.others_write and self._compared is not settings:
            self._compared, existing = settings, frozenset(settings)
            if names := [name for name, held in marked.items() if not held <= existing]:
                await self._forget_deleted(names, "")
        listed = in_runs(await self.catalog.named_local.summaries())
        basis = SameObjects((marked, listed, settings, self.catalog.was_complete))
        if self._names is None or self._names[0] != (basis, self._changes):
            found = self._private(marked, listed)
            if self._names is not None and self._names[1] == found:
                found = self._names[1]
            self._names = ((basis, self._changes), found)
        return self._names[1]

    def _private(self, marked: _Marked, listed: Summaries) -> frozenset[ProjectName]:
        settings, before = self.settings(), self._of_runs
        mixing = {name: each.allow_mixed for name, each in settings.items() if each.allow_mixed}
        if before is None or before[0] != mixing:
            before = mixing, {}
        made = {
            id(run): before[1].get(id(run)) or (run, self._private_of_run(run))
            for run in listed.runs
        }
        self._of_runs = mixing, made
        # another process may have released it; the catalog knows the indexes that exist
        is_known = self.others_write and self.catalog.was_complete
        known = frozenset(settings) if is_known else frozenset[str]()
        if known or mixing:
            by_marker = frozenset(
                name
                for name, indexes in marked.items()
                if not indexes <= known
                and self._presence(name, indexes - known) is Presence.ELSEWHERE
            )
        else:
            by_marker = frozenset(marked)
        return by_marker.union(*(names for _, names in made.values()))

    def _private_of_run(self, run: Run) -> frozenset[ProjectName]:
        return frozenset(
            name
            for key, name in ((each.name, project_of(each.name)) for each in run)
            if self._presence(name, (index_of(key),)) is Presence.ELSEWHERE
        )

    async def _forget_deleted(self, names: Collection[ProjectName], prefix: str) -> None:
        """Forget the marks of these names, below `prefix`, in deleted indexes from which another
        process has removed them.
        """
        with suppress(StorageDown):
            stored = await self._read(INDEX_NAMES + prefix)
            marked = await self._markers()
            for name in names:
                deleted = marked.get(name, frozenset()) - self.settings().keys()
                for index in deleted - stored.get(name, frozenset()):
                    self._unmark(marked, name, index)

    async def names_of(self, index: str) -> frozenset[ProjectName]:
        """Return the names that are marked as local in the index, by the storage now."""
        marked = await self._read(INDEX_NAMES)
        return frozenset(name for name, indexes in marked.items() if index in indexes)

    async def listed_indexes(self) -> frozenset[str]:
        """Return the indexes of which the catalog lists projects, also deleted ones."""
        listed = in_runs(await self.catalog.named_local.summaries())
        return frozenset(index_of(each.name) for run in listed.runs for each in run)

    async def read(self) -> None:
        """Read the markers, if they were not read yet. Raises `StorageDown`."""
        await self._markers()

    async def _markers(self) -> _Marked:
        if self._marked is None:
            self._marked = await self._reading.single("", lambda: self._read(INDEX_NAMES))
        return self._marked

    async def _read(self, prefix: str) -> _Marked:
        found: _Marked = {}
        async with aclosing(self.blobs.list(prefix)) as listing:
            async for blob in listing:
                name, _, index = blob.key.removeprefix(INDEX_NAMES).partition("/")
                key = ProjectName(name)
                found[key] = found.get(key, frozenset()) | {index}
        return found

    # --- changes ---

    async def mark(self, name: ProjectName, index: str) -> None:
        """Record durably that the name becomes local in the index."""
        marked = await self._markers()
        if index in marked.get(name, ()) and not self.others_write:
            return
        await self.blobs.write(marker_key(name, index), BytesBody(b""), replace=True)
        marked[name] = marked.get(name, frozenset()) | {index}
        self._changes += 1

    async def release(self, name: ProjectName, index: str) -> None:
        """Record that the index no longer has a project of this name."""
        await self.blobs.delete(marker_key(name, index))
        self._unmark(await self._markers(), name, index)

    def _unmark(self, marked: _Marked, name: ProjectName, index: str) -> None:
        left = marked.pop(name, frozenset()) - {index}
        if left:
            marked[name] = left
        self._changes += 1

    async def release_all(
        self, index: str, is_deleted: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Record that the index no longer has any projects. Ends once `is_deleted` denies that: a
        new index of this name may have projects of the same names.
        """
        for name in await self.names_of(index):
            if is_deleted is not None and not await is_deleted():
                return
            await self.release(name, index)


@define(eq=False)
class LocalNames:
    """The names that are local in any index, for a named upstream (`context.NamesElsewhere`)."""

    indexes: OtherIndexes
    _names: tuple[SameObjects, frozenset[ProjectName]] = field(
        default=(SameObjects(), frozenset()), init=False, repr=False
    )
    """The names, and the values from which they were computed."""

    async def known(self, name: ProjectName) -> Presence:
        """Return whether the name is local, as far as this process knows."""
        default = self.indexes.find("")
        if default is None:  # it is not made yet
            return Presence.UNKNOWN
        return _elsewhere(await default.context.local_project(name))

    async def names(self) -> frozenset[ProjectName]:
        """Return these names, as far as this process knows; the same object until they change."""
        default = self.indexes.find("")
        if default is None:
            raise ListIncomplete()
        others = default.names_elsewhere
        elsewhere = frozenset[ProjectName]() if others is None else await others.names()
        ours = await default.own_lists.held_local()
        basis = SameObjects((elsewhere, ours))
        if self._names[0] != basis:
            found = elsewhere.union(map(name_of, ours))
            self._names = (basis, self._names[1] if self._names[1] == found else found)
        return self._names[1]

    async def proven(self, name: ProjectName) -> Presence:
        """Return whether the name is local, by the storage now."""
        default = self.indexes.find("")
        if default is None:
            return Presence.UNKNOWN
        return _elsewhere(await default.context.ours_now(name))


def _elsewhere(found: Project | Presence) -> Presence:
    return Presence.ELSEWHERE if isinstance(found, Project) else found


_: type[NamesElsewhere] = PrivateNames
__: type[NamesElsewhere] = LocalNames


@frozen
class MarkedBlobs:
    """The `Blobs` of a named index, which marks a name as local before the first document that
    makes it so.
    """

    part: Blobs
    names: PrivateNames
    index: str

    async def read(self, key: str, span: Span | None = None) -> Body:
        return await self.part.read(key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        placed = place(key) if is_document(key) or key.endswith(_PROJECT) else None
        if placed is not None:
            try:
                await self.names.mark(placed.project, self.index)
            except BaseException:
                await body.aclose()
                raise
        return await self.part.write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        await self.part.delete(key)

    async def stat(self, key: str) -> Blob:
        return await self.part.stat(key)

    def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        return self.part.list(prefix)

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self.part.link(key, lifetime, filename)


___: type[Blobs] = MarkedBlobs
