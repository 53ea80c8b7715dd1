"""A single export: one pass over all visible projects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from attrs import define, field, frozen

from pypid.core.packaging.names import ProjectName
from pypid.export.exporter import ExportCounts, Exporter
from pypid.export.newest import NewestProjects
from pypid.export.options import ExportOptions
from pypid.export.source import ExportSource, ExportView
from pypid.export.targets import ExportPlace, Stamp
from pypid.export.tree_state import ProjectState, TreeBasis, TreeState, dump_state, load_state
from pypid.index.context import Pace

Progress = Callable[[int, int], None]
"""Progress callback: the number of projects done, and their total."""


@frozen
class ExportOutcome:
    """The result of an export.

    `hidden`: number of projects that the exported view may not see; `left`: number of projects that
    are no longer visible but of which files remain in the tree; `unchanged`: number of projects
    that were not looked at, since they have not changed.
    """

    projects: int
    hidden: int
    left: int
    unchanged: int
    counts: ExportCounts


@define(eq=False)
class LastExport:
    """The state of the tree at a place: call `recall` before anything is written there, and
    `remember` once everything is durable.
    """

    source: ExportSource
    place: ExportPlace
    options: ExportOptions
    _basis: TreeBasis | None = field(default=None, init=False, repr=False)
    _state: TreeState | None = field(default=None, init=False, repr=False)

    async def recall(self, look: ExportView, *, uses: bool) -> None:
        """Read the state, for a run that writes what is visible at this `look`. Without `uses`, it
        is only made void.
        """
        self._basis = basis = self.source.basis(self.options, look)
        data = await self.place.recall()
        if data is not None and uses and self.options.signed is None:
            self._state = await self.source.world.thinking(load_state, data, basis.texts())

    async def unchanged(
        self, look: ExportView, found: Mapping[ProjectName, bool]
    ) -> frozenset[ProjectName]:
        """Return the visible projects whose pages are those of the last export. `found`: see
        `ExportPlace.projects`.
        """
        if self._state is None:
            return frozenset()
        unchanged = []
        world = self.source.world
        now, pace = world.now(), Pace(world)
        for summary in look.names:
            name = summary.name
            state = self._state.projects.get(name)
            if (
                state is not None
                and found.get(name)
                and (state.until is None or state.until > now)
                and state.fingerprint == self.source.fingerprint(name)
            ):
                unchanged.append(name)
            await pace.keep()
        return frozenset(unchanged)

    async def restore(self, exporter: Exporter, unchanged: Collection[ProjectName]) -> None:
        """Have the exporter take these projects for written."""
        state = self._state
        if state is not None:
            states = map(state.projects.__getitem__, unchanged)
            await self.source.world.thinking(exporter.restore, state.since, states)

    async def remember(self, exporter: Exporter) -> None:
        """Store the state of the tree."""
        world, basis = self.source.world, self._basis
        if basis is None or self.options.signed is not None:
            return
        text = basis.text_for(await self.source.serial(), world.now())
        newest = exporter.newest

        def make() -> bytes:
            states = (
                ProjectState(name, mark, exporter.until.get(name), news)
                for name, mark in exporter.marks.items()
                if name in exporter.there and (news := newest.news(name)) is not None
            )
            return dump_state(text, newest.since, states)

        await self.place.remember(await world.thinking(make))


async def export(
    source: ExportSource,
    place: ExportPlace,
    options: ExportOptions,
    identity: str,
    *,
    clears: bool = False,
    verifies: bool = False,
    on_progress: Progress = lambda done, of: None,
) -> ExportOutcome:
    """Write all that is visible and not in the place yet.

    Only projects that have changed since the last export into this place are looked at, and those
    without their two pages of the Simple API; with `verifies` all projects, and each page is
    compared.

    Raises what the source and the place raise, and the first error of a project that could not be
    written.
    """
    await place.claim(Stamp(identity, options.user or "anonymous"), clears=clears)
    look = await source.look()
    last = LastExport(source, place, options)
    await last.recall(look, uses=not verifies)
    newest = NewestProjects(source.world.now() if options.dated else None)
    exporter = Exporter(source, place, options, clears, newest)
    found = await place.projects()
    unchanged = await last.unchanged(look, found)
    await last.restore(exporter, unchanged)
    if clears:
        await _hide(exporter, look, found, unchanged)
    await _write(exporter, await source.world.thinking(_others, look, unchanged), on_progress)
    for error in exporter.failed.values():
        raise error
    await exporter.write_lists(look)
    gone = sorted(found.keys() - exporter.there)
    exporter.forget(gone)
    await exporter.tidy(gone)
    await place.settle()
    await last.remember(exporter)
    left = 0 if clears else sum(map(bool, (await place.of(gone)).values()))
    return ExportOutcome(len(exporter.there), look.hidden, left, len(unchanged), exporter.counts)


async def _write(exporter: Exporter, names: Sequence[ProjectName], on_progress: Progress) -> None:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, len(names))

    on_progress(0, len(names))
    await exporter.write(names, on_done=add)


async def _hide(
    exporter: Exporter,
    look: ExportView,
    found: Mapping[ProjectName, bool],
    unchanged: Collection[ProjectName],
) -> None:
    """Remove projects that are no longer visible first, from the lists and then their files: the
    rest of the export takes long, and may fail.
    """
    gone = exporter.resume(found, {summary.name for summary in look.names})
    if gone:
        await exporter.write_lists(look, people=False)
        await exporter.tidy(gone)
        await exporter.write_lists(look)  # afterwards, since all projects are read for it
    exporter.forget(exporter.there.difference(unchanged))  # each is written again


def _others(look: ExportView, unchanged: Collection[ProjectName]) -> list[ProjectName]:
    return [summary.name for summary in look.names if summary.name not in unchanged]
