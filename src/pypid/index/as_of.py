"""The history of the index: as-of views."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from attrs import Factory, define, evolve, field, frozen
from msgspec import UNSET

from pypid.core.cooldown import Cooldown
from pypid.core.errors import Exists, NoSuchProject, StorageDown, StorageFull, Unreadable
from pypid.core.indexes import (
    IndexSettings,
    absolute,
    bases_of,
    blocks_of,
    cooled,
    merges,
    mixed,
    mixes,
    unblocked,
)
from pypid.core.model import Project, Summary
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.policy import may_show_upstream
from pypid.core.records.documents import Recording, StorageIdentity, dump
from pypid.core.records.history import (
    AsOfNames,
    AsOfState,
    ProvidedSpans,
    as_of_names,
    names_as_of,
    provided,
    spans,
    view_as_of,
)
from pypid.core.records.layout import RECORDING, STORAGE_IDENTITY
from pypid.core.summaries import Summaries
from pypid.flow import BytesBody
from pypid.flow.derived import Flights, SameObjects
from pypid.index.context import Pace
from pypid.index.layers import Layer, LayeredIndex
from pypid.index.store import records
from pypid.index.views import STORED, UpstreamPermission, ViewSources

# The index as of a time: the rules of today applied to the files that were available then
# (`core.records.history`).

FEW = 1000
"""Largest number of files processed on the reactor thread: it takes some milliseconds."""


class CurrentIndex(LayeredIndex, Protocol):
    """The index as it is now, from which as-of views are made."""

    @property
    def all_settings(self) -> Mapping[str, IndexSettings]:
        """The settings of all named indexes."""

    def layers(self, name: ProjectName) -> Sequence[Layer]:
        """Return where the project is looked up after the index itself (`Index.layers`)."""

    @property
    def upstreams(self) -> Mapping[str, CurrentIndex]:
        """The indexes of named upstreams."""

    def upstreams_of(self, name: ProjectName) -> Sequence[CurrentIndex]:
        """Return the indexes whose upstreams are asked for the project (`Index.upstreams_of`)."""

    def member(self, name: str) -> CurrentIndex:
        """Return the index, or the upstream, of this name."""

    async def held_names(self) -> Summaries:
        """Return the projects with stored files, by name, including unlisted ones of a named index
        (`Index.held_names`).
        """


_Known = dict[ProjectName, tuple[Summary, Hashable, ProvidedSpans]]


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
    whole: AsOfViews | None = field(default=None, repr=False)
    """The views of the default index; None if these are its views."""
    _recording: RecordingStart = field(factory=lambda: RecordingStart(), init=False, repr=False)
    _periods: FilePeriods = field(
        default=Factory(lambda self: FilePeriods(self.index), takes_self=True),
        init=False,
        repr=False,
    )

    async def _recorded(self) -> datetime | None:
        """Return since when changes of the files of the default index are recorded. Those of named
        indexes always are.
        """
        whole = self.whole or self
        return await whole._recording.since(whole.index)

    async def look(self, name: ProjectName, permission: UpstreamPermission) -> CurrentSources:
        """Return the project's current view, which `resolve` turns into its state before
        `permission.before`. Raises what `Index.view` raises.
        """
        assert permission.before is not None
        recorded = await self._recorded()
        seen = await self.index.seen(name, permission)
        return CurrentSources(name, seen, permission.before, recorded)

    async def resolve(self, looked: CurrentSources) -> AsOfState:
        """Return the state of the project before `looked.before`."""
        return await _resolved(self.index, looked)

    async def project(self, name: ProjectName, permission: UpstreamPermission) -> ProjectAsOf:
        """Return what a client could see of the project before `permission.before`.

        The project exists if it exists now, whether or not it had files then: a local name must not
        be looked up elsewhere. Raises what `Index.view` raises.
        """
        looked = await self.look(name, permission)
        return ProjectAsOf(await self.resolve(looked), looked.edition)

    async def names(self, before: datetime, *, reads_all: bool = True) -> AsOfNames:
        """Return the projects with stored files that existed before this time. `reads_all`: the
        viewer may read all bases of the index.
        """
        names = await self.index.held_names()
        return await self._periods.names(names, before, reads_all=reads_all)

    async def had_files(
        self,
        name: ProjectName,
        before: datetime,
        may_read: Callable[[str, ProjectName], None],
    ) -> bool:
        """Return whether the page of the project as of this time lists stored files. `may_read`:
        see `UpstreamPermission`. Raises what `Index.view` raises, except `NoSuchProject`.
        """
        permission = evolve(STORED, before=before, may_read=may_read)
        try:
            return bool((await self.project(name, permission)).state.project.files)
        except NoSuchProject:
            return False


async def _resolved(index: CurrentIndex, looked: CurrentSources) -> AsOfState:
    seen, now = looked.seen, index.context.world.now()
    if seen.mixed_from:
        own, inherited = [
            await _resolved(index, evolve(looked, seen=part)) for part in seen.mixed_from
        ]
        taken = [names_as_of(local, looked.before) for local in seen.mixed_from[0].locals]
        then = _mixed(own, inherited, frozenset().union(*taken))
        return _restricted(_to_be_had(then, seen.view.project, ""), seen.restricted_by, now)
    home = index.member(seen.origin)
    recorded = None if home.context.prefix else looked.recorded
    what = (
        home.context.policy,
        seen.ours,
        seen.upstream_state,
        now,
        looked.name,
        looked.before,
        recorded,
    )

    def resolve() -> AsOfState:
        then = _to_be_had(view_as_of(*what), seen.view.project, home.context.prefix)
        return _restricted(then, seen.restricted_by, now)

    if _files_of(seen.ours, seen.upstream_state and seen.upstream_state.listing) <= FEW:
        return resolve()
    return await index.context.world.thinking(resolve)


def _mixed(own: AsOfState, inherited: AsOfState, taken: Set[str]) -> AsOfState:
    """Return the state with the files of both, as `core.indexes.mixed` shows those of today."""
    return AsOfState(
        project=mixed(own.project, inherited.project, taken),
        gone=own.gone + inherited.gone,
        apart=own.apart | (inherited.apart - taken),
        since=max((each.since for each in (own, inherited) if each.since), default=None),
    )


def _restricted(
    then: AsOfState, restricted_by: Iterable[IndexSettings], now: datetime
) -> AsOfState:
    """Return the state without the files that named indexes hide: those `apart` are in no view of
    today.
    """
    for settings in restricted_by:
        project = then.project
        if then.apart:
            shown = unblocked(project, blocks_of(settings, project.name))
            project, _ = cooled(shown, settings.cooldown or Cooldown(), now)
        then = evolve(then, project=project)
    return then


def _to_be_had(then: AsOfState, now: Project, prefix: str) -> AsOfState:
    """Return the state without the files that are hidden today, with keys of the whole storage."""
    then = evolve(then, project=absolute(then.project, prefix)) if prefix else then
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
            identity = await records.read_document(
                index.context.blobs, StorageIdentity, STORAGE_IDENTITY
            )
            if identity is None:  # only in tests
                return None
            found = await records.read_document(
                index.context.blobs, Recording, RECORDING
            )  # document of an older storage, or of a copy
            if found is None and identity.recorded is UNSET:
                found = Recording(index.context.world.now())
                with suppress(Exists):
                    await index.context.blobs.write(RECORDING, BytesBody(dump(found)))
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
    _made_of: tuple[Sequence[Summary], Hashable] | None = field(
        default=None, init=False, repr=False
    )
    """The names, and the `_basis`, from which `_known` was computed."""
    _flights: Flights[Hashable, _Known] = field(factory=Flights, init=False, repr=False)

    async def names(
        self, names: Sequence[Summary], before: datetime, *, reads_all: bool
    ) -> AsOfNames:
        """Return those of `names` (all stored projects) that had a currently stored file before
        this time. `reads_all`: see `AsOfViews.names`.
        """
        known, own = await self._all(names), None if reads_all else self.index.context.name
        provided_names = [(summary, its) for summary, _, its in known.values()]
        return await self.index.context.world.thinking(as_of_names, provided_names, before, own)

    async def _all(self, names: Sequence[Summary]) -> _Known:
        """Return the spans of all `names`: those already computed if it is the same object, else
        computed once for all waiting callers.
        """
        basis, made_of = self._basis, self._made_of
        # the summary of a project in [upstream] allow_mixed has nothing of upstream
        if (
            made_of is not None
            and made_of[0] is names
            and made_of[1] == basis
            and not self.index.context.policy.allow_mixed
        ):
            return self._known
        return await self._flights.single((id(names), basis), lambda: self._look(names, basis))

    @property
    def _basis(self) -> Hashable:
        """The generation of the catalog, and for a named index the settings of all indexes."""
        settings = SameObjects((self.index.all_settings,)) if self.index.context.name else None
        return self.index.context.catalog.generation, settings

    async def _look(self, names: Sequence[Summary], basis: Hashable) -> _Known:
        pace, allow_mixed, known = (
            Pace(self.index.context.world),
            self.index.context.policy.allow_mixed,
            _Known(),
        )
        for summary in names:
            held = self._known.get(summary.name)
            if held is None or held[:2] != (summary, basis) or matches(summary.name, allow_mixed):
                held = (summary, basis, await self._spans(summary.name))
            known[summary.name] = held
            await pace.keep()
        self._known, self._made_of = known, (names, basis)
        return known

    async def _spans(self, name: ProjectName) -> ProvidedSpans:
        found = await _spans_in(self.index, name) or ProvidedSpans()
        settings = self.index.all_settings
        if found.local_of is None or self.index.settings is None:
            return found
        chain = (self.index.context.name, *bases_of(self.index.context.name, settings))
        indexes = [settings[each] for each in chain if each in settings]
        is_mixed = any(merges(each, name) or mixes(each, name) for each in indexes)
        return evolve(found, is_mixed=True) if is_mixed else found


async def _spans_in(index: CurrentIndex, name: ProjectName) -> ProvidedSpans | None:
    """Return when the project had any file in the index that provides it today: this one, or the
    first of its layers that has it; None if none has it.
    """
    ours = await index.context.catalog.local.get(name)
    local = ours if isinstance(ours, Project) else None
    is_named = index.settings is not None
    if local is None and is_named:
        for layer in index.layers(name):
            found = await _layer_spans(
                index.member(layer.index.context.name), name, is_base=layer.is_base
            )
            if found is not None:
                return found
        return None
    for each in index.upstreams_of(name):
        entry = await each.context.catalog.upstream.get(name)
        if entry.kept and may_show_upstream(each.context.policy, name, ours):
            its = spans(local, entry, each.context.policy.restored)
            return provided(local, its, index.context.name, is_named=is_named)
    if local is None:
        return None
    return provided(local, spans(local, None), index.context.name, is_named=is_named)


async def _layer_spans(
    index: CurrentIndex, name: ProjectName, *, is_base: bool
) -> ProvidedSpans | None:
    if is_base:
        return await _spans_in(index, name)
    entry = await index.context.catalog.upstream.get(name)
    return ProvidedSpans(spans(None, entry, index.context.policy.restored)) if entry.kept else None
