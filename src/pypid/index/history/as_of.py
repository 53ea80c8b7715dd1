"""The index as of a time: the rules of today applied to the files that were available then
(`core.records.history`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence, Set
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from attrs import define, evolve, field, frozen
from msgspec import UNSET

from pypid.core.errors import Exists, StorageDown, StorageFull, Unreadable
from pypid.core.model import Project, Summary
from pypid.core.packaging.globs import matches
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, may_show_upstream
from pypid.core.records.documents import Recording, StorageIdentity, dump
from pypid.core.records.history import AsOfState, Spans, shown_at, spans, view_as_of, was_any
from pypid.core.records.layout import RECORDING, STORAGE_IDENTITY
from pypid.core.summaries import Summaries
from pypid.flow import BytesBody, World
from pypid.flow.single_flight import Flights
from pypid.index.context import Pace
from pypid.index.history.named_snapshots import NamedSnapshots
from pypid.index.store import records
from pypid.index.views import UpstreamPermission, ViewSources
from pypid.ports import Blobs, Catalog

_Known = dict[ProjectName, tuple[Summary, str, Spans]]
FEW = 1000
"""Largest number of files processed on the reactor thread: it takes some milliseconds."""


class CurrentIndex(Protocol):
    """The index as it is now, from which as-of views are made."""

    blobs: Blobs
    catalog: Catalog
    policy: Policy
    world: World

    async def seen(self, name: ProjectName, permission: UpstreamPermission) -> ViewSources:
        """Return the view of the project together with its sources (`Index.seen`)."""

    async def stored_names(self) -> Summaries:
        """Return the projects with stored files, by name (`Index.stored_names`)."""


@frozen
class CurrentSources:
    """The current view of a project and the requested time: enough to tell whether its page is
    cached already.
    """

    name: ProjectName
    seen: ViewSources
    before: datetime
    recorded: datetime | None
    """See `RecordingStart`."""

    @property
    def edition(self) -> Hashable:
        """A value that changes with the requested time and with every change of the project."""
        return self.seen.view.edition, self.before, self.recorded


@frozen
class ProjectAsOf:
    """The state of a project as of a time; `edition` as that of `CurrentSources`."""

    state: AsOfState
    edition: Hashable


@define(eq=False)
class AsOfViews:
    """As-of views of one index. Memory use is bounded by what the index holds, not by the number of
    times that clients ask for.
    """

    index: CurrentIndex
    snapshots: NamedSnapshots = field(init=False)
    _recording: RecordingStart = field(factory=lambda: RecordingStart(), init=False, repr=False)
    _periods: FilePeriods = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.snapshots = NamedSnapshots(self.index.blobs, self.index.world)
        self._periods = FilePeriods(self.index)

    async def look(self, name: ProjectName, permission: UpstreamPermission) -> CurrentSources:
        """Return the project's current view, which `resolve` turns into its state before
        `permission.before`. Raises what `Index.view` raises.
        """
        return await _look(self.index, name, permission, await self._recording.since(self.index))

    async def resolve(self, looked: CurrentSources) -> AsOfState:
        """Return the state of the project before `looked.before`."""
        return await _resolved(self.index, looked)

    async def project(self, name: ProjectName, permission: UpstreamPermission) -> ProjectAsOf:
        """Return what a client could see of the project before `permission.before`; see
        `project_as_of`.
        """
        return await project_as_of(
            self.index, name, permission, await self._recording.since(self.index)
        )

    async def names(self, before: datetime) -> Sequence[Summary]:
        """Return the projects with stored files that existed before this time, by name."""
        return await self._periods.names(await self.index.stored_names(), before)

    async def needed(self, projects: Iterable[ProjectName]) -> Set[tuple[ProjectName, str]]:
        """Return the cached files of these projects that snapshots show, as project and file name.
        Raises `StorageDown`.
        """
        times = [snapshot.moment for snapshot in (await self.snapshots.all()).values()]
        if not times:
            return frozenset()
        pace, found = Pace(self.index.world), set[tuple[ProjectName, str]]()
        for name in projects:
            entry = await self.index.catalog.upstream.get(name)
            found.update(
                (name, filename) for filename in shown_at(entry, times, self.index.policy.restored)
            )
            await pace.keep()
        return found


async def project_as_of(
    index: CurrentIndex,
    name: ProjectName,
    permission: UpstreamPermission,
    recorded: datetime | None = None,
) -> ProjectAsOf:
    """Return what a client could see of the project before `permission.before`.

    The project exists if it exists now, whether or not it had files then: a local name must not be
    looked up elsewhere. Raises what `Index.view` raises. `recorded`: see `RecordingStart`.
    """
    looked = await _look(index, name, permission, recorded)
    return ProjectAsOf(await _resolved(index, looked), looked.edition)


async def _look(
    index: CurrentIndex,
    name: ProjectName,
    permission: UpstreamPermission,
    recorded: datetime | None,
) -> CurrentSources:
    assert permission.before is not None
    return CurrentSources(name, await index.seen(name, permission), permission.before, recorded)


async def _resolved(index: CurrentIndex, looked: CurrentSources) -> AsOfState:
    seen = looked.seen
    what = (
        index.policy,
        seen.ours,
        seen.upstream_state,
        index.world.now(),
        looked.name,
        looked.before,
        looked.recorded,
    )
    now = seen.view.project
    if _files_of(seen.ours, seen.upstream_state and seen.upstream_state.listing) <= FEW:
        return _to_be_had(view_as_of(*what), now)
    return await index.world.thinking(lambda: _to_be_had(view_as_of(*what), now))


def _to_be_had(then: AsOfState, now: Project) -> AsOfState:
    """Return the state without the files that are hidden today."""
    names = {file.filename for file in now.files} | then.apart
    files = tuple(file for file in then.project.files if file.filename in names)
    return (
        then
        if len(files) == len(then.project.files)
        else evolve(then, project=evolve(then.project, files=files))
    )


def _files_of(*sides: object) -> int:
    return sum(len(getattr(side, "files", None) or ()) for side in sides)


@define(eq=False)
class RecordingStart:
    """Since when changes of local files are recorded in this storage, if not from its beginning."""

    _known: tuple[datetime | None] | None = field(default=None, init=False)

    async def since(self, index: CurrentIndex) -> datetime | None:
        """Return since when changes are recorded. Reads the storage once; in a storage older than
        this feature, writes down that recording begins now.

        Return None if it is unknown, or if the storage is unavailable now.
        """
        if self._known is None:
            with suppress(StorageDown, StorageFull):
                self._known = (await self._read(index),)
        return None if self._known is None else self._known[0]

    async def _read(self, index: CurrentIndex) -> datetime | None:
        with suppress(Unreadable):
            identity = await records.read_document(index.blobs, StorageIdentity, STORAGE_IDENTITY)
            if identity is None:  # only in tests
                return None
            found = await records.read_document(
                index.blobs, Recording, RECORDING
            )  # document of an older storage, or of a copy
            if found is None and identity.recorded is UNSET:
                found = Recording(index.world.now())
                with suppress(Exists):
                    await index.blobs.write(RECORDING, BytesBody(dump(found)))
            begun = [] if identity.recorded is UNSET else [identity.recorded]
            return min([*begun, *([] if found is None else [found.since])])
        return None


@define(eq=False)
class FilePeriods:
    """When each project had any files: computed once per change of the project, not for each
    requested time.
    """

    index: CurrentIndex
    _known: _Known = field(factory=dict, init=False, repr=False)
    _made_of: tuple[Sequence[Summary], str] | None = field(default=None, init=False, repr=False)
    """The names, and the catalog's generation, from which `_known` was computed."""
    _flights: Flights[Hashable, _Known] = field(factory=Flights, init=False, repr=False)

    async def names(self, names: Sequence[Summary], before: datetime) -> Sequence[Summary]:
        """Return those of `names` (all stored projects) that had a currently stored file before
        this time.
        """
        return await self.index.world.thinking(_there, await self._all(names), before)

    async def _all(self, names: Sequence[Summary]) -> _Known:
        """Return the spans of all `names`: those already computed if it is the same object, else
        computed once for all waiting callers.
        """
        generation, made_of = self.index.catalog.generation, self._made_of
        # the summary of a project in [upstream] allow_mixed has nothing of upstream
        if (
            made_of is not None
            and made_of[0] is names
            and made_of[1] == generation
            and not self.index.policy.allow_mixed
        ):
            return self._known
        return await self._flights.single(
            (id(names), generation), lambda: self._look(names, generation)
        )

    async def _look(self, names: Sequence[Summary], generation: str) -> _Known:
        pace, allow_mixed, known = Pace(self.index.world), self.index.policy.allow_mixed, _Known()
        for summary in names:
            held = self._known.get(summary.name)
            if (
                held is None
                or held[:2] != (summary, generation)
                or matches(summary.name, allow_mixed)
            ):
                held = (summary, generation, await self._spans(summary.name))
            known[summary.name] = held
            await pace.keep()
        self._known, self._made_of = known, (names, generation)
        return known

    async def _spans(self, name: ProjectName) -> Spans:
        ours = await self.index.catalog.local.get(name)
        policy = self.index.policy
        entry = (
            await self.index.catalog.upstream.get(name)
            if may_show_upstream(policy, name, ours)
            else None
        )
        return spans(ours if isinstance(ours, Project) else None, entry, policy.restored)


def _there(known: _Known, before: datetime) -> Sequence[Summary]:
    return [summary for summary, _, its in known.values() if was_any(its, before)]
