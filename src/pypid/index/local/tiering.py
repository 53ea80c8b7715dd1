"""Moving old files into a cheaper storage class. Only their bytes are moved: records and metadata
are small, and always needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import define, field, frozen
from msgspec.structs import replace

from pypid.core.errors import Archived, BadRequest, Missing, StorageDown
from pypid.core.model import ArchiveState, LocalProject, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.tiering_rules import ARCHIVES, Moved, Tiered, TieringOutcome, TieringRule, due
from pypid.flow import shielded
from pypid.index.context import IndexContext, Pace, with_files
from pypid.index.progress import Progress, Tell, all_of
from pypid.index.store.reconcile import Reconciler
from pypid.ports import Bucket

AT_ONCE = 8
"""Files inspected and moved at the same time."""


def ignored(moved: Moved) -> None:
    """Ignore the notification about a file."""


@define
class _Run:
    """The state of one run."""

    rule: TieringRule
    dry: bool
    progress: Progress
    of_file: Callable[[Moved], object]
    projects: int = 0
    files: int = 0
    moved: list[Moved] = field(factory=list)

    def count(self, project: LocalProject) -> None:
        """Count a project and its files."""
        self.projects += 1
        self.files += len(project.files)

    def note(self, moved: Moved) -> None:
        """Add the outcome for a file that was due, and report it."""
        self.moved.append(moved)
        self.of_file(moved)


@frozen
class Tierer:
    """Moves the local files to which a rule applies. `tell` is notified of the progress, `of_file`
    of each file that was due.
    """

    context: IndexContext
    bucket: Bucket
    tell: Tell | None = None
    of_file: Callable[[Moved], object] = ignored

    async def tier(self, rule: TieringRule, *, dry: bool = False) -> Tiered:
        """Apply the rule to all projects; with `dry` nothing is moved. Raises `StorageDown`, and
        `BadRequest` for an unknown class.
        """
        if not await self.context.catalog.is_complete():
            await Reconciler(self.context, self.tell).reconcile()
        run = _Run(rule, dry, Progress(self.context.world.clock, self.tell), self.of_file)
        pace = Pace(self.context.world)
        for summary in await self.context.catalog.local.summaries():
            ours = await self.context.catalog.local.get(summary.name)
            if isinstance(ours, Project):
                run.count(ours)
                await all_of(
                    [
                        partial(self._file, run, file)
                        for file in due(ours.files, rule, self.context.world.now())
                    ],
                    AT_ONCE,
                )
            run.progress.at(
                lambda: (
                    f"tiering: {run.files} files of {run.projects} projects seen, "
                    f"{len(run.moved)} were due"
                )
            )
            await pace.keep()
        return Tiered(run.projects, run.files, tuple(run.moved))

    async def _file(self, run: _Run, file: StoredFile) -> None:
        """Move the file, if it is due."""
        before = reason = ""
        try:
            state = await self.bucket.archive_state(file.key)
            before = state.storage_class
            outcome = _outcome(state, run.rule, dry=run.dry)
            if outcome is TieringOutcome.MOVED:
                await shielded(self._move(file, run.rule.storage_class))
        except Archived:
            outcome = TieringOutcome.ARCHIVED
        except (Missing, StorageDown) as error:
            before, outcome, reason = "", TieringOutcome.FAILED, str(error)
        run.note(
            Moved(
                project=file.project,
                filename=file.filename,
                size=file.size,
                before=before,
                outcome=outcome,
                reason=reason,
            )
        )

    async def _move(self, file: StoredFile, storage_class: str) -> None:
        """Move the bytes while no publish can write them, and note in the catalog whether they can
        be read at once.
        """
        name, archived = file.project, storage_class in ARCHIVES
        async with self.context.places.hold(f"{name}/{file.filename}"):
            if archived:  # before the move: a client redirected a moment later would be refused
                await self._note(name, file, archived=True)
            try:
                await self.bucket.move(file.key, storage_class)
            except BaseException:
                await self.context.records.recover(name)
                raise
            await self._note(name, file, archived=archived)

    async def _note(self, name: ProjectName, file: StoredFile, *, archived: bool) -> None:
        def noted(project: LocalProject) -> LocalProject:
            held = project.file(file.filename)
            if held is None or held.key != file.key or held.archived == archived:
                return project
            return with_files(project, replace(held, archived=archived))

        async with self.context.records.locks.hold(name):
            await self.context.records.edit(
                name, lambda project: None if project is None else noted(project)
            )


def _outcome(state: ArchiveState, rule: TieringRule, *, dry: bool) -> TieringOutcome:
    if state.storage_class == rule.storage_class:
        return TieringOutcome.THERE
    if not state.readable:
        return TieringOutcome.ARCHIVED
    return TieringOutcome.WOULD_MOVE if dry else TieringOutcome.MOVED


async def tierer(
    context: IndexContext,
    bucket: Callable[[], Awaitable[Bucket]] | None,
    tell: Tell | None = None,
    of_file: Callable[[Moved], object] = ignored,
) -> Tierer:
    """Return a `Tierer`. Raises `BadRequest` for a storage that is not a bucket."""
    if bucket is None:
        raise BadRequest(
            "Only a storage that is a bucket of S3 ([storage] backend = s3) has storage classes."
        )
    return Tierer(context, await bucket(), tell, of_file)
