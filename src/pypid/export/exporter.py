"""Writes the visible projects to a place, in an order in which no page ever names a missing file.

Additions: files and their sidecar files, project pages, then the lists. Removals: from the lists,
then pages, then files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from attrs import define, evolve, field
from twisted.internet.defer import DeferredSemaphore

from pypid.core.cooldown import BEGINNING
from pypid.core.errors import PypidError
from pypid.core.export_request import ExportedIndex
from pypid.core.model import Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.summaries import only
from pypid.export.pages import (
    RenderedProject,
    ShownProject,
    list_pages,
    pages_for_people,
    render,
)
from pypid.export.source import ExportSource, ExportView
from pypid.export.targets import Copy, ExportPlace, FilePiece, Stamp, all_of, copies_of
from pypid.export.tree import ExportOptions, WrittenPage, can_be_copied
from pypid.export.tree_state import (
    Fingerprint,
    NewestProjects,
    ProjectState,
    TreeBasis,
    TreeState,
    dump_state,
    load_state,
    news_of_project,
)
from pypid.index.context import Pace

AT_ONCE = 4
"""Number of files copied at the same time."""
BATCH = 64
"""Number of projects that are rendered and written together."""
FILES = 4000
"""Number of files after which a batch of projects is full."""


@define(eq=False)
class Exporter:
    """The state of one tree at one place."""

    source: ExportSource
    place: ExportPlace
    options: ExportOptions
    clears: bool = False
    """Whether what is no longer visible is removed."""
    there: set[ProjectName] = field(factory=set, init=False)
    """The projects whose pages are there."""
    newest: NewestProjects = field(factory=NewestProjects)
    written: int = 0
    """Number of pages written; see `ExportedIndex` for the others."""
    same: int = 0
    copied: int = 0
    removed: int = 0
    until: dict[ProjectName, datetime] = field(factory=dict)
    """When the view of a project changes by itself."""
    failed: dict[ProjectName, PypidError] = field(factory=dict)
    """Projects that could not be read, or of which something could not be copied."""
    marks: dict[ProjectName, Fingerprint] = field(factory=dict, init=False, repr=False)
    """The fingerprints of the projects whose pages are complete, from before they were made."""
    _stale: list[str] = field(factory=list, init=False)
    """Paths to remove once no page names them."""
    _turns: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(AT_ONCE), init=False, repr=False
    )

    def resume(
        self, found: Mapping[ProjectName, bool], visible: Collection[ProjectName]
    ) -> list[ProjectName]:
        """Take over the pages of an earlier run; return the projects that are in the place and not
        `visible` any more. `found`: see `ExportPlace.projects`.
        """
        self.there = {name for name, has_pages in found.items() if has_pages and name in visible}
        return sorted(found.keys() - visible)

    def restore(self, since: datetime, states: Iterable[ProjectState]) -> None:
        """Take these projects, which have not changed since an earlier run, for written."""
        news = {}
        for state in states:
            self.there.add(state.name)
            self.marks[state.name] = state.fingerprint
            news[state.name] = state.news
            if state.until is not None:
                self.until[state.name] = state.until
        self.newest.restore(since, news)

    # --- projects ---

    async def write(
        self, names: Sequence[ProjectName], *, on_done: Callable[[int], None] = lambda count: None
    ) -> None:
        """Write the pages of these projects, after their files; paths that they no longer need are
        remembered for `tidy`.

        `on_done` is called now and then with the number of projects done since. Raises what the
        place raises.
        """
        shown: list[ShownProject] = []
        taken = files = 0
        pace = Pace(self.source.world)
        for name in names:
            taken += 1
            project = await self._shown(name)
            if project is not None:
                shown.append(project)
                files += len(project.project.files)
            if len(shown) >= BATCH or files >= FILES:
                await self._put(shown)
                on_done(taken)
                shown, taken, files = [], 0, 0
            await pace.keep()
        await self._put(shown)
        on_done(taken)

    async def _shown(self, name: ProjectName) -> ShownProject | None:
        """Return the project with those of its files that are there; None if it cannot be shown
        now, or need not be.
        """
        self._clear(name)
        mark = self.source.fingerprint(name)
        try:
            seen = await self.source.project(name)
        except PypidError as error:
            self.failed[name] = error
            return None
        if seen is None:
            return None
        project, until = seen
        if until is not None:
            self.until[name] = until
        copies: frozenset[str] = frozenset()
        lacking: Collection[str] = ()
        if self.options.copies:
            copies = frozenset(copy.path for file in project.files for copy in copies_of(file))
            lacking = await self._lacking(project)
        if lacking and len(lacking) == len(project.files) and name not in self.there:
            return None  # the page is written once it has a file to list
        shown = await self._described(_without(project, lacking), copies)
        if mark is not None and not lacking and name not in self.failed:
            self.marks[name] = mark
        return shown

    def _clear(self, name: ProjectName) -> None:
        """Forget what an earlier look at the project has shown."""
        for found in (self.failed, self.until, self.marks):
            found.pop(name, None)

    async def _described(self, project: Project, copies: frozenset[str]) -> ShownProject | None:
        """Return the project with core metadata and signed URLs; None if these cannot be read."""
        try:
            metadata, error = await self.source.metadata(project, all=self.options.releases)
            if error is not None:  # the pages that installers read need not wait for it
                self.failed[project.name] = error
            return ShownProject(project, metadata, await self._urls(project), copies)
        except PypidError as error:
            self.failed[project.name] = error
            return None

    async def _lacking(self, project: Project) -> set[str]:
        """Return the names of the files that are not completely copied."""
        lacking = {file.filename for file in project.files if not can_be_copied(file)}
        wanted = [
            copy
            for file in project.files
            if file.filename not in lacking
            for copy in copies_of(file)
        ]
        missing = await self.place.lacks(wanted) if wanted else ()
        done = await all_of([self._turns.run(self._copy, copy) for copy in missing])
        failed = (copy for copy, is_there in zip(missing, done, strict=True) if not is_there)
        return lacking | {copy.file.filename for copy in failed}

    async def _copy(self, copy: Copy) -> bool:
        """Copy a part of a file; return whether it is there now. Raises what the place raises."""
        try:
            await self.place.copy(copy, await self.source.body(copy))
        except PypidError as error:
            self.failed[copy.file.project] = error
            return False
        self.copied += copy.piece is FilePiece.BYTES
        return True

    async def _urls(self, project: Project) -> dict[str, str] | None:
        lifetime = self.options.signed
        return (
            None
            if lifetime is None
            else {
                file.filename: await self.source.url(file, lifetime)
                for file in project.files
                if isinstance(file, StoredFile)
            }
        )

    async def _put(self, shown: Sequence[ShownProject]) -> None:
        if not shown:
            return
        world, since, compressed = self.source.world, self.newest.since, self.place.compressed

        def make() -> list[RenderedProject]:
            return render(shown, self.options, since, compressed=compressed)

        rendered = await world.thinking(make)
        there = await self.place.of(project.name for project in rendered)
        done = await self.place.put([project.pages for project in rendered])
        await world.thinking(self._note, rendered)
        for project, (written, same) in zip(rendered, done, strict=True):
            stale = project.stale(there[project.name])
            self.there.add(project.name)
            self._stale += stale
            if stale and not self.clears:  # a later run that clears must look at it
                self.marks.pop(project.name, None)
            self.written += written
            self.same += same

    def _note(self, rendered: Iterable[RenderedProject]) -> None:
        for project in rendered:
            self.newest.note(project.name, project.news)

    # --- lists ---

    async def write_lists(self, look: ExportView, *, people: bool = True) -> None:
        """Write the lists of the projects whose pages are there; with `people` also the HTML start
        page, the changelog and the feeds.
        """
        if people:
            await self._read_unread()
        there, compressed = self.there, self.place.compressed

        def make() -> list[WrittenPage]:
            kept = [only(run, lambda one: one.name in there) for run in look.names.runs]
            names = [one for run in kept for one in run]
            pages = list(list_pages(names, look.serial, self.options, compressed=compressed))
            if people:
                pages += pages_for_people(
                    (one.name for one in names), self.newest, self.options, compressed=compressed
                )
            return pages

        [(written, same)] = await self.place.put([await self.source.world.thinking(make)])
        self.written += written
        self.same += same

    async def _read_unread(self) -> None:
        """Read the projects whose pages an earlier run wrote: without them the changelog and the
        feeds would be empty until each project is written again. One that cannot be read now is
        left out.
        """
        pace = Pace(self.source.world)
        for name in self.newest.unread(self.there):
            with suppress(PypidError):
                shown = await self.source.project(name)
                if shown is not None:
                    news = await self.source.world.thinking(
                        news_of_project, shown[0], self.newest.since
                    )
                    self.newest.note(name, news)
            await pace.keep()

    def forget(self, names: Iterable[ProjectName]) -> None:
        """Leave these projects, which are no longer visible, out of all lists."""
        for name in names:
            self.there.discard(name)
            self.newest.forget(name)
            self._clear(name)

    async def tidy(self, gone: Sequence[ProjectName] = ()) -> None:
        """Remove paths that no page names any more, and all of the projects `gone`, which no list
        names any more.
        """
        stale, self._stale = self._stale, []
        if not self.clears:
            return
        if gone:
            its = await self.place.of(gone)
            pages_first = sorted(
                (path for paths in its.values() for path in paths), key=_comes_last
            )
            stale = [*stale, *pages_first]
        if stale:
            self.removed += await self.place.remove(sorted(stale, key=_comes_last))


def _without(project: Project, lacking: Collection[str]) -> Project:
    if not lacking:
        return project
    files = tuple(file for file in project.files if file.filename not in lacking)
    return evolve(project, files=files)


def _comes_last(path: str) -> bool:
    return path.startswith(("packages/", "integrity/"))


# A single export: one pass over all visible projects.

Progress = Callable[[int, int], None]
"""Progress callback: the number of projects done, and their total."""


async def export(
    source: ExportSource,
    place: ExportPlace,
    options: ExportOptions,
    identity: str,
    *,
    target: str = "",
    clears: bool = False,
    verifies: bool = False,
    on_progress: Progress = lambda done, of: None,
) -> ExportedIndex:
    """Write all that is visible and not in the place yet. `target`: its name, for the result.

    Only projects that have changed since the last export into this place are looked at, and those
    without their two pages of the Simple API; with `verifies` all projects, and each page is
    compared.

    Raises what the source and the place raise, and the first error of a project that could not be
    written.
    """
    await place.claim(Stamp(identity, options.user or "anonymous"), clears=clears)
    look = await source.look()
    basis = source.basis(options, look)
    newest = NewestProjects(source.world.now() if options.dated else None)
    exporter = Exporter(source, place, options, clears, newest)
    found = await place.projects()
    last = await _unchanged(exporter, basis, look, found, uses=not verifies)
    await source.world.thinking(exporter.restore, last.since, last.projects.values())
    unchanged = last.projects.keys()
    if clears:
        await _hide(exporter, look, found, unchanged)
    changed = await source.world.thinking(
        lambda: [summary.name for summary in look.names if summary.name not in unchanged]
    )
    await _write(exporter, changed, on_progress)
    for error in exporter.failed.values():
        raise error
    await exporter.write_lists(look)
    gone = sorted(found.keys() - exporter.there)
    exporter.forget(gone)
    await exporter.tidy(gone)
    await place.settle()
    if options.signed is None:
        await _remember(exporter, basis)
    left = 0 if clears else sum(map(bool, (await place.of(gone)).values()))
    return ExportedIndex(
        target,
        len(exporter.there),
        look.hidden,
        left,
        len(unchanged),
        exporter.written,
        exporter.same,
        exporter.copied,
        exporter.removed,
    )


async def _unchanged(
    exporter: Exporter,
    basis: TreeBasis,
    look: ExportView,
    found: Mapping[ProjectName, bool],
    *,
    uses: bool,
) -> TreeState:
    """Return the state of the visible projects whose pages are those of the last export; of none
    without `uses`. What the last export remembered is void from now on. `found`: see
    `ExportPlace.projects`.
    """
    world, data, state = exporter.source.world, await exporter.place.recall(), None
    if data is not None and uses and exporter.options.signed is None:
        state = await world.thinking(load_state, data, basis.text())
    if state is None:
        return TreeState(BEGINNING, {})
    unchanged, now, pace = dict[ProjectName, ProjectState](), world.now(), Pace(world)
    for summary in look.names:
        known = state.projects.get(summary.name)
        if (
            known is not None
            and found.get(summary.name)
            and (known.until is None or known.until > now)
            and known.fingerprint == exporter.source.fingerprint(summary.name)
        ):
            unchanged[summary.name] = known
        await pace.keep()
    return TreeState(state.since, unchanged)


async def _remember(exporter: Exporter, basis: TreeBasis) -> None:
    """Store the state of the tree, once everything is durable."""
    source, newest = exporter.source, exporter.newest

    def make() -> bytes:
        states = (
            ProjectState(name, mark, exporter.until.get(name), news)
            for name, mark in exporter.marks.items()
            if name in exporter.there and (news := newest.news(name)) is not None
        )
        return dump_state(basis.text(), newest.since, states)

    await exporter.place.remember(await source.world.thinking(make))


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
