"""A single export: one pass over all visible projects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater

from pypid.core.errors import Busy, PypidError
from pypid.core.packaging.names import ProjectName
from pypid.export.exporter import ExportCounts, Exporter
from pypid.export.newest import NewestProjects
from pypid.export.options import ExportOptions
from pypid.export.targets import Copy, ExportPlace, Stamp, all_of
from pypid.export.visibility import Authority, ExportView, ExportViewer
from pypid.flow import start
from pypid.index import Index

AT_ONCE = 4
"""Number of files copied at the same time."""

LOOK, LONGEST = 0.2, 600.0
"""Seconds between two checks whether the storage has been read, and the longest wait for it."""

Progress = Callable[[int, int], None]
"""Progress callback: the number of projects done, and their total."""


@frozen
class ExportOutcome:
    """The result of an export.

    `hidden`: number of projects that the exported view may not see; `left`: number of projects that
    are no longer visible but of which files remain in the tree.
    """

    projects: int
    hidden: int
    left: int
    counts: ExportCounts


@define(eq=False)
class FileCopying:
    """Copies files, some at the same time, and returns those that could not be copied."""

    turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), init=False)

    async def __call__(self, exporter: Exporter, copies: Sequence[Copy]) -> Sequence[Copy]:
        """Copy the files and return those that failed (see `Exporter.fetch`)."""
        done = await all_of([self.turns.run(_copying, exporter, copy) for copy in copies])
        return [copy for copy, is_there in zip(copies, done, strict=True) if not is_there]


def _copying(exporter: Exporter, copy: Copy) -> Deferred[bool]:
    return start(_copied(exporter, copy))


async def _copied(exporter: Exporter, copy: Copy) -> bool:
    try:
        await exporter.carry(copy)
    except PypidError as error:
        exporter.failed[copy.file.project] = error
        return False
    return True


async def export(
    index: Index,
    authority: Authority,
    place: ExportPlace,
    options: ExportOptions,
    identity: str,
    *,
    clears: bool = False,
    on_progress: Progress = lambda done, of: None,
) -> ExportOutcome:
    """Write all that is visible and not in the place yet.

    Waits until the catalog has been reconciled with the storage. Raises `BadRequest` as
    `ExportPlace.claim`, `Busy`, what the place raises, and the first error of a project that could
    not be written.
    """
    await _compared(index)
    viewer = ExportViewer(index, authority, options.user, options.stored_only)
    await place.claim(Stamp(identity, options.user or "anonymous"), clears=clears)
    look = await viewer.look()
    newest = NewestProjects(index.world.now() if options.dated else None)
    exporter = Exporter(index, viewer, place, options, FileCopying(), clears, newest)
    names: list[ProjectName] = [summary.name for summary in look.names]
    if clears:
        await _hide(exporter, look, names)
    await _write(exporter, names, on_progress)
    for error in exporter.failed.values():
        raise error
    await exporter.write_lists(look)
    there = await place.projects()
    gone = sorted(there.keys() - exporter.there)
    exporter.forget(gone)
    await exporter.tidy(gone)
    await place.settle()
    left = 0 if clears else sum(map(bool, (await place.of(gone)).values()))
    return ExportOutcome(len(exporter.there), look.hidden, left, exporter.counts)


async def _write(exporter: Exporter, names: Sequence[ProjectName], on_progress: Progress) -> None:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, len(names))

    on_progress(0, len(names))
    await exporter.place.prepare(len(names), exporter.options)
    try:
        await exporter.write(names, on_done=add)
    finally:
        await exporter.place.prepare(0, exporter.options)


async def _hide(exporter: Exporter, look: ExportView, names: Sequence[ProjectName]) -> None:
    """Remove projects that are no longer visible first, from the lists and then their files: the
    rest of the export takes long, and may fail.
    """
    gone = await exporter.resume(set(names))
    if gone:
        await exporter.write_lists(look, people=False)
        await exporter.tidy(gone)
        await exporter.write_lists(look)  # afterwards, since all projects are read for it
    exporter.forget(tuple(exporter.there))  # each is written again


async def _compared(index: Index) -> None:
    """Wait until the catalog has been reconciled with the storage: before that, projects may be
    missing from it. Raises `Busy`.
    """
    waited = 0.0
    while not (await index.catalog.is_complete() and index.lists_are_complete):
        if waited >= LONGEST:
            raise Busy("The storage is still being read.", retry_after=60)
        await deferLater(index.world.clock, LOOK)
        waited += LOOK
